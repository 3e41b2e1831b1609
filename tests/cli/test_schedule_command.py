"""`trimtab schedule`, with the real client against a server on loopback."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kfp_server import KfpServer

Trimtab = Callable[..., Any]


@pytest.fixture
def schedule(trimtab: Trimtab, pipeline: str, kfp_server: KfpServer) -> Callable[..., Any]:
    """Makes the weekly schedule, with further options."""

    def make(*options: str, cron: str = "0 3 * * 1", n: int = 1) -> Any:
        return trimtab(
            "schedule", "--cron", cron, "--pipeline", pipeline, "--host", kfp_server.url, "-p", f"n={n}", *options
        )

    return make


def only(kfp_server: KfpServer) -> dict[str, Any]:
    (found,) = kfp_server.objects["recurringruns"].values()
    return found


def test_a_schedule_is_made_with_all_that_was_said(schedule: Callable[..., Any], kfp_server: KfpServer) -> None:
    said = schedule(
        "--name",
        "weekly",
        "--experiment",
        "retraining",
        "--max-concurrency",
        "2",
        "--catch-up",
        "--service-account",
        "me",
    )
    assert said.code == 0, said.err
    made = only(kfp_server)
    assert (made["display_name"], made["mode"], made["service_account"]) == ("weekly", "ENABLE", "me")
    assert made["trigger"] == {"cron_schedule": {"cron": "0 0 3 * * 1"}}
    assert (made["max_concurrency"], made["no_catchup"]) == ("2", False)
    assert made["runtime_config"]["parameters"] == {"n": 1}
    (version,) = kfp_server.objects["versions"].values()
    assert made["pipeline_version_reference"]["pipeline_version_id"] == version["pipeline_version_id"]
    assert kfp_server.names("experiments") == ["retraining"]
    assert "'0 3 * * 1' becomes '0 0 3 * * 1'" in said.out
    assert f"schedule weekly created: {kfp_server.url}/#/recurringrun/details/{made['recurring_run_id']}" in said.out


def test_missed_runs_are_not_made_up_for_unless_asked(schedule: Callable[..., Any], kfp_server: KfpServer) -> None:
    schedule()
    assert (only(kfp_server)["no_catchup"], only(kfp_server)["max_concurrency"]) == (True, "1")


def test_the_same_command_again_changes_nothing(schedule: Callable[..., Any], kfp_server: KfpServer) -> None:
    schedule("--service-account", "me")
    before = dict(only(kfp_server))
    said = schedule("--service-account", "me", cron="0 0 3 * * 1")
    assert "unchanged" in said.out
    assert only(kfp_server) == before
    assert "unchanged" in schedule().out


@pytest.mark.parametrize(
    "change",
    [
        {"cron": "0 4 * * 1"}, {"n": 2}, {"options": ("--catch-up",)}, {"options": ("--max-concurrency", "3")},
        {"options": ("--service-account", "other")}, {"options": ("--experiment", "other")},
        {"options": ("--values", "values.yaml")},
    ],
)  # fmt: skip
def test_a_change_replaces_what_has_the_name_and_nothing_else(
    schedule: Callable[..., Any], kfp_server: KfpServer, tmp_path: Path, change: dict[str, Any]
) -> None:
    (tmp_path / "values.yaml").write_text("stages: {work: {timeout: 1h}}")
    schedule()
    schedule("--name", "another")
    first = next(iter(kfp_server.objects["recurringruns"]))
    kfp_server.requests.clear()
    options = change.pop("options", ())
    said = schedule(*options, **change)
    assert "schedule little replaced" in said.out
    assert sorted(kfp_server.names("recurringruns")) == ["another", "little"]
    assert first not in kfp_server.objects["recurringruns"]
    # Made first, deleted then: no moment without a schedule.
    order = [one.method for one in kfp_server.requests if "recurringruns" in one.path and one.method != "GET"]
    assert order == ["POST", "DELETE"]


def test_a_replacement_that_was_interrupted_is_finished_by_the_same_command(
    schedule: Callable[..., Any], kfp_server: KfpServer
) -> None:
    schedule()
    kfp_server.fail("/recurringruns/", 500, method="DELETE", times=1)
    assert schedule(cron="0 4 * * 1").code == 1
    assert len(kfp_server.objects["recurringruns"]) == 2
    assert schedule(cron="0 4 * * 1").code == 0
    assert only(kfp_server)["trigger"]["cron_schedule"]["cron"] == "0 0 4 * * 1"


def test_an_answer_that_was_lost_makes_no_second_schedule(schedule: Callable[..., Any], kfp_server: KfpServer) -> None:
    kfp_server.fail("/recurringruns$", "after", method="POST", times=1)
    assert schedule().code == 1
    assert "unchanged" in schedule().out
    only(kfp_server)


def test_a_paused_schedule_stays_paused_when_it_is_replaced(
    schedule: Callable[..., Any], trimtab: Trimtab, kfp_server: KfpServer
) -> None:
    schedule()
    trimtab("schedule", "pause", "little", "--host", kfp_server.url)
    for cron in ("0 3 * * 1", "0 4 * * 1"):
        said = schedule(cron=cron)
        assert "it is still paused; to start it: trimtab schedule resume little" in said.out
        assert only(kfp_server)["status"] == "DISABLED"


def test_of_two_of_one_name_the_one_that_runs_is_kept(schedule: Callable[..., Any], kfp_server: KfpServer) -> None:
    schedule()
    first = only(kfp_server)
    twin = {**first, "recurring_run_id": "twin", "status": "DISABLED"}
    kfp_server.objects["recurringruns"]["twin"] = twin
    assert schedule().code == 0
    assert only(kfp_server) == first


def test_listing_pausing_resuming_deleting(
    schedule: Callable[..., Any], trimtab: Trimtab, kfp_server: KfpServer
) -> None:
    host = ("--host", kfp_server.url)
    assert "there are no schedules" in trimtab("schedule", "ls", *host).out
    schedule()
    schedule("--name", "nightly", "--catch-up", cron="0 1 * * *")
    header, newest, oldest = trimtab("schedule", "ls", *host).out.splitlines()
    assert header.split()[:3] == ["NAME", "STATE", "CRON"]
    assert newest.split()[:8] == ["nightly", "enabled", "0", "0", "1", "*", "*", "*"]
    assert (newest.split()[8], oldest.split()[8]) == ("yes", "no")
    assert trimtab("schedule", "pause", "nightly", *host).code == 0
    assert trimtab("schedule", "pause", "nightly", *host).code == 0
    assert "nightly  paused" in trimtab("schedule", *host, "ls").out
    assert trimtab("schedule", "resume", "nightly", *host).code == 0
    assert "nightly  enabled" in trimtab("schedule", "ls", *host).out
    assert "deleted" in trimtab("schedule", "delete", "nightly", *host).out
    assert kfp_server.names("recurringruns") == ["little"]


@pytest.mark.parametrize("word", ["pause", "resume", "delete"])
def test_an_unknown_schedule_is_a_mistake_with_the_nearest_name(
    schedule: Callable[..., Any], trimtab: Trimtab, kfp_server: KfpServer, word: str
) -> None:
    schedule("--name", "nightly")
    said = trimtab("schedule", word, "nihgtly", "--host", kfp_server.url)
    assert said.code == 2
    assert said.err == "error: there is no schedule 'nihgtly'; did you mean 'nightly'? (schedules: nightly)\n"
    assert kfp_server.names("recurringruns") == ["nightly"]


def test_all_pages_are_read(schedule: Callable[..., Any], trimtab: Trimtab, kfp_server: KfpServer) -> None:
    kfp_server.page_size = 2
    for name in "abcde":
        schedule("--name", name)
    assert len(trimtab("schedule", "ls", "--host", kfp_server.url).out.splitlines()) == 6
    assert "unchanged" in schedule("--name", "a").out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "give --cron"),
        (("--cron", "0 25 * * *"), "hours must be 0 to 23"),
        (("--cron", "0 3 * * 1", "--max-concurrency", "0"), "--max-concurrency"),
        (("--cron", "0 3 * * 1", "--max-concurrency", "11"), "--max-concurrency"),
        (("--cron", "0 3 * * 1", "-p", "epochs=x"), "parameter 'epochs' must be an integer"),
        (("--cron", "0 3 * * 1", "ls"), "leave it out with ls"),
        (("wait",), "wait"),
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_sent(
    trimtab: Trimtab, kfp_server: KfpServer, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], message: str
) -> None:
    monkeypatch.setenv("KF_PIPELINES_ENDPOINT", kfp_server.url)
    said = trimtab("schedule", *arguments)
    assert said.code == 2
    assert message in said.err
    assert len(said.err.splitlines()) == 1
    assert kfp_server.requests == []


@pytest.mark.parametrize(("kind", "message"), [(401, "(401)"), (500, "failed (500)"), ("html", "not like the KFP API")])
def test_a_cluster_that_fails_is_exit_code_1(
    schedule: Callable[..., Any], trimtab: Trimtab, kfp_server: KfpServer, kind: Any, message: str
) -> None:
    kfp_server.fail("/recurringruns", kind)
    for said in (schedule(), trimtab("schedule", "ls", "--host", kfp_server.url)):
        assert (said.code, message in said.err, len(said.err.splitlines())) == (1, True, 1)
