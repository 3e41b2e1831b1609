"""Pipelines that cannot be run, through the command line: one line, exit code 2, and nothing was started."""

import copy
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import components_for_tests as c
import pytest
import yaml
from kfp import compiler, dsl

from pipelines.cli import main

COMPONENTS = "components/comp-add"
TASKS = "root/dag/tasks"
ALIASES = "\n".join(
    ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    + [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
)


@dsl.pipeline(name="small")
def small(count: int, ratio: float = 0.5, flag: bool = True, names: list = ["a"], table: dict = {}, word: str = "w"):  # noqa: B006
    """For the refusals.

    Args:
        count: How many there are.
    """
    first = c.add(a=count)
    c.add(a=first.output)
    with dsl.If(word == "go"):
        c.text(value=word)


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    path = tmp_path_factory.mktemp("refusals") / "small.yaml"
    compiler.Compiler().compile(small, str(path))
    return yaml.safe_load(path.read_text())


@pytest.fixture
def refusal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs a file as a user would, and gives the line that it is refused with."""
    home = tmp_path / "home"
    for name in [name for name in os.environ if name.startswith("TRIMTAB")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("TRIMTAB_HOME", str(home))
    monkeypatch.chdir(tmp_path)

    def refuse(path: Path | str, *arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", ["trimtab", "run", str(path), *arguments])
        with pytest.raises(SystemExit) as left:
            main()
        said = capsys.readouterr()
        lines = said.err.splitlines()
        assert (left.value.code, len(lines), said.out) == (2, 1, ""), said.err + said.out
        assert lines[0].startswith("error: ")
        assert len(lines[0]) < 1000
        assert [str(item) for item in home.rglob("*") if item.name not in ("store", "runs")] == []
        return lines[0]

    return refuse


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "not a compiled pipeline: it holds no mapping"),
        (b"a: [1, 2", "is not YAML: did not find expected ',' or ']'"),
        (b"a: b: c", "is not YAML: mapping values are not allowed in this context in line 1"),
        (b"\x89PNG\r\n\x1a\n\x00\xff", "is not a text file"),
        (b"\x00\x00\x00", "is not YAML"),
        (b"{}", "has neither 'pipelineInfo' nor 'root'"),
        (b"apiVersion: v1\nkind: Pod\n", "(a Kubernetes manifest?)"),
        (b"apiVersion: argoproj.io/v1alpha1\nkind: Workflow\n", "not a compiled KFP v2 pipeline"),
        (b"[" * 100_000, "nesting depth"),
        (b"&a [*a]", "contains itself"),
        (ALIASES.encode(), "expands to more than 500000 values through its aliases"),
        (b"- a\n" * 2_000_000, "more than 500000 values"),
        (b"a: " + b"1:" * 1_000_000 + b"1", "number of 2000001 digits"),
        (b"!!python/object/apply:os.system ['touch pwned']", "could not determine a constructor"),
        (b"pipelineInfo: {name: x}\nroot: {}\nschemaVersion: 2.1.0\n---\na: 1\n---\nb: 1\n", "holds 3 documents"),
    ],
)
def test_what_is_no_pipeline_is_refused_in_one_line(
    refusal: Callable[..., str], tmp_path: Path, content: bytes, said: str
) -> None:
    path = tmp_path / "bad.yaml"
    path.write_bytes(content)
    line = refusal(path)
    assert said in line
    assert str(path) in line
    assert not (tmp_path / "pwned").exists()


def test_file_of_100_mb_is_refused_unread(refusal: Callable[..., str], tmp_path: Path) -> None:
    path = tmp_path / "large.yaml"
    with path.open("wb") as file:
        file.write(b"pipelineInfo: {name: x}\n# ")
        file.truncate(100 * 2**20)
    assert "larger than 16 MB" in refusal(path)


def test_what_is_no_file_is_refused(refusal: Callable[..., str], tmp_path: Path) -> None:
    assert "no pipeline file" in refusal("nowhere.yaml")
    assert "is a folder" in refusal(tmp_path)


def with_change(spec: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    changed = copy.deepcopy(spec)
    *parents, last = path.split("/")
    node = changed
    for name in parents:
        node = node[name]
    node[last] = value
    return changed


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("pipelineInfo/name", "", "the pipeline has no name (pipelineInfo.name)"),
        ("pipelineInfo/name", 5, "pipelineInfo.name must be text, found 5"),
        ("schemaVersion", "3.0.0", "unknown schema version '3.0.0' (known: 2.0.0, 2.1.0)"),
        ("schemaVersion", None, "unknown schema version '' (known: 2.0.0, 2.1.0)"),
        ("schemaVersion", 2.1, "schemaVersion must be text, found 2.1"),
        ("root", None, "needs either 'dag' or 'executorLabel'"),
        (TASKS, {}, "there are no tasks"),
        (f"{TASKS}/add/dependentTasks", ["add-2"], "wait for each other in a circle: add, add-2"),
        (f"{TASKS}/add/dependentTasks", ["ad"], "task 'add' depends on the unknown task 'ad'"),
        (f"{TASKS}/add/componentRef/name", "comp-ad", "task 'add' refers to the unknown component 'comp-ad'"),
        (f"{TASKS}/add/componentRef", {}, "'name' is missing"),
        (f"{COMPONENTS}/executorLabel", "exec-ad", "there is no executor 'exec-ad'"),
        (f"{TASKS}/condition-1/triggerPolicy/condition", "inputs.x ==", "Syntax error"),
        (f"{TASKS}/condition-1/triggerPolicy/condition", "inputs.parameter_values['q'] == 1", "asks for the input 'q'"),
        (f"{TASKS}/condition-1/triggerPolicy/condition", "__import__('os').system('x')", "undeclared reference"),
        ("components/comp-condition-1/dag/tasks/text/componentRef/name", "comp-condition-1", "contains itself"),
        ("root/inputDefinitions/parameters/count/parameterType", "NUMBER_COMPLEX", "'NUMBER_COMPLEX' is not supported"),
        ("root/inputDefinitions/parameters/ratio/defaultValue", "half", "the default of 'ratio'"),
        ("futureField", {"a": 1}, "'futureField' is not supported by the local runner"),
        ("deploymentSpec/executors/exec-add/container/command", [], "has no command"),
        ("deploymentSpec/executors/exec-add/container/resources", {"cpuRequest": "many"}, "many"),
    ],
)  # fmt: skip
def test_pipeline_that_is_not_right_is_refused_in_one_line(
    refusal: Callable[..., str], spec: dict[str, Any], tmp_path: Path, path: str, value: Any, said: str
) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(yaml.safe_dump(with_change(spec, path, value)))
    assert said in refusal(file, "-p", "count=1")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "missing parameter(s): count (an integer: How many there are.); give them with -p name=value"),
        (["count="], "parameter 'count' is empty; it must be an integer"),
        (["count=many"], "parameter 'count' must be an integer, got 'many'"),
        (["count=1e400"], "parameter 'count' must be an integer, got '1e400'"),
        (["count=1", "ratio=half"], "parameter 'ratio' must be a number, got 'half'"),
        (["count=1", "flag=maybe"], "parameter 'flag' must be true or false, got 'maybe'"),
        (["count=1", "table=[1]"], "parameter 'table' must be a JSON object, got [1]"),
        (["count=1", "table=" + "[" * 2000], "parameter 'table'"),
        (["count=1", "names=" + "[" * 60_000], "parameter 'names'"),
        (["count=" + "1" * 5000], "parameter 'count'"),
        (["coutn=1"], "unknown parameter 'coutn'; did you mean 'count'?"),
        (["count=1", "zzz=1"], "unknown parameter 'zzz' (parameters: count, flag, names, ratio, table, word)"),
        (["count=1", "count=2"], "twice"),
        (["count"], "name=value"),
    ],
)
def test_parameter_that_is_not_right_is_refused_in_one_line(
    refusal: Callable[..., str], spec: dict[str, Any], tmp_path: Path, arguments: list[str], said: str
) -> None:
    file = tmp_path / "small.yaml"
    file.write_text(yaml.safe_dump(spec))
    assert said in refusal(file, *(word for argument in arguments for word in ("-p", argument)))


def test_names_that_lead_elsewhere_or_rewrite_a_terminal_are_refused(
    refusal: Callable[..., str], tmp_path: Path
) -> None:
    path = tmp_path / "named.yaml"
    (tmp_path / "elsewhere").write_text("a value")

    @dsl.container_component
    def touch(out: dsl.OutputPath(str)):
        return dsl.ContainerSpec(image="x", command=["true"], args=[out])

    @dsl.pipeline(name="named")
    def named():
        touch()

    compiler.Compiler().compile(named, str(path))
    text = path.read_text()
    for name in ("../../../../../elsewhere", "a/b", "..", "x" * 300):
        path.write_text(text.replace("        out:", f'        "{name}":'))
        assert "is not a name of letters" in refusal(path)
    path.write_text(text.replace("name: named", 'name: "\\e]0;x\\a"'))
    assert "holds control characters" in refusal(path)
