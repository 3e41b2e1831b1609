"""A retraining as a schedule starts it: real data, real training, through the command line."""

import json
import os
import shutil
from pathlib import Path

import pytest
from finished_run import call_trimtab, stage_of

pytestmark = [pytest.mark.e2e, pytest.mark.demo]


def release_file(run, name: str) -> bytes:
    release, version = run.document["outputs"]["champion"].split("/")
    return run.store.releases.read(release, version, name)


def test_new_data_with_another_mix_lead_to_a_fine_tuned_challenger_that_takes_the_place(retrained_run):
    outputs = retrained_run.document["outputs"]
    assert outputs["action"] == "fine-tune"
    assert outputs["verdict"] == "promote"
    assert outputs["promoted"] is True
    history = retrained_run.store.champions.read().history
    assert [step.action for step in history] == ["promoted", "promoted"]
    assert (history[0].who, history[1].who) == ("ann", "trimtab retrain")
    assert history[1].run == retrained_run.run_id
    assert history[1].release == outputs["champion"] != history[0].release
    assert "The data have changed" in history[1].why
    assert "points against the champion" in history[1].why


def test_only_the_tasks_of_its_branch_ran(retrained_run):
    records = retrained_run.records().values()
    # The other branch, as one.
    assert sum(record["status"] == "skipped" for record in records) == 1
    ran = [stage_of(record) for record in records if record["status"] != "skipped"]
    assert sorted(ran) == sorted(
        ["incumbent", "preflight", "data_part", "data_prep", "drift", "decide", "fine_tune", "quantize",
         *["evaluate"] * 4, "judge", "export", "promote", "run_report"]
    )  # fmt: skip


def test_what_is_champion_anchor_and_first_of_the_year_is_measured_once_and_named_once(retrained_run):
    """Before this retraining a person had promoted the one release."""
    measured = [record for record in retrained_run.records().values() if stage_of(record) == "evaluate"]
    ran = [record["status"] != "skipped" and not record["cached"] for record in measured]
    assert sorted(ran) == [False, False, True, True]
    judged = json.loads(release_file(retrained_run, "retraining.json"))
    [anchor] = judged["anchors"]
    first = retrained_run.store.champions.read().history[0]
    assert anchor["title"] == f"best proven release and the first release of {first.when[:4]}"
    assert anchor["release"] == first.release
    assert [check["check"] for check in judged["checks"]].count("overall") == 1
    assert not [check for check in judged["checks"] if first.release in check["check"]]


def test_champion_and_challenger_met_on_the_same_test_images_none_of_which_was_a_training_image(retrained_run):
    judged = json.loads(release_file(retrained_run, "retraining.json"))
    evaluation = json.loads(release_file(retrained_run, "evaluation.json"))
    drift = judged["retraining"]["drift"]
    assert judged["rows"] == evaluation["rows"] > 2000
    assert drift["images"]["moved_to_test"] == 0
    assert drift["images"]["new"] == 400
    assert drift["labels"]["p_value"] < 0.01
    assert judged["champion"]["digest"] != judged["challenger"]["digest"]


def test_the_challenger_keeps_the_champions_architecture_and_is_integer(retrained_run):
    first = retrained_run.store.champions.read().history[0]
    before = json.loads(retrained_run.store.releases.read(first.name, first.version, "provenance.json"))
    after = json.loads(release_file(retrained_run, "provenance.json"))
    assert after["complexity"] == before["complexity"]
    assert after["fused"]["convolutions"] == after["fused"]["convolutions_total"] - 3 > 40


def test_report_and_card_say_what_was_decided_and_why(retrained_run):
    html = Path(retrained_run.document["outputs"]["report"]).read_text()
    card = release_file(retrained_run, "card.md").decode()
    champion = retrained_run.document["outputs"]["champion"]
    assert f"{champion} is the new champion" in html
    for part in (
        "The champion is fine-tuned",
        "classifier two-sample test",
        "The challenger may take",
        "class Sneaker",
    ):
        assert part in html, part
    assert "## Retraining" in card
    assert "It may take the champion's place" in card
    assert "This part cannot be shown" not in html
    assert "Not everything could be read" not in html


def test_only_new_shards_were_written(retrained_run):
    records = retrained_run.records()
    shards = {
        name: {
            entry["sha256"]
            for entry in record["output_artifacts"][output][0]["manifest"]["files"]
            if entry["path"].endswith(".parquet")
        }
        for name, output, record in (
            (stage_of(record), output, record)
            for record in records.values()
            for output in ("reference", "prepared")
            if output in record["output_artifacts"]
        )
    }
    assert shards["incumbent"] < shards["data_prep"]


def test_a_second_retraining_of_the_same_data_has_nothing_to_do(retrained_run, trimtab):
    champion = retrained_run.store.champions.read()
    again = trimtab(retrained_run.home, "retrain", parameters=retrained_run.parameters)
    assert again.code == 0, again.printed
    assert again.document["outputs"]["action"] == "skip"
    assert "promoted" in again.document["outputs"]
    assert again.document["outputs"]["promoted"] is False
    assert "Nothing to retrain" in again.printed
    assert retrained_run.store.champions.read() == champion


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"dataset": "nowhere"}, "dataset not found: nowhere"),
        ({"action": "retrain"}, "action must be one of auto, skip, fine-tune, optimize"),
        ({"max_loss": "-1"}, "max_loss must be between 0 and 100"),
        ({"champion": "other"}, "there is no champion 'other'"),
    ],
)
def test_a_retraining_that_fails_leaves_the_champion(retrained_run, trimtab, change, words):
    champion = retrained_run.store.champions.read()
    failed = trimtab(retrained_run.home, "retrain", parameters={**retrained_run.parameters, **change})
    assert failed.code == 2, failed.printed
    assert words in failed.printed
    assert "Traceback" not in failed.printed
    assert retrained_run.store.champions.read() == champion


def test_the_command_line_shows_the_history_and_goes_back(retrained_run, tmp_path):
    shown = call_trimtab(retrained_run.home, "champion").stdout.splitlines()
    assert shown[0] == retrained_run.document["outputs"]["champion"]
    assert f"run {retrained_run.run_id}" in shown[1]
    assert shown[2].endswith("by ann: the first one")

    shutil.copytree(retrained_run.store_uri, tmp_path / "out" / "store", copy_function=os.link)
    back = call_trimtab(tmp_path, "rollback", "--why", "complaints")
    first = retrained_run.store.champions.read().history[0].release
    assert back.stdout == f"champion: {shown[0]} -> {first}\n"
    assert retrained_run.store.champions.read().step.release == shown[0]
