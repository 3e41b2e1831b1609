"""Normal forms: what Unicode says for texts that people write, and an end for others."""

import unicodedata

import pytest

from components.core.unicode_forms import composed

MARKS = "\u0316\u0300" * 1_000_000
"""Below and above in turn: to sort them takes CPython the square of their number."""


@pytest.mark.parametrize("form", ["NFC", "NFD", "NFKC"])
@pytest.mark.parametrize("text", ["Tu\u0308r", "\u1112\u1161\u11ab" * 300, "e\u0301" * 5000, "ﬁ" * 300, "a" * 3000, ""])
def test_a_text_that_somebody_wrote_has_its_normal_form(form, text):
    assert composed(text, form) == unicodedata.normalize(form, text)


@pytest.mark.parametrize("text", [MARKS, f"a{MARKS}", f"{'é' * 1000}{MARKS}"])
def test_marks_without_end_are_left_as_they_are(text):
    assert composed(text) == text
