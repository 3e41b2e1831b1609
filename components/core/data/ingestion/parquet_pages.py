"""Sizes in the page headers of a Parquet file. Arrow allocates these, whatever the footer says.

Footer (`FileMetaData`) and pages (`PageHeader`) are structs of Thrift's compact protocol, as parquet-format has them.
They are read here and not asked of Arrow: pyarrow ends the process at some damaged columns. What Arrow could
understand differently is refused.
"""

import mmap
import struct
from collections.abc import Collection, Iterator, Mapping
from contextlib import nullcontext
from io import FileIO
from pathlib import Path
from typing import Any

_I32, _I64, _LIST, _STRUCT = 5, 6, 9, 12
_DATA, _DICTIONARY, _DATA_V2 = 5, 7, 8
"""Fields of a page's header, one of which says how many values it has."""
_ENCODING = {_DATA: 2, _DATA_V2: 4}
"""Fields of these which say how values are encoded; 0 is one after the other, as they are."""

_MOST_FOOTER_BYTES, _MOST_NESTED, _MOST_VARINT_BYTES = 16 * 2**20, 12, 10
_BYTES_A_VALUE = 4

Fields = Mapping[int, tuple[int, Any]]
"""Type and value by number."""


class DamagedPageError(ValueError):
    """A footer or a page's header that is none, or says what cannot be."""


def bytes_of_pages(source: Path | FileIO, columns: Collection[int], *, repeated: bool = False) -> list[int]:
    """Bytes that the pages of some columns take when they are decoded, of each row group.

    Args:
        source: the file.
        columns: the schema's leaves, by their places: the names that stand with the pages are nobody's.
        repeated: a value that a dictionary has once, or that begins as the one before it, counts for each row that has
            it, as what keeps no dictionary holds it; each is counted as long as all of its pages, for it may be.

    Raises:
        DamagedPageError: see there.
        OSError: the file cannot be read.
    """
    opened = source.open("rb", buffering=0) if isinstance(source, Path) else nullcontext(source)
    with opened as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        try:
            length, _ = struct.unpack("<I4s", data[-8:])
            if length > min(len(data) - 8, _MOST_FOOTER_BYTES):
                raise DamagedPageError(f"its footer has {length} bytes")
            _, footer = _struct(data, len(data) - 8 - length)
            groups = [list(_chunks(group, columns)) for group in _structs(footer, 4)]
            # Else a small file would have the same pages read a hundred thousand times.
            if sum(_number(chunk, 7, _I64) for chunks in groups for chunk in chunks) > len(data):
                raise DamagedPageError("its columns overlap")
            return [sum(_of_chunk(data, chunk, repeated=repeated) for chunk in chunks) for chunks in groups]
        except (IndexError, struct.error):
            raise DamagedPageError("it ends too early") from None


def _chunks(row_group: Fields, columns: Collection[int]) -> Iterator[Fields]:
    return (_get(chunk, 3, _STRUCT) for place, chunk in enumerate(_structs(row_group, 1)) if place in columns)


def _of_chunk(data: mmap.mmap, chunk: Fields, *, repeated: bool) -> int:
    most_values, stored_bytes = _number(chunk, 5, _I64), _number(chunk, 7, _I64)
    at = _number(chunk, 9, _I64)
    if 11 in chunk:
        at = min(at, _number(chunk, 11, _I64) or at)
    end, values, size, plain = at + stored_bytes, 0, 0, True
    while at < end and values < most_values:
        at, header = _struct(data, at)
        held = _number(header, 2, _I32)
        size += held
        at += _number(header, 3, _I32)
        for field in {_DATA, _DICTIONARY, _DATA_V2} & header.keys():
            page = _get(header, field, _STRUCT)
            count = _number(page, 1, _I32)
            plain &= field in _ENCODING and page.get(_ENCODING[field]) == (_I32, 0)
            if field != _DICTIONARY:
                values += count
            elif count > held:
                raise DamagedPageError(f"a dictionary of {held} bytes says that it has {count} values")
    if values > most_values:
        raise DamagedPageError(f"its pages have {values} values, and the footer says {most_values}")
    return (size if plain or not repeated else size * max(values, 1)) + values * _BYTES_A_VALUE


def _get(fields: Fields, number: int, kind: int) -> Any:
    found_kind, found = fields.get(number, (0, None))
    if found_kind != kind:
        raise DamagedPageError(f"field {number} of a header is damaged")
    return found


def _number(fields: Fields, number: int, kind: int) -> int:
    found = _get(fields, number, kind)
    if not 0 <= found < 2 ** (31 if kind == _I32 else 63):
        raise DamagedPageError(f"field {number} of a header is {found}")
    return int(found)


def _structs(fields: Fields, number: int) -> list[Fields]:
    listed = _get(fields, number, _LIST)
    if any(kind != _STRUCT for kind, _ in listed):
        raise DamagedPageError(f"field {number} of a header is damaged")
    return [found for _, found in listed]


def _struct(data: mmap.mmap, at: int, nested: int = 0) -> tuple[int, Fields]:
    """Where it ends, and what it holds."""
    fields: dict[int, tuple[int, Any]] = {}
    number = 0
    while head := data[at]:
        at += 1
        if head >> 4:
            number += head >> 4
        else:
            at, number = _zigzag(data, at)
        # Arrow keeps 16 bits of a number, and the last of two fields.
        if number in fields or not 0 < number < 2**15:
            raise DamagedPageError(f"a header has the field {number} twice, or there is none")
        at, value = _value(data, at, head & 15, nested)
        fields[number] = (head & 15, value)
    return at + 1, fields


def _value(data: mmap.mmap, at: int, kind: int, nested: int) -> tuple[int, Any]:
    if nested > _MOST_NESTED:
        raise DamagedPageError("a header is nested too deeply")
    match kind:
        case 1 | 2:
            return at, kind == 1
        case 3:
            return at + 1, None
        case 4 | 5 | 6:
            return _zigzag(data, at)
        case 7:
            return at + 8, None
        case 8:
            at, length = _varint(data, at)
            return at + length, data[at : at + length]
        case 9 | 10:
            return _list(data, at, nested)
        case 12:
            return _struct(data, at, nested + 1)
        case _:
            raise DamagedPageError(f"a header has a field of the type {kind}")


def _list(data: mmap.mmap, at: int, nested: int) -> tuple[int, list[tuple[int, Any]]]:
    at, count, kind = at + 1, data[at] >> 4, data[at] & 15
    if count == 15:
        at, count = _varint(data, at)
    if count > len(data) - at:
        raise DamagedPageError(f"a header has a list of {count} values")
    found = []
    for _ in range(count):
        # A truth value alone in a list takes a byte.
        at, value = (at + 1, bool(data[at])) if kind in (1, 2) else _value(data, at, kind, nested + 1)
        found.append((kind, value))
    return at, found


def _zigzag(data: mmap.mmap, at: int) -> tuple[int, int]:
    at, found = _varint(data, at)
    return at, (found >> 1) ^ -(found & 1)


def _varint(data: mmap.mmap, at: int) -> tuple[int, int]:
    found = 0
    for index in range(_MOST_VARINT_BYTES):
        byte = data[at + index]
        found |= (byte & 127) << 7 * index
        if not byte & 128:
            return at + index + 1, found
    raise DamagedPageError("a number in a header does not end")
