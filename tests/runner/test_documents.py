from pathlib import Path

import pytest

from components.core.errors import UserError
from pipelines.runner import documents
from pipelines.runner.documents import parse_documents, read_documents


def test_documents_are_read_and_empty_ones_left_out() -> None:
    assert parse_documents("a: 1\n---\n---\nb: [x]\n", "f") == [{"a": 1}, {"b": ["x"]}]


def test_aliases_that_are_used_sensibly_are_allowed() -> None:
    assert parse_documents("a: &x [1]\nb: *x\n", "f") == [{"a": [1], "b": [1]}]


def test_alias_bomb_is_refused() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
    with pytest.raises(UserError, match="aliases"):
        parse_documents("\n".join(lines), "bomb.yaml")


def test_alias_inside_itself_is_refused() -> None:
    with pytest.raises(UserError, match="contains itself"):
        parse_documents("a: &a [*a]", "f")


def test_deep_nesting_is_refused() -> None:
    # libyaml may say it before we do, in its own words.
    with pytest.raises(UserError, match=r"deep|depth"):
        parse_documents("[" * 50_000, "f")
    with pytest.raises(UserError, match=r"deep|depth"):
        parse_documents("- " * 50_000, "f")


def test_large_file_is_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "MOST_BYTES", 10)
    path = tmp_path / "large.yaml"
    path.write_text("a: 12345678901234567890")
    with pytest.raises(UserError, match="MB"):
        read_documents(path)


@pytest.mark.parametrize("text", ["{", "a: b: c", "\t- x", "!!python/object:os.system {}", "a: 2024-99-99", "\x00"])
def test_what_is_not_plain_yaml_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_documents(text, "f.yaml")
    assert "\n" not in str(caught.value)
    assert "f.yaml" in str(caught.value)


def test_missing_file_folder_and_binary_are_refused(tmp_path: Path) -> None:
    binary = tmp_path / "b.yaml"
    binary.write_bytes(b"\xff\xfe\x00\x01")
    for path, said in ((tmp_path / "no.yaml", "no pipeline file"), (tmp_path, "folder"), (binary, "not a text file")):
        with pytest.raises(UserError, match=said):
            read_documents(path)
