"""The promises of the compiled retraining, read from the YAML that a cluster is given."""

from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from pipelines.cli.catalog import COMPILED


@pytest.fixture(scope="module")
def documents() -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((COMPILED / "retrain.yaml").read_text()))


def tasks_in(spec: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """(component, task, the DAG's tasks) of every task anywhere in the pipeline."""
    for component in [{"dag": spec["root"]["dag"]}, *spec["components"].values()]:
        tasks = component.get("dag", {}).get("tasks", {})
        for task in tasks.values():
            yield task["componentRef"]["name"].removeprefix("comp-"), task, tasks


def of(spec: dict[str, Any], name: str) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    return [(task, tasks) for component, task, tasks in tasks_in(spec) if component.rstrip("-0123456789") == name]


def test_a_promotion_stands_behind_the_verdict_in_both_branches(documents):
    spec = documents[0]
    conditions = [
        task["triggerPolicy"]["condition"]
        for _, task, tasks in tasks_in(spec)
        if task.get("triggerPolicy", {}).get("condition") and _holds_promote(spec, task)
    ]
    assert len(conditions) == 2
    assert all("verdict'] == 'promote'" in condition for condition in conditions)


def _holds_promote(spec: dict[str, Any], task: dict[str, Any]) -> bool:
    inner = spec["components"][task["componentRef"]["name"]].get("dag", {}).get("tasks", {})
    return any(one["componentRef"]["name"].startswith("comp-promote") for one in inner.values())


def test_the_swap_expects_the_state_that_was_read_at_the_beginning(documents):
    for name, key in (("state", "state"), ("champion", "champion")):
        sources = [task["inputs"]["parameters"][name] for task, _ in of(documents[0], "promote")]
        assert len(sources) == 2
        assert all(key in source["componentInputParameter"] for source in sources)
    # Through the branch into the contest, in both: the output of the task that read the champion.
    spec = documents[0]
    read = {"taskOutputParameter": {"outputParameterKey": "state", "producerTask": "incumbent"}}
    [(branches, _)] = of(spec, "condition-branches")
    assert branches["inputs"]["parameters"]["state"] == read
    handed_on = [task["inputs"]["parameters"]["champion_state"] for task, _ in of(spec, "contest")]
    assert handed_on == [{"componentInputParameter": "state"}] * 2


@pytest.mark.parametrize("stage", ["incumbent", "preflight", "promote"])
def test_what_looks_at_the_world_or_changes_it_is_never_taken_from_the_cache(documents, stage):
    found = of(documents[0], stage)
    assert found
    assert not any(task.get("cachingOptions", {}).get("enableCache") for task, _ in found)


def test_champion_and_challenger_meet_on_the_test_split(documents):
    splits = [task["inputs"]["parameters"]["split"] for task, tasks in of(documents[0], "evaluate")
              if "challenger-against-champion" in tasks]  # fmt: skip
    assert splits == [{"runtimeValue": {"constant": "test"}}] * 8


def test_all_of_a_contest_read_the_part_of_the_test_split_that_is_next(documents):
    contests = [task["inputs"]["parameters"] for task, tasks in of(documents[0], "evaluate")
                if "challenger-against-champion" in tasks]  # fmt: skip
    read = [(one["part"], one["parts"]) for one in contests]
    assert read == [({"componentInputParameter": "test_part"}, {"componentInputParameter": "test_parts"})] * 8
    for stage, given in (("measure", ("test_part", "test_parts")), ("judge", ("part_uses",))):
        handed_on = [
            {name: task["inputs"]["parameters"][name] for name in given} for task, _ in of(documents[0], stage)
        ]
        assert handed_on == [{name: {"componentInputParameter": name} for name in given}] * 2
    handed_on = [task["inputs"]["parameters"] for task, _ in of(documents[0], "contest")]
    assert [(one["test_part"], one["part_uses"]) for one in handed_on] == [
        ({"componentInputParameter": "part"}, {"componentInputParameter": "part_uses"})
    ] * 2
    [(incumbent, _)] = of(documents[0], "incumbent")
    asked = incumbent["inputs"]["parameters"]["test_parts"]["taskOutputParameter"]
    assert asked == {"outputParameterKey": "test_parts", "producerTask": "preflight"}


def test_the_judge_is_told_of_each_anchor_what_was_measured_against_it(documents):
    """Through measure and contest, in both branches, to the outputs of the task that read the champion."""
    for task, _ in of(documents[0], "judge"):
        given = task["inputs"]
        assert given["parameters"]["anchors"] == {"componentInputParameter": "anchors"}
        measured = {name: given["artifacts"][name]["taskOutputArtifact"] for name in ("anchor_duel", "year_duel")}
        assert {name: one["outputArtifactKey"] for name, one in measured.items()} == {name: name for name in measured}
    for _, tasks in of(documents[0], "evaluate"):
        if "challenger-against-champion" not in tasks:
            continue
        opponents = ("champion", "best-proven-release", "first-release-of-the-year")
        baselines = [tasks[f"challenger-against-{one}"]["inputs"]["artifacts"]["baseline"] for one in opponents]
        assert [one["componentInputArtifact"] for one in baselines] == ["champion", "anchor", "first_of_year"]
        # Of one release that is two of these, the second task finds what the first has left.
        waits = [tasks[f"challenger-against-{one}"].get("dependentTasks") for one in opponents]
        assert waits == [None, ["challenger-against-champion"], ["challenger-against-best-proven-release"]]
    for task, _ in of(documents[0], "measure"):
        given = task["inputs"]["artifacts"]
        assert [given[name]["componentInputArtifact"] for name in ("anchor", "first_of_year")] == [
            "anchor_served", "year_served",
        ]  # fmt: skip
    [(drift, _)] = of(documents[0], "drift")
    for name in ("anchor_reference", "year_reference"):
        source = drift["inputs"]["artifacts"][name]["taskOutputArtifact"]
        assert source == {"outputArtifactKey": name, "producerTask": "incumbent"}


def test_the_exit_task_alone_knows_the_webhook_and_works_without_it(documents):
    executors = documents[1]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert [label for label, one in executors.items() if "secretAsEnv" in one] == ["exec-run-report"]
    [secret] = executors["exec-run-report"]["secretAsEnv"]
    assert secret["optional"] is True
    assert {entry["envVar"] for entry in secret["keyToEnv"]} == {"TRIMTAB_WEBHOOK_URL", "TRIMTAB_WEBHOOK_KEY"}
    [(task, _)] = of(documents[0], "run-report")
    assert task["triggerPolicy"]["strategy"] == "ALL_UPSTREAM_TASKS_COMPLETED"


@pytest.mark.parametrize("pipeline", ["optimize", "retrain"])
def test_the_slices_that_are_asked_for_are_checked_first_and_prepared(pipeline):
    spec = next(yaml.safe_load_all((COMPILED / f"{pipeline}.yaml").read_text()))
    given = {"componentInputParameter": "data_slice_columns"}
    checked = {"taskOutputParameter": {"outputParameterKey": "slice_columns", "producerTask": "preflight"}}
    handed_on = {"componentInputParameter": "slice_columns"}
    for stage, name, source in (
        ("preflight", "data_slice_columns", given), ("prepare", "slice_columns", checked),
        ("data-part", "slice_columns", handed_on), ("data-prep", "slice_columns", handed_on),
    ):  # fmt: skip
        found = [task["inputs"]["parameters"].get(name) for task, _ in of(spec, stage)]
        assert found == [source], stage


def test_each_judgement_knows_the_margins_that_were_checked_at_the_beginning(documents):
    found = [task["inputs"]["parameters"] for task, _ in of(documents[0], "judge")]
    assert len(found) == 2
    for margin in ("max_loss", "max_class_loss", "max_slice_loss"):
        checked = {"componentInputParameter": margin}
        assert [given[margin] for given in found] == [checked] * 2


def test_the_champion_is_read_after_the_form_was_checked(documents):
    [(incumbent, tasks)] = of(documents[0], "incumbent")
    assert incumbent["dependentTasks"] == ["preflight"]
    assert "dependentTasks" not in tasks["preflight"]
