"""`trimtab submit` and `trimtab follow`, with the real client against a server on loopback."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from kfp_server import KfpServer

from pipelines.cluster import following

Trimtab = Callable[..., Any]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "POLL_SECONDS", 0.01)


def test_a_run_is_started_with_its_version_experiment_and_account(
    trimtab: Trimtab, pipeline: str, kfp_server: KfpServer
) -> None:
    said = trimtab(
        "submit", pipeline, "--host", kfp_server.url + "/", "-p", "n=3", "--experiment", "nightly",
        "--run-name", "tonight", "--service-account", "runner",
    )  # fmt: skip
    assert said.code == 0, said.err
    ((run_id, run),) = kfp_server.objects["runs"].items()
    (version,) = kfp_server.objects["versions"].values()
    assert (run["display_name"], run["service_account"]) == ("tonight", "runner")
    assert run["runtime_config"]["parameters"] == {"n": 3}
    assert run["pipeline_version_reference"]["pipeline_version_id"] == version["pipeline_version_id"]
    assert (kfp_server.names("pipelines"), kfp_server.names("experiments")) == (["little"], ["nightly"])
    assert version["pipeline_spec"]["root"] == next(yaml.safe_load_all(Path(pipeline).read_text()))["root"]
    assert f"{kfp_server.url}/#/runs/details/{run_id}" in said.out
    assert f"version {version['display_name']} (new)" in said.out
    assert f"trimtab follow {run_id} --host {kfp_server.url}/" in said.out


def test_the_same_content_is_the_same_version_and_other_content_another(
    trimtab: Trimtab, pipeline: str, kfp_server: KfpServer, tmp_path: Path
) -> None:
    submit = ("submit", pipeline, "--host", kfp_server.url, "-p", "n=1")
    for _ in range(3):
        assert trimtab(*submit).code == 0
    assert len(kfp_server.objects["runs"]) == 3
    assert len(kfp_server.objects["versions"]) == len(kfp_server.objects["pipelines"]) == 1
    assert len(kfp_server.objects["experiments"]) == 1
    assert "(new)" not in trimtab(*submit).out
    (tmp_path / "values.yaml").write_text("stages: {work: {timeout: 1h}}")
    assert "(new)" in trimtab(*submit, "--values", "values.yaml").out
    assert len(kfp_server.objects["versions"]) == 2
    assert len(kfp_server.objects["pipelines"]) == 1


def test_values_reach_the_version_and_the_run(
    trimtab: Trimtab, pipeline: str, kfp_server: KfpServer, tmp_path: Path
) -> None:
    (tmp_path / "values.yaml").write_text("serviceAccount: from-values\nstages: {work: {timeout: 1h}}")
    submit = ("submit", pipeline, "--host", kfp_server.url, "-p", "n=1", "--values", "values.yaml")
    trimtab(*submit)
    trimtab(*submit, "--service-account", "from-line")
    assert [run["service_account"] for run in kfp_server.objects["runs"].values()] == ["from-values", "from-line"]
    (version,) = kfp_server.objects["versions"].values()
    executors = version["platform"][0]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert executors["exec-work"] == {"activeDeadlineSeconds": "3600"}


def test_images_from_a_lock_file_and_a_mirror_are_in_the_version_and_said(
    trimtab: Trimtab, kfp_server: KfpServer, tmp_path: Path
) -> None:
    digest = "sha256:" + "ab" * 32
    (tmp_path / "lock.json").write_text(json.dumps({"trimtab/data": f"registry.example.com/trimtab/data@{digest}"}))
    said = trimtab("submit", "--host", kfp_server.url, "--images", "lock.json", "--registry", "mirror.example.com/ml")
    assert said.code == 0, said.err
    (version,) = kfp_server.objects["versions"].values()
    executors = version["pipeline_spec"]["deploymentSpec"]["executors"]
    assert executors["exec-preflight"]["container"]["image"] == f"mirror.example.com/ml/trimtab/data@{digest}"
    assert f"trimtab/data:0.1.0 → mirror.example.com/ml/trimtab/data@{digest}" in said.out


def test_values_that_are_false_reach_the_run_and_defaults_are_left_to_the_pipeline(
    trimtab: Trimtab, kfp_server: KfpServer
) -> None:
    said = trimtab(
        "submit", "--host", kfp_server.url, "-p", "student_size=0", "-p", "catalog=", "-p", "label_smoothing=0",
        "-p", "max_drop=0", "-p", "prune_targets=1", "-p", "backbones=[]",
    )  # fmt: skip
    assert said.code == 0, said.err
    (run,) = kfp_server.objects["runs"].values()
    assert run["runtime_config"]["parameters"] == {
        "budget_max_drop": 0, "search_prune_targets": [1], "search_backbones": [],
        "advanced": {"student_size": 0, "catalog": "", "label_smoothing": 0},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("-p", "n=x"), "parameter 'n' must be an integer, got 'x'"),
        (("-p", "n=1", "-p", "mod=x"), "unknown parameter 'mod'; did you mean 'mode'?"),
        ((), "missing parameter(s): n (an integer)"),
        (("-p", "n"), "not of the form name=value"),
        (("-p", "n=1", "--values", "none.yaml"), "cannot be read: No such file"),
        (("-p", "n=1", "--service-account", "No Name"), "not a valid Kubernetes name"),
        (("-p", "n=1", "--timeout", "3s"), "--timeout needs --wait"),
        (("-p", "n=1", "--wait", "--timeout", "soon"), "'soon' is not a duration"),
        (("-p", "n=1", "--token-file", "none"), "the token file none cannot be read: No such file"),
    ],
)
def test_a_mistake_is_refused_before_anything_is_sent(
    trimtab: Trimtab, pipeline: str, kfp_server: KfpServer, arguments: tuple[str, ...], message: str
) -> None:
    said = trimtab("submit", pipeline, "--host", kfp_server.url, *arguments)
    assert said.code == 2
    assert message in said.err
    assert len(said.err.splitlines()) == 1
    assert kfp_server.requests == []


def test_an_unknown_pipeline_is_refused(trimtab: Trimtab, kfp_server: KfpServer) -> None:
    said = trimtab("submit", "optimise", "--host", kfp_server.url)
    assert (said.code, "did you mean 'optimize'?" in said.err) == (2, True)


def test_waiting_tells_each_change_once_and_succeeds_with_the_run(
    trimtab: Trimtab, pipeline: str, kfp_server: KfpServer
) -> None:
    kfp_server.steps = [
        ("PENDING", {}),
        ("RUNNING", {"work": "RUNNING", "work-driver": "SUCCEEDED"}),
        ("RUNNING", {"work": "RUNNING"}),
        ("RUNNING", {"work": "SUCCEEDED", "report": "RUNNING"}),
        ("SUCCEEDED", {"work": "SUCCEEDED", "report": "SUCCEEDED"}),
    ]
    said = trimtab("submit", pipeline, "--host", kfp_server.url, "-p", "n=1", "--wait")
    assert said.code == 0, said.err
    told = [line.split("  ", 1)[1] for line in said.out.splitlines() if line[2:3] == ":"]
    assert told == ["work running", "work succeeded", "report running", "report succeeded"]
    assert said.out.splitlines()[-1].endswith(" succeeded")


@pytest.mark.parametrize("state", ["FAILED", "CANCELED", "SKIPPED"])
def test_a_run_that_does_not_succeed_is_exit_code_1(
    trimtab: Trimtab, pipeline: str, kfp_server: KfpServer, state: str
) -> None:
    kfp_server.steps, kfp_server.error = [("RUNNING", {}), (state, {"work": "FAILED"})], "work: OOMKilled"
    said = trimtab("submit", pipeline, "--host", kfp_server.url, "-p", "n=1", "--wait")
    assert said.code == 1
    (line,) = said.err.splitlines()
    assert state.lower() in line
    assert "/#/runs/details/" in line
    assert ("OOMKilled" in line) is (state == "FAILED")


def test_waiting_survives_an_api_that_is_away_for_a_while(
    trimtab: Trimtab, pipeline: str, kfp_server: KfpServer
) -> None:
    kfp_server.steps = [("RUNNING", {"work": "RUNNING"}), ("SUCCEEDED", {"work": "SUCCEEDED"})]
    kfp_server.fail(r"/runs/", 503, method="GET", times=4)
    kfp_server.fail(r"/runs/", "drop", method="GET", times=3)
    said = trimtab("submit", pipeline, "--host", kfp_server.url, "-p", "n=1", "--wait")
    assert said.code == 0, said.err
    assert said.out.count("waiting for it") == 1


@pytest.mark.parametrize(
    ("kind", "message"), [(503, "is not ready (503)"), (401, "(401)"), ("html", "not like the KFP API")]
)
def test_waiting_ends_when_the_api_stays_away_and_says_that_the_run_continues(
    trimtab: Trimtab, pipeline: str, kfp_server: KfpServer, kind: Any, message: str
) -> None:
    kfp_server.fail(r"/runs/", kind, method="GET")
    said = trimtab("submit", pipeline, "--host", kfp_server.url, "-p", "n=1", "--wait")
    assert said.code == 1
    (line,) = said.err.splitlines()
    assert message in line
    assert "the run continues" in line
    assert "trimtab follow" in line
    assert not kfp_server.sent("POST", ":terminate")


def test_a_time_out_ends_the_waiting_and_not_the_run(trimtab: Trimtab, pipeline: str, kfp_server: KfpServer) -> None:
    kfp_server.steps = [("RUNNING", {})]
    said = trimtab("submit", pipeline, "--host", kfp_server.url, "-p", "n=1", "--wait", "--timeout", "1s")
    assert said.code == 1
    assert "not finished after 1 s; the run continues" in said.err
    assert not kfp_server.sent("POST", ":terminate")


def test_ctrl_c_ends_the_waiting_and_says_how_to_follow(
    trimtab: Trimtab, pipeline: str, kfp_server: KfpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    kfp_server.steps = [("RUNNING", {})]

    def interrupt(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(following.time, "sleep", interrupt)
    said = trimtab("submit", pipeline, "--host", kfp_server.url, "-p", "n=1", "--wait")
    (run_id,) = kfp_server.objects["runs"]
    assert said.code == 1
    assert said.err == (
        f"error: stopped waiting; the run continues: {kfp_server.url}/#/runs/details/{run_id}; "
        f"to wait again: trimtab follow {run_id} --host {kfp_server.url}\n"
    )
    assert not kfp_server.sent("POST", ":terminate")
    monkeypatch.undo()


def test_following_goes_on_with_a_run(trimtab: Trimtab, pipeline: str, kfp_server: KfpServer) -> None:
    kfp_server.steps = [("RUNNING", {"work": "RUNNING"}), ("SUCCEEDED", {"work": "SUCCEEDED"})]
    trimtab("submit", pipeline, "--host", kfp_server.url, "-p", "n=1")
    (run_id,) = kfp_server.objects["runs"]
    said = trimtab("follow", run_id, "--host", kfp_server.url)
    assert (said.code, said.out.splitlines()[-1]) == (0, f"run {run_id} succeeded")
    gone = trimtab("follow", "nowhere", "--host", kfp_server.url)
    assert (gone.code, "runs nowhere not found" in gone.err, "continues" in gone.err) == (1, True, False)


def test_a_run_whose_start_was_not_answered_is_said_to_be_unknown(
    trimtab: Trimtab, pipeline: str, kfp_server: KfpServer
) -> None:
    kfp_server.fail(r"/runs$", "after", method="POST")
    said = trimtab("submit", pipeline, "--host", kfp_server.url, "-p", "n=1", "--run-name", "tonight")
    assert said.code == 1
    assert "whether the run was started is not known: look for 'tonight'" in said.err
    assert len(kfp_server.objects["runs"]) == 1


def test_a_token_is_used_and_never_shown(
    trimtab: Trimtab, pipeline: str, kfp_server: KfpServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kfp_server.token = "s3cret-token"
    submit = ("submit", pipeline, "--host", kfp_server.url, "-p", "n=1")
    without = trimtab(*submit)
    assert (without.code, "(401)" in without.err, "--token-file" in without.err) == (1, True, True)
    (tmp_path / "token").write_text("s3cret-token\n")
    (tmp_path / "other").write_text("another-token\n")
    wrong = trimtab(*submit, "--token-file", "other")
    by_file = trimtab(*submit, "--token-file", "token", "--wait")
    monkeypatch.setenv("KF_PIPELINES_SA_TOKEN_PATH", str(tmp_path / "token"))
    by_pod = trimtab(*submit)
    monkeypatch.delenv("KF_PIPELINES_SA_TOKEN_PATH")
    monkeypatch.setenv("TRIMTAB_KFP_TOKEN", "s3cret-token")
    by_variable = trimtab(*submit)
    assert [said.code for said in (wrong, by_file, by_pod, by_variable)] == [1, 0, 0, 0]
    for said in (without, wrong, by_file, by_pod, by_variable):
        assert "s3cret" not in said.out + said.err
        assert "another" not in said.out + said.err


def test_where_users_have_namespaces_one_must_be_given(trimtab: Trimtab, pipeline: str, kfp_server: KfpServer) -> None:
    kfp_server.multi_user = True
    submit = ("submit", pipeline, "--host", kfp_server.url, "-p", "n=1")
    said = trimtab(*submit)
    assert (said.code, "give yours with --namespace" in said.err) == (2, True)
    assert trimtab(*submit, "--namespace", "ml-team").code == 0
    for kind in ("pipelines", "experiments"):
        (made,) = kfp_server.objects[kind].values()
        assert made["namespace"] == "ml-team"


def test_a_signal_ends_the_real_command_line_and_not_the_run(
    pipeline: str, kfp_server: KfpServer, tmp_path: Path
) -> None:
    kfp_server.steps = [("RUNNING", {"work": "RUNNING"})]
    waiting = subprocess.Popen(
        [sys.executable, "-m", "pipelines.cli", "submit", pipeline, "--host", kfp_server.url, "-p", "n=1", "--wait"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path,
    )  # fmt: skip
    assert waiting.stdout is not None
    for line in waiting.stdout:
        if "work running" in line:
            break
    waiting.send_signal(signal.SIGINT)
    _, err = waiting.communicate(timeout=60)
    assert waiting.returncode == 1
    (line,) = err.splitlines()
    assert "stopped waiting; the run continues" in line
    assert not kfp_server.sent("POST", ":terminate")


def test_the_real_command_line_ends_quickly_on_a_refused_connection(pipeline: str, tmp_path: Path) -> None:
    found = subprocess.run(
        [sys.executable, "-m", "pipelines.cli", "submit", pipeline, "--host", "http://127.0.0.1:9", "-p", "n=1"],
        capture_output=True, text=True, check=False, cwd=tmp_path, timeout=60,
    )  # fmt: skip
    assert found.returncode == 1
    (line,) = found.stderr.splitlines()
    assert "http://127.0.0.1:9 cannot be reached: nothing listens there" in line
    assert "port-forward" in line


def test_what_is_sent_is_json_of_the_api(trimtab: Trimtab, pipeline: str, kfp_server: KfpServer) -> None:
    trimtab("submit", pipeline, "--host", kfp_server.url, "-p", "n=1")
    (request,) = kfp_server.sent("POST", "/runs$")
    assert set(json.loads(request.body)) == {
        "display_name", "experiment_id", "pipeline_version_reference", "runtime_config",
    }  # fmt: skip
