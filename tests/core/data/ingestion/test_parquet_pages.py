"""Sizes of pages: of what Arrow writes, and of files whose footer says something else."""

import struct
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.core.data.ingestion.parquet_pages import DamagedPageError, bytes_of_pages
from components.core.errors import UserError
from components.core.tasks.classification.rows import ClassificationRows

TABLE = pa.table(
    {
        "label": ["x", "y", None] * 700,
        "number": list(range(2100)),
        "flag": [True, False, None] * 700,
        "picture": [{"bytes": bytes([n % 251]) * 300, "path": f"{n}.png"} for n in range(2100)],
        "list": [[1.5, 2.5], [], None] * 700,
    }
)
WAYS: list[dict[str, Any]] = [
    {}, {"compression": "zstd"}, {"compression": "none"}, {"compression": "gzip", "use_dictionary": False},
    {"data_page_version": "2.0"}, {"data_page_version": "2.0", "compression": "none", "write_page_index": True},
    {"write_page_checksum": True, "data_page_size": 1000}, {"row_group_size": 100, "write_statistics": False},
    {"use_dictionary": False, "column_encoding": {"label": "DELTA_BYTE_ARRAY", "number": "DELTA_BINARY_PACKED"}},
    {"version": "1.0", "store_schema": False, "dictionary_pagesize_limit": 100},
]  # fmt: skip


@pytest.mark.parametrize("way", WAYS, ids=map(str, WAYS))
def test_pages_of_what_arrow_writes_are_as_large_as_its_footer_says(tmp_path: Path, way: dict[str, Any]) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(TABLE, path, **way)
    metadata = pq.read_metadata(path)
    for place in range(metadata.num_columns):
        found = bytes_of_pages(path, {place})
        assert len(found) == metadata.num_row_groups
        for group, size in enumerate(found):
            chunk = metadata.row_group(group).column(place)
            pages = size - 4 * chunk.num_values
            assert 0 < pages < chunk.total_uncompressed_size, "that holds the pages' headers, too"
    sums = [sum(sizes) for sizes in zip(*(bytes_of_pages(path, {n}) for n in range(metadata.num_columns)), strict=True)]
    assert bytes_of_pages(path, range(metadata.num_columns)) == sums


def test_a_table_without_rows_has_no_pages(tmp_path: Path) -> None:
    pq.write_table(TABLE.slice(0, 0), tmp_path / "t.parquet")
    assert set(bytes_of_pages(tmp_path / "t.parquet", {0, 1})) <= {0}


def number(value: int, length: int = 0) -> bytes:
    """Thrift's form of a number, in as many bytes as are wanted."""
    value, found = value << 1, []
    while value or len(found) < max(length, 1):
        found.append(value & 127 | 128)
        value >>= 7
    return bytes([*found[:-1], found[-1] & 127])


def lying(path: Path, cell_bytes: int) -> None:
    """A file with one large cell, whose footer says that it is small, and that its pages are another column's."""
    pq.write_table(
        pa.table({"image": [bytes(cell_bytes)], "label": ["x"]}), path, compression="zstd", use_dictionary=False,
        write_statistics=False, store_schema=False,
    )  # fmt: skip
    data, group = path.read_bytes(), pq.read_metadata(path).row_group(0)
    footer = len(data) - 8 - struct.unpack("<I", data[-8:-4])[0]
    tail = data[footer:]
    for large in (group.total_byte_size, group.column(0).total_uncompressed_size):
        assert tail.count(number(large)) == 1
        tail = tail.replace(number(large), number(400, len(number(large))))
    at = tail.rindex(b"image")
    path.write_bytes(data[:footer] + tail[:at] + b"other" + tail[at + 5 :])


def test_a_cell_of_a_gigabyte_of_which_the_footer_says_less_is_refused(tmp_path: Path) -> None:
    lying(tmp_path / "t.parquet", 100_000_000)
    assert (tmp_path / "t.parquet").stat().st_size < 10_000
    assert pq.read_metadata(tmp_path / "t.parquet").row_group(0).total_byte_size == 400
    before = pa.total_allocated_bytes()
    with pytest.raises(UserError, match=r"t\.parquet: row group 1 expands to 95 MB in a file of \d kB"):
        list(ClassificationRows().open_source(str(tmp_path / "t.parquet"), tmp_path).items())
    assert pa.total_allocated_bytes() - before < 1_000_000


def test_headers_that_arrow_may_understand_otherwise_are_refused(tmp_path: Path) -> None:
    """Each single bit of a small file is turned: its sizes are found, or it is refused, and nothing else happens."""
    pq.write_table(pa.table({"a": ["x", "y"]}), tmp_path / "t.parquet", store_schema=False)
    whole, refused = (tmp_path / "t.parquet").read_bytes(), 0
    for at in range(8 * len(whole)):
        changed = bytearray(whole)
        changed[at // 8] ^= 1 << at % 8
        (tmp_path / "t.parquet").write_bytes(changed)
        try:
            assert all(size >= 0 for size in bytes_of_pages(tmp_path / "t.parquet", {0}))
        except DamagedPageError:
            refused += 1
    assert refused > len(whole)


ENDLESS = {
    "lists": b"\x19\x19" * 5000,
    "structs": b"\x1c" * 5000,
    "a list without end": b"\x19\xf3" + b"\xff" * 8 + b"\x7f",
    "truths without end": b"\x19\xf1\xff\xff\xff\x7f",
}


@pytest.mark.parametrize("footer", ENDLESS.values(), ids=ENDLESS.keys())
def test_a_footer_that_never_ends_is_refused_at_once(tmp_path: Path, footer: bytes) -> None:
    (tmp_path / "t.parquet").write_bytes(b"PAR1" + footer + struct.pack("<I", len(footer)) + b"PAR1")
    with pytest.raises(DamagedPageError, match=r"nested|a list of \d{9}"):
        bytes_of_pages(tmp_path / "t.parquet", {0})


def test_columns_that_share_their_pages_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    table = pa.table({"a": range(3000)})
    pq.write_table(table, path, row_group_size=1500, use_dictionary=False, compression="none", store_schema=False)
    data, groups = path.read_bytes(), pq.read_metadata(path)
    stored = groups.row_group(0).column(0).total_compressed_size
    assert data.count(number(stored)) > 1
    path.write_bytes(data.replace(number(stored), number(len(data) - 1, len(number(stored)))))
    with pytest.raises(DamagedPageError, match="overlap"):
        bytes_of_pages(path, {0})
