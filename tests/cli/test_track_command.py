"""`trimtab track`: a finished run in a real MLflow server, and one line where it cannot be recorded."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
from own_environment import own_environment
from stored_runs import fill, finished_search

from components.core.store import open_store
from pipelines.overview.contents import read_run
from pipelines.tracking.recorded import LONGEST_VALUE, recorded_of

VERSION = "3.17.2"
SECRET = "s3cr3t-p%40ss"


@pytest.fixture
def store(tmp_path: Path) -> Any:
    return open_store(str(tmp_path / "store"))


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def free_port() -> int:
    with socket.socket() as some:
        some.bind(("127.0.0.1", 0))
        return int(some.getsockname()[1])


def test_parameters_figures_curves_and_the_release_are_told(store: Any, tmp_path: Path) -> None:
    digest = finished_search(store, tmp_path, "optimize-1")
    told = recorded_of(read_run(store, "optimize-1"), store)
    assert told.succeeded
    assert told.ended - told.started == 76.0
    assert told.parameters == {
        "backbones": '["efficientnet_lite0"]', "dataset": "photos", "learning_rate": "0.001",
    }  # fmt: skip
    values = {(one.name, one.step): one.value for one in told.metrics}
    assert values["top1", 0] == 0.905
    assert values["baseline_top1", 0] == 0.93
    assert values["drop_points", 0] == pytest.approx(2.5)
    assert values["meets_budget", 0] == 1.0
    assert (values["latency_batch1_ms", 0], values["baseline_size_mb", 0]) == (1.0, 10.0)
    curve = [one for one in told.metrics if one.name == "fine-tune/validation_metric"]
    assert [(one.value, one.step) for one in curve] == [(0.5, 1), (0.75, 2)]
    assert told.tags["trimtab.run"] == "optimize-1"
    assert told.tags["trimtab.release"] == "sorter/d1d1d1d1d1d1"
    assert told.tags["trimtab.release_digest"] == digest
    assert told.files["card.md"] == "# sorter"
    assert json.loads(told.files["evaluation.json"])["split"] == "test"


def test_a_failed_run_is_told_as_failed_and_one_without_an_end_is_refused(
    trimtab: Callable[..., Any], store: Any, tmp_path: Path
) -> None:
    fill(store, tmp_path / "artifacts")
    failed = recorded_of(read_run(store, "optimize-9"), store)
    assert (failed.succeeded, failed.files) == (False, {})
    assert "trimtab.release" not in failed.tags
    said = trimtab("track", "optimize-8", "--uri", "http://127.0.0.1:1", "--store", str(tmp_path / "store"))
    assert said.code == 2
    assert said.err == "error: the run optimize-8 has no recorded end (no end recorded); record it once it has ended\n"


def test_names_and_values_are_those_that_mlflow_takes(store: Any, tmp_path: Path) -> None:
    finished_search(store, tmp_path, "optimize-1")
    run = read_run(store, "optimize-1")
    run.evidence.parameters = {"catalog": "x" * 9000}
    told = recorded_of(run, store)
    assert told.parameters["catalog"] == "x" * (LONGEST_VALUE - 1) + "…"
    assert all(re.fullmatch(r"[\w\-. /]+", one.name) for one in told.metrics)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["optimise-1", "--uri", "http://127.0.0.1:1"],
            "has no run 'optimise-1'; did you mean 'optimize-1'? (see: trimtab report)",
        ),
        (["nightly", "--uri", "http://127.0.0.1:1"], "has no run 'nightly' (see: trimtab report)"),
        (["optimize-1"], "give the address of an MLflow server: --uri http://HOST:5000, or $MLFLOW_TRACKING_URI"),
        (["optimize-1", "--uri", f"sqlite://ann:{SECRET}@x/y"], "--uri must be the address of an MLflow server"),
        (["optimize-1", "--uri", f"http://ann:{SECRET}@host:port"], "--uri must be the address of an MLflow server"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_one_line(
    trimtab: Callable[..., Any], store: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments, said
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    finished_search(store, tmp_path, "optimize-1")
    done = trimtab("track", *arguments, "--store", str(tmp_path / "store"))
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert said in done.err
    assert "s3cr3t" not in done.err + done.out


def test_without_mlflows_client_one_line_says_what_to_install(
    trimtab: Callable[..., Any], store: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finished_search(store, tmp_path, "optimize-1")
    monkeypatch.setitem(sys.modules, "mlflow", None)
    for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_DISABLE_TELEMETRY"):
        monkeypatch.setenv(name, "")  # and is put back as it was
    done = trimtab("track", "optimize-1", "--uri", "http://127.0.0.1:1", "--store", str(tmp_path / "store"))
    assert (done.code, done.err) == (2, "error: trimtab track needs MLflow's client; install trimtab[mlflow]\n")


@pytest.fixture(scope="module")
def environment() -> Path:
    try:
        return own_environment("mlflow", [f"mlflow=={VERSION}"])
    except RuntimeError as error:
        pytest.fail(f"{error}\ndeselect with -m 'not mlflow'")


@pytest.fixture(scope="module")
def server(environment: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a real MLflow server, empty."""
    folder, port = tmp_path_factory.mktemp("mlflow"), free_port()
    command = [
        environment / "bin" / "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
        "--backend-store-uri", f"sqlite:///{folder}/runs.sqlite", "--artifacts-destination", str(folder / "artifacts"),
    ]  # fmt: skip
    quiet = {"PATH": os.environ["PATH"], "HOME": str(folder), "MLFLOW_DISABLE_TELEMETRY": "true"}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder, env=quiet, start_new_session=True)
        try:
            address = f"http://127.0.0.1:{port}"
            wait_for(f"{address}/health", process, folder / "log")
            yield address
        finally:
            os.killpg(process.pid, 9)
            process.wait()
            shutil.rmtree(folder, ignore_errors=True)


def wait_for(url: str, process: subprocess.Popen, log: Path, *, seconds: float = 600) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert process.poll() is None, log.read_text()[-2000:]
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            time.sleep(0.3)
    pytest.fail(f"no answer from {url}: {log.read_text()[-2000:]}")


def ask(server: str, call: str, body: dict[str, Any]) -> Any:
    """MLflow's REST API, without its client."""
    request = urllib.request.Request(
        f"{server}/api/2.0/mlflow/{call}", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def runs_of(server: str, experiment: str) -> list[dict[str, Any]]:
    url = f"{server}/api/2.0/mlflow/experiments/get-by-name?experiment_name={experiment}"
    with urllib.request.urlopen(url, timeout=30) as answer:
        number = json.load(answer)["experiment"]["experiment_id"]
    found = ask(server, "runs/search", {"experiment_ids": [number], "run_view_type": "ACTIVE_ONLY"})
    return list(found.get("runs", ()))


@pytest.fixture
def track(environment: Path, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess]:
    """`trimtab track` in a process of its own, to which MLflow's client is added behind our own packages."""
    (packages,) = (environment / "lib").glob("python*/site-packages")

    def call(*arguments: str, **variables: str) -> subprocess.CompletedProcess:
        code = f"import sys; sys.path.append({str(packages)!r}); from pipelines.cli import main; main()"
        command = [sys.executable, "-c", code, "track", *arguments, "--store", str(tmp_path / "store")]
        kept = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
        return subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=600, env={**kept, **variables}
        )

    return call


@pytest.mark.mlflow
def test_the_server_answers_with_parameters_metrics_and_the_releases_digest(
    track, server: str, store: Any, tmp_path: Path
) -> None:
    digest = finished_search(store, tmp_path, "optimize-1")
    before = files_of(tmp_path / "store")
    done = track("optimize-1", "--uri", server, "--experiment", "sorters")
    assert done.returncode == 0, done.stderr
    assert "3 parameters" in done.stdout
    (run,) = runs_of(server, "sorters")
    info, data = run["info"], run["data"]
    assert (info["status"], info["run_name"]) == ("FINISHED", "optimize-1")
    assert info["end_time"] - info["start_time"] == 76_000
    assert info["run_id"] in done.stdout
    parameters = {one["key"]: one["value"] for one in data["params"]}
    assert parameters == {"backbones": '["efficientnet_lite0"]', "dataset": "photos", "learning_rate": "0.001"}
    metrics = {one["key"]: one["value"] for one in data["metrics"]}
    assert metrics["top1"] == 0.905
    assert metrics["drop_points"] == pytest.approx(2.5)
    assert metrics["fine-tune/train_loss"] == 0.8
    tags = {one["key"]: one["value"] for one in data["tags"]}
    assert tags["trimtab.release"] == "sorter/d1d1d1d1d1d1"
    assert tags["trimtab.release_digest"] == digest
    url = f"{server}/api/2.0/mlflow/metrics/get-history?run_id={info['run_id']}&metric_key=fine-tune/validation_metric"
    with urllib.request.urlopen(url, timeout=30) as answer:
        curve = json.load(answer)["metrics"]
    assert [(one["step"], one["value"]) for one in curve] == [(1, 0.5), (2, 0.75)]
    with urllib.request.urlopen(f"{server}/get-artifact?path=card.md&run_id={info['run_id']}", timeout=30) as answer:
        assert answer.read() == b"# sorter"

    again = track("optimize-1", "--experiment", "sorters", MLFLOW_TRACKING_URI=server)
    assert again.returncode == 0, again.stderr
    assert f"is recorded already: {server}" in again.stdout
    assert len(runs_of(server, "sorters")) == 1
    assert files_of(tmp_path / "store") == before


@pytest.mark.mlflow
def test_an_attempt_that_was_broken_off_is_recorded_again(track, server: str, store: Any, tmp_path: Path) -> None:
    finished_search(store, tmp_path, "optimize-2", state="FAILED")
    made = ask(server, "experiments/create", {"name": "broken"})["experiment_id"]
    tags = [{"key": "trimtab.run", "value": "optimize-2"}]
    left = ask(server, "runs/create", {"experiment_id": made, "start_time": 1, "tags": tags})["run"]["info"]["run_id"]
    done = track("optimize-2", "--uri", server, "--experiment", "broken")
    assert done.returncode == 0, done.stderr
    (run,) = runs_of(server, "broken")
    assert run["info"]["run_id"] != left
    assert run["info"]["status"] == "FAILED"


class Refusing(BaseHTTPRequestHandler):
    """A server that wants another password, and repeats what it was given."""

    seen: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        given = self.headers.get("Authorization", "")
        self.seen.append(given)
        self.send_response(401)
        self.end_headers()
        self.wfile.write(f"not {given}, nor s3cr3t-p@ss".encode())

    def log_message(self, *arguments: Any) -> None:
        """Nothing."""


@pytest.mark.mlflow
def test_a_password_in_the_address_reaches_the_server_and_is_never_printed(track, store: Any, tmp_path: Path) -> None:
    finished_search(store, tmp_path, "optimize-1")
    before = files_of(tmp_path / "store")
    refusing = HTTPServer(("127.0.0.1", 0), Refusing)
    threading.Thread(target=refusing.serve_forever, daemon=True).start()
    try:
        done = track("optimize-1", "--uri", f"http://ann:{SECRET}@127.0.0.1:{refusing.server_port}")
    finally:
        refusing.shutdown()
    assert "Basic " + b64encode(b"ann:s3cr3t-p@ss").decode() in Refusing.seen
    assert done.returncode == 2
    printed = done.stdout + done.stderr
    assert f"error: the MLflow server at http://127.0.0.1:{refusing.server_port} does not take the run" in done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    for form in ("s3cr3t", b64encode(b"ann:s3cr3t-p@ss").decode()):
        assert form not in printed
    assert files_of(tmp_path / "store") == before


@pytest.mark.mlflow
def test_a_server_that_is_down_is_one_line(track, store: Any, tmp_path: Path) -> None:
    finished_search(store, tmp_path, "optimize-1")
    before, port = files_of(tmp_path / "store"), free_port()
    done = track("optimize-1", "--uri", f"http://ann:{SECRET}@127.0.0.1:{port}")
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: the MLflow server at http://127.0.0.1:{port} does not take the run: ")
    assert done.stderr.count("\n") == 1, done.stderr
    assert "s3cr3t" not in done.stdout + done.stderr
    assert files_of(tmp_path / "store") == before
