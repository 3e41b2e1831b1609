import json
import struct
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.core.errors import UserError
from components.core.tasks.translation.gettext_catalogs import catalog_pairs
from components.core.tasks.translation.pairs import (
    Pair,
    moses_files,
    moses_pairs,
    pair_columns,
    table_pairs,
    tsv_pairs,
)
from components.core.tasks.translation.tmx import tmx_pairs

LANGUAGES = ("en", "pt-BR")
COLUMNS = pair_columns(LANGUAGES)


def write(folder: Path, name: str, content: bytes | str) -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def texts(pairs: object) -> list[tuple[str | None, str | None]]:
    return [(pair.source, pair.target) for pair in pairs]


# Moses


def test_lines_of_two_files_belong_together_whatever_else_ends_a_line(tmp_path: Path) -> None:
    source = write(tmp_path, "x.en", "\ufeffone\r\ntwo\u2028still two\n\nfour\x85still four")
    target = write(tmp_path, "x.pt", "um\ndois\ntrês\nquatro\n")
    assert texts(moses_pairs(source, target)) == [
        ("one", "um"), ("two\u2028still two", "dois"), ("", "três"), ("four\x85still four", "quatro"),
    ]  # fmt: skip


def test_a_line_in_another_encoding_is_counted_and_moves_no_other(tmp_path: Path) -> None:
    source, target = (
        write(tmp_path, "x.en", "one\ntwo\nthree\n"),
        write(tmp_path, "x.pt", b"um\ntr\xeas\ntr\xc3\xaas\n"),
    )
    pairs = list(moses_pairs(source, target))
    assert [pair.problem and pair.problem.reason for pair in pairs] == [None, "not UTF-8", None]
    assert (pairs[1].name, pairs[1].problem.detail) == ("line 2", "byte 3 of x.pt")
    assert pairs[2].target == "três"


@pytest.mark.parametrize(
    ("source", "target", "said"),
    [
        (b"a\nb\n", b"a\n", "x.en has 2 lines and x.pt has 1; the two files must have the same number of lines"),
        (b"a\n", b"\xff\xfea\0", "x.pt is UTF-16; save it as UTF-8"),
        (b"a\n", None, "cannot read x.pt: no such file"),
    ],
)
def test_files_that_do_not_fit_are_refused_before_the_first_pair(
    source: bytes, target: bytes | None, said: str, tmp_path: Path
) -> None:
    write(tmp_path, "x.en", source)
    if target is not None:
        write(tmp_path, "x.pt", target)
    with pytest.raises(UserError, match=said):
        moses_pairs(tmp_path / "x.en", tmp_path / "x.pt")


def test_a_monstrous_line_is_cut_and_is_still_one_line(tmp_path: Path) -> None:
    source, target = write(tmp_path, "x.en", b"a" * 3_500_000 + b"\nb\n"), write(tmp_path, "x.pt", b"c\nd\n")
    pairs = list(moses_pairs(source, target))
    assert [(len(pair.source), pair.target) for pair in pairs] == [(1_000_000, "c"), (1, "d")]


def test_files_are_paired_by_stem_and_a_lonely_one_is_named() -> None:
    assert moses_files(["b.en", "a.x.pt", "a.x.en", "b.pt", "README"], "en", "pt") == [
        ("a.x.en", "a.x.pt"),
        ("b.en", "b.pt"),
    ]
    assert moses_files(["x.en", "x.pt", "x.pt_BR", "y.pt", "y.en"], "en", "pt-BR") == [
        ("x.en", "x.pt_BR"), ("y.en", "y.pt"),
    ]  # fmt: skip
    with pytest.raises(UserError, match=r"b.pt has no matching file b.en beside it"):
        moses_files(["a.en", "a.pt", "b.pt"], "en", "pt")


# Tables


def test_tab_separated_lines_are_read_with_and_without_a_header(tmp_path: Path) -> None:
    rows = 'say "hi\tdiga "oi\nalone\n\tvazio\n'
    plain = list(tsv_pairs(write(tmp_path, "a.tsv", rows), COLUMNS))
    assert texts(plain) == [('say "hi', 'diga "oi'), (None, None), ("", "vazio")]
    assert plain[1].problem == ("damaged row", "1 columns")
    named = tsv_pairs(write(tmp_path, "b.tsv", "id\ttarget\tsource\n7\tum\tone\n"), COLUMNS)
    assert [(pair.name, pair.source, pair.target) for pair in named] == [("line 2", "one", "um")]


@pytest.mark.parametrize(
    ("content", "said"),
    [("a\nb\n", "a.tsv has one column"), ("id\tsource\tx\n1\t2\t3\n", "a.tsv has no target column")],
)
def test_a_table_without_a_target_is_refused(content: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=said):
        list(tsv_pairs(write(tmp_path, "a.tsv", content), COLUMNS))


def test_csv_jsonl_and_parquet_give_the_same_pairs(tmp_path: Path) -> None:
    rows = [{"source": "one, two", "target": "um, dois"}, {"source": "three", "target": "três"}]
    write(tmp_path, "a.csv", 'source,target\n"one, two","um, dois"\nthree,três\n')
    write(tmp_path, "a.jsonl", "\n".join(json.dumps(row) for row in rows))
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    for suffix in ("csv", "jsonl", "parquet"):
        found = texts(table_pairs(tmp_path / f"a.{suffix}", COLUMNS, LANGUAGES))
        assert found == [("one, two", "um, dois"), ("three", "três")], suffix
    broken = list(
        table_pairs(write(tmp_path, "b.jsonl", '{"source": "a", "target": null}\n{"sou\n'), COLUMNS, LANGUAGES)
    )
    assert texts(broken) == [("a", None), (None, None)]
    assert broken[1].problem.reason == "damaged row"
    with pytest.raises(UserError, match=r"c.csv has no target column"):
        list(table_pairs(write(tmp_path, "c.csv", "source\na\n"), COLUMNS, LANGUAGES))


def test_columns_are_found_by_language_and_by_name_and_further_ones_come_along(tmp_path: Path) -> None:
    columns = pair_columns(LANGUAGES, group="doc", slices=("ui",))
    for name, mark in (("a.csv", ","), ("a.tsv", "\t")):
        lines = ["pt_BR,en,doc,ui,split", "um,one,d1,menu,dev", "dois,two,d2,,test"]
        rows = list((tsv_pairs if mark == "\t" else lambda path, columns: table_pairs(path, columns, LANGUAGES))(
            write(tmp_path, name, "\n".join(lines).replace(",", mark)), columns
        ))  # fmt: skip
        assert texts(rows) == [("one", "um"), ("two", "dois")], name
        assert [(row.group, row.split, row.slices) for row in rows] == [
            ("d1", "validation", ("menu",)), ("d2", "test", (None,))
        ]  # fmt: skip
    named = pair_columns(LANGUAGES, source_column="b", target_column="a")
    assert texts(table_pairs(write(tmp_path, "n.csv", "a,b\num,one\n"), named, LANGUAGES)) == [("one", "um")]
    with pytest.raises(UserError, match=r"a.tsv has no column 'page' for group_column"):
        list(tsv_pairs(tmp_path / "a.tsv", pair_columns(LANGUAGES, group="page")))


def test_a_column_that_maps_languages_to_texts_is_read_and_one_of_plain_texts_is_refused(tmp_path: Path) -> None:
    rows = [{"translation": {"en": "one", "pt_br": "um"}}, {"translation": {"en": "two", "pt": "dois", "de": "zwei"}}]
    write(tmp_path, "a.jsonl", "\n".join(json.dumps(row) for row in rows))
    assert texts(table_pairs(tmp_path / "a.jsonl", COLUMNS, LANGUAGES)) == [("one", "um"), ("two", "dois")]
    pq.write_table(pa.Table.from_pylist([{"translation": {"en": "one", "pt": "um"}}]), tmp_path / "a.parquet")
    assert texts(table_pairs(tmp_path / "a.parquet", COLUMNS, LANGUAGES)) == [("one", "um")]
    with pytest.raises(UserError, match="has only the column 'translation'"):
        list(table_pairs(write(tmp_path, "b.csv", "translation\num\n"), COLUMNS, LANGUAGES))


def test_a_cell_longer_than_any_path_is_a_text_like_another(tmp_path: Path) -> None:
    write(tmp_path, "a.jsonl", json.dumps({"source": "word " * 10_000, "target": "/9j/" + "a" * 100}))
    (pair,) = table_pairs(tmp_path / "a.jsonl", COLUMNS, LANGUAGES)
    assert (len(pair.source), pair.target[:6], pair.problem) == (50_000, "/9j/aa", None)


# TMX

TMX = """<?xml version="1.0"?><!DOCTYPE tmx SYSTEM "tmx14.dtd">
<tmx version="1.4"><header/><body>
<tu><tuv xml:lang="en-US">
<seg>Press <bpt i="1">&lt;b&gt;</bpt><hi>Enter</hi><ept i="1">&lt;/b&gt;</ept> &amp; go</seg></tuv>
    <tuv xml:lang="pt-BR"><seg>Pressione Enter\n e vá</seg></tuv><tuv xml:lang="pt"><seg>outra</seg></tuv></tu>
<tu><tuv lang="EN"><seg>alone</seg></tuv></tu>
</body></tmx>"""


def test_units_of_a_translation_memory_become_pairs_without_formatting_codes(tmp_path: Path) -> None:
    path = write(tmp_path, "a.tmx", TMX)
    assert texts(tmx_pairs(path, source="en", target="pt-BR")) == [
        ("Press Enter & go", "Pressione Enter e vá"),
        ("alone", None),
    ]
    assert texts(tmx_pairs(path, source="en", target="pt"))[0][1] == "outra"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("<tmx><body>\n<tu>", "a.tmx, line 2: not valid XML: no element found"),
        ("<html/>", "a.tmx is not a TMX file: its root element is <html>"),
        ('<!DOCTYPE tmx [<!ENTITY a "b">]><tmx/>', "a.tmx declares XML entities"),
        ('<!DOCTYPE tmx [<!ENTITY a SYSTEM "file:///etc/passwd">]><tmx>&a;</tmx>', "a.tmx declares XML entities"),
    ],
)
def test_a_damaged_or_hostile_memory_is_refused_in_one_line(content: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=said) as refused:
        list(tmx_pairs(write(tmp_path, "a.tmx", content), source="en", target="pt"))
    assert "\n" not in str(refused.value)


# Gettext

PO = r"""# translators
msgid ""
msgstr ""
"Content-Type: text/plain; charset=UTF-8\n"
"Plural-Forms: nplurals=2; plural=(n > 1);\n"

#: a.py:1
msgctxt "menu"
msgid "Open "
"\"%s\""
msgstr "Abrir\t\303"

#, fuzzy, python-format
#| msgid "before"
msgid "guess"
msgstr "palpite"
#: b.py:2
msgid "one file"
msgid_plural "%d files"
msgstr[0] "um arquivo"
msgstr[1] "%d arquivos"

msgid "untranslated"
msgstr ""

#~ msgid "old"
#~ msgstr "velho"
"""


def test_a_po_file_gives_singular_and_plural_and_counts_what_is_fuzzy(tmp_path: Path) -> None:
    pairs = list(catalog_pairs(write(tmp_path, "a.po", PO)))
    assert texts(pairs) == [
        ('Open "%s"', "Abrir\tÃ"), ("guess", "palpite"), ("one file", "um arquivo"), ("%d files", "%d arquivos"),
        ("untranslated", ""),
    ]  # fmt: skip
    assert [pair.problem and pair.problem.reason for pair in pairs] == [None, "fuzzy", None, None, None]
    assert [pair.name for pair in pairs] == ["line 9", "line 15", "line 18", "line 18 (plural)", "line 23"]


def test_a_language_with_one_form_gives_the_plural_only(tmp_path: Path) -> None:
    content = 'msgid "one file"\nmsgid_plural "%d files"\nmsgstr[0] "%d 个文件"\n'
    assert texts(catalog_pairs(write(tmp_path, "a.po", content))) == [("%d files", "%d 个文件")]


def mo_file(entries: list[tuple[bytes, bytes]], order: str = "<") -> bytes:
    """As the manual of GNU gettext describes it, without a hash table."""
    count, at, tables, body = len(entries), 28 + 16 * len(entries), [[], []], b""
    for entry in entries:
        for table, text in zip(tables, entry, strict=True):
            table.append(struct.pack(f"{order}2I", len(text), at + len(body)))
            body += text + b"\0"
    header = struct.pack(f"{order}7I", 0x950412DE, 0, count, 28, 28 + 8 * count, 0, 0)
    return header + b"".join([*tables[0], *tables[1]]) + body


ENTRIES = [
    (b"", b"Content-Type: text/plain; charset=ISO-8859-1\n"), (b"menu\x04Open", b"Abra"),
    (b"one file\0%d files", b"um arquivo\0%d arquivos"), (b"three", b"tr\xeas"),
]  # fmt: skip


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_mo_file_of_either_byte_order_gives_the_same_pairs(order: str, tmp_path: Path) -> None:
    pairs = list(catalog_pairs(write(tmp_path, "a.mo", mo_file(ENTRIES, order))))
    assert texts(pairs) == [
        ("Open", "Abra"),
        ("one file", "um arquivo"),
        ("%d files", "%d arquivos"),
        ("three", "três"),
    ]
    assert pairs[2].name == "entry 3 (plural)"


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.po", "", "a.po is a catalog without an entry"),
        ("a.po", 'msgid ""\nmsgstr ""\n', "a.po is a catalog without an entry"),
        ("a.po", 'msgid "a"\nmsgid "b"\n', "a.po, line 2: msgid twice in one entry"),
        ("a.po", 'msgid "a"\nmsgstr b\n', "a.po, line 2: neither a keyword"),
        ("a.po", b'msgid "a"\nmsgstr "\xff"\n', "a.po: byte 19 is not valid utf-8"),
        ("a.po", 'msgid ""\nmsgstr "charset=klingon"\n', "a.po: the catalog states the unknown charset 'klingon'"),
        ("a.mo", mo_file([]), "a.mo is a catalog without an entry"),
        ("a.mo", mo_file(ENTRIES)[:20], "a.mo is a catalog cut off in its header"),
        ("a.mo", mo_file(ENTRIES)[:-8], "a.mo, entry 4: the text lies outside the file"),
        ("a.mo", struct.pack("<7I", 0x950412DE, 0, 2**31, 28, 28, 0, 0), "a.mo states 2147483648 entries"),
    ],
)
def test_a_damaged_catalog_is_refused_in_one_line(name: str, content: bytes | str, said: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=said):
        list(catalog_pairs(write(tmp_path, name, content)))


MESSAGE = st.text(st.characters(codec="utf-8", exclude_characters="\0\x04"), min_size=1)
TRANSLATION = st.text(st.characters(codec="utf-8", exclude_characters="\0"))


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(MESSAGE, TRANSLATION)))
def test_what_a_mo_file_says_comes_back(
    tmp_path_factory: pytest.TempPathFactory, entries: list[tuple[str, str]]
) -> None:
    path = tmp_path_factory.getbasetemp() / "round.mo"
    path.write_bytes(mo_file([(b"", b"charset=utf-8"), *((s.encode(), t.encode()) for s, t in entries)]))
    if entries:
        assert list(catalog_pairs(path)) == [
            Pair(name=f"entry {number}", source=source, target=target)
            for number, (source, target) in enumerate(entries, 2)
        ]
