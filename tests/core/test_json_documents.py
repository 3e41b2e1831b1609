"""JSON of somebody else's: read, or one kind of error."""

import pytest

from components.core.json_documents import MOST_DEPTH, parse_json


@pytest.mark.parametrize("data", ["[" * 100_000, b'{"a":' * 100_000, "{", b"\xff", "9" * 5000, ""])
def test_what_is_no_json_is_a_value_error(data):
    with pytest.raises(ValueError, match=r"."):
        parse_json(data)


@pytest.mark.parametrize(("left", "right"), [("[", "]"), ('{"a": ', "}")])
def test_what_nobody_could_write_again_is_refused(left, right):
    deepest = MOST_DEPTH - 1
    assert parse_json(left * deepest + "1" + right * deepest)
    with pytest.raises(ValueError, match="deep"):
        parse_json(left * (MOST_DEPTH + 1) + "1" + right * (MOST_DEPTH + 1))
