"""Every stage's method card shows a call, and what it gives is what the card says."""

import doctest
import re
from pathlib import Path

import pytest

import components

CARDS = sorted(Path(components.__file__).parent.glob("*/README.md"))


@pytest.mark.parametrize("card", CARDS, ids=lambda path: path.parent.name)
def test_a_card_shows_a_call_and_its_result(card: Path) -> None:
    text = card.read_text()
    assert re.search(r"^(>>> |\$ trimtab |trimtab |from components)", text, re.MULTILINE), "no call"
    tests = doctest.DocTestParser().get_doctest(text, {}, card.parent.name, str(card), 0)
    said: list[str] = []
    doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(tests, out=said.append)
    assert not said, "".join(said)


def test_there_is_a_card_for_every_stage() -> None:
    stages = {path.parent for path in Path(components.__file__).parent.glob("*/component.py")}
    assert stages == {card.parent for card in CARDS} & stages
