"""Files of sentence pairs that somebody made to stop, or to fill, whoever reads them."""

import struct
from pathlib import Path

import pytest

from components.core.data.ingestion.items import Rejection
from components.core.errors import UserError
from components.core.tasks.translation.cleaning import CleaningRules, same_markup
from components.core.tasks.translation.gettext_catalogs import catalog_pairs
from components.core.tasks.translation.pairs import Pair
from components.core.tasks.translation.tmx import tmx_pairs

BODY = '<tmx><body><tu><tuv xml:lang="en"><seg>a</seg></tuv><tuv xml:lang="pt"><seg>b</seg></tuv></tu></body></tmx>'


@pytest.mark.parametrize("encoding", ["no-such", "rot13", "shift_jis", "punycode", "undefined", "hex"])
def test_a_memory_of_an_encoding_that_is_not_read_is_refused(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "m.tmx"
    path.write_text(f'<?xml version="1.0" encoding="{encoding}"?>{BODY}')
    with pytest.raises(UserError, match=rf"m\.tmx states the encoding '{encoding}'; save it as UTF-8"):
        list(tmx_pairs(path, source="en", target="pt"))


def test_a_memory_of_a_known_encoding_is_read(tmp_path: Path) -> None:
    path = tmp_path / "m.tmx"
    path.write_bytes(f'<?xml version="1.0" encoding="cp1252"?>{BODY.replace("b<", "é<")}'.encode("cp1252"))
    assert [pair.target for pair in tmx_pairs(path, source="en", target="pt")] == ["é"]


@pytest.mark.parametrize("charset", ["undefined", "punycode", "idna", "unicode_escape", "rot13", "utf-7"])
def test_a_charset_that_no_catalog_has_is_refused(tmp_path: Path, charset: str) -> None:
    """Some of these cannot decode anything, one takes quadratic time, and none is a charset of gettext."""
    path = tmp_path / "m.po"
    path.write_text(f'msgid ""\nmsgstr "Content-Type: text/plain; charset={charset}\\n"\nmsgid "a"\nmsgstr "b"\n')
    with pytest.raises(UserError, match=rf"unknown charset '{charset}'"):
        list(catalog_pairs(path))


@pytest.mark.parametrize("charset", ["UTF-8", "iso-8859-1", "CP1251", "koi8-r", "EUC-JP", "Shift_JIS", "gb18030"])
def test_charsets_of_gettext_are_read(tmp_path: Path, charset: str) -> None:
    path = tmp_path / "m.po"
    path.write_text(f'msgid ""\nmsgstr "Content-Type: text/plain; charset={charset}\\n"\nmsgid "a"\nmsgstr "b"\n')
    assert [pair.target for pair in catalog_pairs(path)] == ["b"]


def test_a_text_of_a_million_lines_is_joined_once(tmp_path: Path) -> None:
    """Line by line, joining it copies 5 * 10^11 bytes."""
    path = tmp_path / "m.po"
    path.write_text('msgid "a"\nmsgstr ""\n' + '"xyz"\n' * 1_000_000)
    (pair,) = catalog_pairs(path)
    assert pair.target == "xyz" * 1_000_000


def test_a_compiled_catalog_whose_texts_are_all_the_same_bytes_is_refused(tmp_path: Path) -> None:
    """2 MB that say 20,000 times the same megabyte."""
    count, size = 20_000, 1_000_000
    text = 28 + 16 * count
    tables = struct.pack("<2I", size, text) * (2 * count)
    path = tmp_path / "m.mo"
    path.write_bytes(struct.pack("<7I", 0x950412DE, 0, count, 28, 28 + 8 * count, 0, 0) + tables + b"x" * size)
    with pytest.raises(UserError, match=r"m\.mo, entry \d+: its texts overlap"):
        list(catalog_pairs(path))


def test_a_sentence_of_marks_without_end_is_too_long() -> None:
    """To put a million marks into Unicode's order takes minutes."""
    refused = CleaningRules().check(Pair(name="1", source="a" + "\u0316\u0300" * 500_000, target="b"))
    assert isinstance(refused, Rejection)
    assert refused.reason == "too long"


def test_addresses_are_looked_for_once() -> None:
    names = "a." * 500_000
    assert same_markup(f"{names} a.b@c.org", f"a.b@c.org {names}")
    assert not same_markup(f"{names} a.b@c.org", names)
    assert same_markup("write to a@b.org", "-a@b.org: write")
