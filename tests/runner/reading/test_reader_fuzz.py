"""Some of the damages of tests/benchmarks/fuzz_reader.py, always the same ones."""

from pathlib import Path

import pytest
from benchmarks.fuzz_reader import damaged, outcome_and_fault, seeds

from components.core.errors import UserError
from pipelines.runner.reading.reader import read_pipeline

FILES_A_PART = 60


@pytest.mark.parametrize("part", range(3))
def test_a_damaged_pipeline_is_read_or_refused_in_one_line(tmp_path: Path, part: int) -> None:
    trees, contents = seeds()
    outcomes, faults = [], {}
    path = tmp_path / "damaged.yaml"
    for number in range(part * FILES_A_PART, (part + 1) * FILES_A_PART):
        path.write_bytes(damaged(number, trees, contents))
        outcome, found = outcome_and_fault(path)
        outcomes.append(outcome)
        if found:
            faults[number] = found
    assert faults == {}
    assert {"reader refused", "could be run"} <= set(outcomes)  # both are reached, or it is no test


def test_undamaged_pipelines_are_read(tmp_path: Path) -> None:
    path = tmp_path / "whole.yaml"
    for content in seeds()[1]:
        path.write_bytes(content)
        assert outcome_and_fault(path) in (
            ("could be run", ""), ("parameters refused", ""), ("stand-ins refused", ""),
        )  # fmt: skip


def test_a_damage_is_the_same_each_time() -> None:
    trees, contents = seeds()
    assert [damaged(n, trees, contents) for n in range(20)] == [damaged(n, trees, contents) for n in range(20)]


def test_control_characters_of_a_file_are_not_printed(tmp_path: Path) -> None:
    path = tmp_path / "red.yaml"
    path.write_text(
        "pipelineInfo: {name: x}\nschemaVersion: 2.1.0\nroot: {}\n"
        'deploymentSpec: {executors: {"\\e[31mred\\nline": {container: 5}}}\n'
    )
    with pytest.raises(UserError, match="container must be a mapping") as caught:
        read_pipeline(path)
    assert r"executors.\x1b[31mred\nline.container" in str(caught.value)
