from pathlib import Path

import pytest

from components.core import yaml_documents
from components.core.errors import UserError
from pipelines.runner.reading import documents
from pipelines.runner.reading.documents import parse_documents, read_documents


def test_documents_are_read_and_empty_ones_left_out() -> None:
    assert parse_documents("a: 1\n---\n---\nb: [x]\n", "f") == [{"a": 1}, {"b": ["x"]}]


def test_aliases_that_are_used_sensibly_are_allowed() -> None:
    assert parse_documents("a: &x [1]\nb: *x\n", "f") == [{"a": [1], "b": [1]}]


def test_alias_bomb_is_refused() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
    with pytest.raises(UserError, match="aliases"):
        parse_documents("\n".join(lines), "bomb.yaml")


@pytest.mark.parametrize("text", ["a: &a {}\nb: [{}]", "a: &a {{{}: 1}}\nb: [{}]"])
def test_a_long_text_that_aliases_repeat_is_refused(text: str) -> None:
    """A megabyte a hundred thousand times: each copy is searched, hashed and written again."""
    with pytest.raises(UserError, match="500000 values"):
        parse_documents(text.format("x" * 1_000_000 if "{{" not in text else "x" * 900, "*a," * 100_000), "f")
    assert parse_documents(text.format("x" * 900, "*a, *a"), "f")


def test_merge_keys_do_not_multiply() -> None:
    lines = ["a0: &a0 {k0: 1, k1: 2, k2: 3, k3: 4}"]
    lines += [f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 9)}]}}" for i in range(1, 20)]
    assert parse_documents("\n".join(lines), "f")[0]["a19"] == {"k0": 1, "k1": 2, "k2": 3, "k3": 4}


def test_more_values_than_any_pipeline_has_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yaml_documents, "MOST_NODES", 100)
    for text in ("- a\n" * 300, "---\n" * 300, "- &a x\n" + "- *a\n" * 300):
        with pytest.raises(UserError, match="more than 100 values"):
            parse_documents(text, "f")
    assert len(parse_documents("- a\n" * 90, "f")[0]) == 90


@pytest.mark.parametrize(
    "number", ["1" * 300, "1:" * 50_000 + "1", "1:" * 50_000 + "1.5", "0x" + "f" * 300, "-" + "7" * 300]
)
def test_number_beyond_all_numbers_is_refused_with_its_line_unless_it_is_quoted(number: str) -> None:
    with pytest.raises(UserError, match=r"digits in line 2; if it is text, put it into quotes"):
        parse_documents(f"a: 1\nb: {number}\n", "f")
    assert parse_documents(f"b: '{number}'\n", "f") == [{"b": number}]


@pytest.mark.parametrize("levels", [150, 400, 20_000])
def test_aliases_that_nest_deeply_are_refused(levels: int) -> None:
    chain = "\n".join(["a0: &a0 [x]"] + [f"a{i}: &a{i} [*a{i - 1}]" for i in range(1, levels)])
    with pytest.raises(UserError, match=r"deep.* through its aliases"):
        parse_documents(chain, "f")


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
    for large in (path, Path("/dev/zero")):
        with pytest.raises(UserError, match="MB"):
            read_documents(large)


@pytest.mark.parametrize("text", ["{", "a: b: c", "\t- x", "!!python/object:os.system {}", "a: 2024-99-99", "\x00"])
def test_what_is_not_plain_yaml_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_documents(text, "f.yaml")
    assert "\n" not in str(caught.value)
    assert "f.yaml" in str(caught.value)


def test_missing_file_folder_and_binary_are_refused(tmp_path: Path) -> None:
    binary = tmp_path / "b.yaml"
    binary.write_bytes(b"\xff\xfe\x00\x01")
    missing = (
        tmp_path / "no.yaml",
        "no pipeline file .*no.yaml; give a compiled KFP v2 YAML, or the name of a pipeline",
    )
    for path, said in (missing, (tmp_path, "folder"), (binary, "not a text file")):
        with pytest.raises(UserError, match=said):
            read_documents(path)
