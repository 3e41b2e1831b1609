"""Class names of a user's own model, as people write them down."""

import pytest
import torch

from components.core.bundles.class_names import read_class_names
from components.core.bundles.own_model import read_trained
from components.core.errors import UserError


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("labels.txt", "cat\ndog\nT\u00fcr\n"),
        ("labels.txt", "\ufeffcat\r\n dog \r\n\r\nTu\u0308r"),
        ("labels.json", '["cat", "dog", "T\u00fcr"]'),
        ("labels.json", '{"dog": 1, "cat": 0, "T\u00fcr": 2}'),
        ("labels.json", '{"0": "cat", "2": "T\u00fcr", "1": "dog"}'),
    ],
)
def test_names_are_read_in_the_order_of_the_outputs(tmp_path, name, content):
    (tmp_path / name).write_text(content, encoding="utf-8")
    assert read_class_names(str(tmp_path / name)) == ["cat", "dog", "T\u00fcr"]


def test_names_may_stand_in_the_parameter_itself():
    assert read_class_names("cat, dog,bird") == ["cat", "dog", "bird"]
    assert read_class_names(" ") == []


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("labels.txt", "cat\n", "1 class names; at least two"),
        ("labels.txt", "cat\ndog\ncat\n", "names the class 'cat' twice"),
        ("labels.json", "{", "is not valid JSON"),
        (
            "labels.json",
            '{"cat": 0, "dog": 5}',
            "must hold a list of class names, or an object that gives each name its number from 0",
        ),
        pytest.param("labels.json", "[" * 100_000, "is not valid JSON", id="deep"),
        pytest.param("labels.txt", "".join(f"{n}\n" for n in range(400_000)) + "399999", "'399999' twice", id="many"),
        pytest.param("labels.txt", f"cat\n{'x' * 201}\n", "class name of 201 characters .*at most 200", id="long"),
        pytest.param("labels.json", f'["cat", "{"x" * 4_000_000}"]', "class name of 4000000 characters", id="longer"),
        ("absent.txt", None, "cannot be read: there is no such file"),
    ],
)
def test_what_is_no_list_of_names_is_one_line(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=message):
        read_class_names(str(tmp_path / name))


def test_an_unknown_home_folder_is_one_line():
    with pytest.raises(UserError, match="unknown home folder"):
        read_class_names("~nosuchuser/labels.txt")


def test_the_names_that_a_checkpoint_says_are_held_to_the_same(tmp_path):
    torch.save({"state_dict": {"fc.weight": torch.zeros(2, 3)}, "classes": ["cat", "x" * 201]}, tmp_path / "ft.pth")
    with pytest.raises(UserError, match=r"model ft\.pth has a class name of 201 characters .*at most 200"):
        read_trained(
            tmp_path / "ft.pth", called="ft.pth", task="classification", architecture="timm:resnet18", classes=[]
        )
