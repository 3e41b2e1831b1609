import subprocess
import sys

import pytest

from components.core.errors import UserError
from pipelines.runner.ir.placeholders import check, check_command, resolve, resolve_command, run_specific

EXECUTOR_INPUT = {
    "inputs": {
        "parameterValues": {"x": 3, "s": "it's", "l": [1, 2]},
        "artifacts": {"d": {"artifacts": [{"name": "d", "uri": "file:///a/d", "metadata": {"rows": 5}}]}},
    },
    "outputs": {
        "parameters": {"o": {"outputFile": "/w/o"}},
        "artifacts": {"m": {"artifacts": [{"name": "m", "uri": "/a/m", "metadata": {}}]}},
        "outputFile": "/w/executor_output.json",
    },
}
FACTS = {"pipeline_job_uuid": "run-1", "pipeline_task_name": "train"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{{$.inputs.parameters['x']}}", 3),
        ("{{$.inputs.parameters['l']}}", [1, 2]),
        ("{{$.inputs.parameters['absent']}}", None),
        ("n={{$.inputs.parameters['x']}} {{$.inputs.parameters['s']}}", "n=3 it's"),
        ("{{$.inputs.artifacts['d'].path}}", "/a/d"),
        ("{{$.inputs.artifacts['d'].metadata['rows']}}", 5),
        ("{{$.outputs.parameters['o'].output_file}}", "/w/o"),
        ("{{$.outputs.artifacts['m'].uri}}/weights", "/a/m/weights"),
        ("{{$.pipeline_job_uuid}}-{{$.pipeline_task_name}}", "run-1-train"),
        ({"k": ["{{$.inputs.parameters['x']}}"]}, {"k": [3]}),
        (7, 7),
    ],
)
def test_placeholder_becomes_its_value(text: object, expected: object) -> None:
    assert resolve(text, EXECUTOR_INPUT, FACTS) == expected


def test_a_value_that_looks_like_a_placeholder_is_not_resolved_again() -> None:
    executor_input = {"inputs": {"parameterValues": {"x": "{{$.pipeline_job_uuid}}"}}, "outputs": {}}
    assert resolve("<{{$.inputs.parameters['x']}}>", executor_input, FACTS) == "<{{$.pipeline_job_uuid}}>"


def test_command_expands_concat_and_if_present() -> None:
    words = (
        "tool",
        '{"Concat": ["--x=", "{{$.inputs.parameters[\'x\']}}"]}',
        '{"IfPresent": {"InputName": "s", "Then": ["--s", "{{$.inputs.parameters[\'s\']}}"]}}',
        '{"IfPresent": {"InputName": "no", "Then": ["--no"], "Else": "--none"}}',
        '{"IfPresent": {"InputName": "no", "Then": "--no"}}',
    )
    assert resolve_command(words, EXECUTOR_INPUT, FACTS) == ["tool", "--x=3", "--s", "it's", "--none"]


@pytest.mark.parametrize(
    "text",
    ["{{$.workspace}}", "{{$.json_escape[1]}}", "{{$.inputs.parameters}}", "{{$.inputs.artifacts['a'].size}}"],
)
def test_unknown_placeholder_is_refused_by_name(text: str) -> None:
    with pytest.raises(UserError) as caught:
        check(["ok", {"k": text}], "executor 'e'")
    assert text in str(caught.value)
    assert "executor 'e'" in str(caught.value)


def test_only_placeholders_that_differ_from_run_to_run_are_run_specific() -> None:
    assert run_specific(["{{$.pipeline_job_uuid}}", "{{$.pipeline_task_name}}"]) == {"pipeline_job_uuid"}
    assert run_specific("{{$.inputs.parameters['pipeline_job_uuid']}}") == set()


def test_a_text_of_beginnings_is_searched_once() -> None:
    # From each beginning to the end, 120 KB took 24 s. With 4 MB that is hours: the kernel ends it.
    code = """
from pipelines.runner.ir.placeholders import check, check_command, resolve, run_specific
text = "{{$" * 2**20
check(text, "here")
assert resolve(text, {}, {}) == text
assert run_specific(text) == set()
"""
    words = ["sh", "-c", 'ulimit -t 60; exec "$0" -c "$1"', sys.executable, code]
    assert subprocess.run(words, check=False).returncode == 0


STRUCTURES = [
    '{"Concat": 5}', '{"Concat": [{"a": 1}]}', '{"Concat": [["a"]]}', '{"Concat": [5]}', '{"Concat": {"a": 1}}',
    '{"IfPresent": 5}', '{"IfPresent": {"InputName": 5, "Then": "a"}}', '{"IfPresent": {"InputName": "a"}}',
    '{"IfPresent": {"InputName": "a", "Then": {}}}', '{"IfPresent": {"InputName": "a", "Then": "a", "Else": 5}}',
    '{"Concat": [' + '{"Concat": [' * 300 + "]}" * 300 + "]}", '{"Concat": ' + "[" * 100_000,
]  # fmt: skip


@pytest.mark.parametrize("word", STRUCTURES, ids=range(len(STRUCTURES)))
def test_a_structure_that_is_none_is_refused_before_the_run(word: str) -> None:
    with pytest.raises(UserError, match="but is malformed"):
        check_command(["sh", word], "executor 'exec-x'")


@pytest.mark.parametrize(
    "word",
    [
        '{"Concat": ["a", {"IfPresent": {"InputName": "x", "Then": ["b"], "Else": "c"}}]}', '{"Concat": [', "[[[[",
        '{"IfPresent": {"InputName": "x", "Then": {"Concat": ["--x=", "{{$.inputs.parameters[\'x\']}}"]}}}',
    ],
)  # fmt: skip
def test_structures_and_other_texts_pass(word: str) -> None:
    check_command([word], "executor 'exec-x'")
    resolve_command((word,), {}, {})
