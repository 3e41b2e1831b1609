"""Lists of classes beside the data."""

import json

import pytest

from components.core.errors import UserError
from components.core.tasks.segmentation.class_list import ClassList, parse_class_list


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("classes.txt", "\ufeffground\n\n  road \n# note\n", ClassList(names=("ground", "road"))),
        ("class_names.txt", "__ignore__\n_background_\ncat\n", ClassList(names=("background", "cat"))),
        (
            "labelmap.txt",
            "# label:color_rgb:parts:actions\nroad:1,2,3::\nsky:4,5,6::\n",
            ClassList(names=("road", "sky"), palette=((1, 2, 3), (4, 5, 6))),
        ),
        ("classes.json", '["a", "b"]', ClassList(names=("a", "b"))),
        (
            "palette.json",
            '{"b": [0, 0, 0], "a": [9, 8, 7]}',
            ClassList(names=("b", "a"), palette=((0, 0, 0), (9, 8, 7))),
        ),
        (
            "palette.json",
            '{"b": [0, 0, 0], "a": [255, 255, 255]}',
            ClassList(names=("b", "a"), palette=((0, 0, 0), (255, 255, 255)), numbers={0: 0, 255: 1}),
        ),
        ("classes.json", '{"sky": 11, "road": 7}', ClassList(names=("road", "sky"), numbers={7: 0, 11: 1})),
        ("labels.json", '{"0": "a", "1": "b"}', ClassList(names=("a", "b"))),
    ],
)
def test_each_form_is_read(name: str, content: str, expected: ClassList) -> None:
    assert parse_class_list(name, content.encode()) == expected


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("classes.txt", "a\nb\na\n", "class 'a' is declared twice"),
        ("classes.txt", "\n", "classes.txt names no class"),
        ("classes.json", "{", "classes.json is not a list of classes"),
        ("classes.json", '{"a": 1.5}', r'expected {"name": \[red, green, blue\]}'),
        ("classes.json", '{"a": [1, 2]}', "colour of 'a' must be three whole numbers"),
        ("classes.json", '{"a": [1, 2, 3], "b": [1, 2, 3]}', r"colour \(1, 2, 3\) is declared twice"),
        ("classes.json", '{"a": 1, "b": 1}', "value 1 is declared twice"),
        ("classes.txt", "\n".join(map(str, range(256))), "256 classes are declared; masks hold at most 255"),
        pytest.param("classes.txt", "x" * 201, "class name of 201 characters .*at most 200", id="long"),
        pytest.param("classes.json", json.dumps({"x" * 900_000: 0}), "class name of 900000 characters", id="longer"),
        pytest.param("classes.txt", "a\n" * 600_000, "classes.txt is larger than 1 MB", id="large"),
    ],
)
def test_what_is_no_list_is_refused(name: str, content: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse_class_list(name, content.encode())


def test_grey_values_that_number_the_classes_are_no_colours() -> None:
    named = ClassList(names=("sky", "sea"), palette=((1, 2, 3), (4, 5, 6)))
    assert named.colours == {"sky": (1, 2, 3), "sea": (4, 5, 6)}
    grey = ClassList(names=("b", "a"), palette=((0, 0, 0), (255, 255, 255)), numbers={0: 0, 255: 1})
    assert grey.colours == ClassList(names=("b", "a")).colours == {}
