"""Text from outside in a model card."""

from components.core.data.ingestion.labels import class_name, label_of
from components.core.report.markdown import code, escape, markdown_table
from components.core.tasks.segmentation.class_list import parse_class_list

EVIL = "cat\x1b[2K\x1b[1A\rall is well\n| forged | row |\x9b31m\u202e"


def test_no_text_in_a_card_moves_a_cursor_or_adds_a_line() -> None:
    for text in (escape(EVIL), code(EVIL)):
        assert text.isprintable()
    assert len(markdown_table([EVIL, "n"], [[EVIL, 1]]).split("\n")) == 3


def test_letters_that_are_joined_stay_as_they_are() -> None:
    assert (
        escape("\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645") == "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645"
    )


def test_the_name_of_a_class_is_one_line_without_control_characters() -> None:
    assert class_name("a\x1b[31mb\r\nc") == "a [31mb c"
    assert label_of("\n a \t") == "a"
    assert label_of("\x1b\n") is None
    assert parse_class_list("classes.json", b'["sky\\u001b", "road\\nside"]').names == ("sky ", "road side")
