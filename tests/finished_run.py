"""One real run of the demo at a reduced size, as a user would start it. Loaded by tests/conftest.py."""

import io
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageOps

from components.core.store import Store, open_store
from components.core.tasks import get_task

DEMO = get_task("classification").rows.demo.file

IMPORT_RECORDER = Path(__file__).with_name("import_recorder")

REDUCED = {
    "image_size": "32",
    "backbones": "efficientnet_lite0,efficientnet_lite1",
    "epochs": "1",
    "distill_epochs": "1",
    "calibration_images": "128",
    "latency_rounds": "15",
    "prune_targets": "0.8,0.6",
    "max_drop": "20",
}


@dataclass(frozen=True, kw_only=True)
class FinishedRun:
    """A run of `trimtab run` that has ended: its folder, what it printed and what `--json` wrote."""

    home: Path
    store_uri: str
    code: int
    printed: str
    document: dict
    parameters: dict[str, str]

    @property
    def store(self) -> Store:
        return open_store(self.store_uri)

    @property
    def run_id(self) -> str:
        return self.document["run_id"]

    def imported(self, task: str) -> set[str]:
        """The modules of `components` that a task has imported, by the names that it tried."""
        files = (self.home / "imports").glob(f"{task.replace('/', '~')}.*")
        return {name for file in files for name in file.read_text().split()}

    def records(self) -> dict[str, dict]:
        """The journal of the run by task path."""
        return {record["task"]: record for record in self.store.journal.read(self.run_id)}


def function_of(record: dict) -> str:
    """The component's function that a journal record is of; the compiler calls its second use `fine-tune-2`."""
    return re.sub(r"(-\d+)+$", "", record["component"]).replace("-", "_")


def stage_of(record: dict) -> str:
    """The stage that a journal record is of: `preflight__retrain` is the stage preflight with the form of retrain."""
    return function_of(record).partition("__")[0]


def run_trimtab(
    home: Path,
    *arguments: str,
    parameters: dict[str, str] | None = None,
    store: str | None = None,
    environment: dict[str, str] | None = None,
    timeout: float = 1500,
) -> FinishedRun:
    """`trimtab run` in a process of its own, with everything it writes below `home`."""
    home.mkdir(parents=True, exist_ok=True)
    variables = {
        **os.environ,
        "TRIMTAB_HOME": str(home / "out"),
        "TRIMTAB_CACHE": str(home / "cache"),
        "TRIMTAB_TEST_IMPORTS": str(home / "imports"),
        "PYTHONPATH": os.pathsep.join(filter(None, (str(IMPORT_RECORDER), os.environ.get("PYTHONPATH")))),
        **(environment or {}),
    }
    variables.pop("TRIMTAB_STORE", None)
    command = [sys.executable, "-m", "pipelines.cli", "run", *arguments, "--json", str(home / "result.json")]
    for name, value in (parameters or {}).items():
        command += ["-p", f"{name}={value}"]
    if store:
        command += ["--store", store]
    (home / "result.json").unlink(missing_ok=True)
    done = subprocess.run(
        command, cwd=home, env=variables, capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL
    )
    result = home / "result.json"
    return FinishedRun(
        home=home,
        store_uri=store or str(home / "out" / "store"),
        code=done.returncode,
        printed=done.stdout + done.stderr,
        document=json.loads(result.read_text()) if result.exists() else {},
        parameters=parameters or {},
    )


def call_trimtab(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Another command of the command line, in the home of a run."""
    variables = {**os.environ, "TRIMTAB_HOME": str(home / "out"), "TRIMTAB_USER": "ann"}
    variables.pop("TRIMTAB_STORE", None)
    command = [sys.executable, "-m", "pipelines.cli", *arguments]
    return subprocess.run(command, cwd=home, env=variables, capture_output=True, text=True, timeout=120)


@pytest.fixture(scope="session")
def trimtab() -> Callable[..., FinishedRun]:
    """`run_trimtab`, for tests that start runs of their own."""
    return run_trimtab


RETRAINED = {
    "min_new_images": "50",
    "large_label_shift": "1",
    "large_feature_drift": "1",
    "tune_epochs": "1",
    # One epoch on little data is no better than the champion: −0.05 points (−1.00 to +0.90) on 2,167 images once, so a
    # limit of 3 can exclude something and leaves room for another machine. Classes are held to the default.
    "max_loss": "3",
}
"""Of a retraining whose new data lead to fine-tuning and to a promotion."""


@pytest.fixture(scope="session")
def retrained_run(reduced_run: FinishedRun, tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    """The reduced run's release as champion, new images of two classes, and a retraining, on a copy of its store."""
    home = tmp_path_factory.mktemp("retrained")
    # Linked and not copied: objects never change in place. Its own store, for a retraining adds a release and a ref.
    shutil.copytree(reduced_run.store_uri, home / "out" / "store", copy_function=os.link)
    champion = f"model/{reduced_run.document['outputs']['release_version']}"
    promoted = call_trimtab(home, "promote", champion, "--why", "the first one")
    assert promoted.returncode == 0, promoted.stderr
    # Called as the demo's own table: where a row came from is part of what a shard holds. Mirrored shirts and trousers
    # look like others; mirrored shoes would be told apart without an error, which is drift beyond any threshold.
    _grow_demo(home / DEMO.name, classes=(0, 1), each=200)
    parameters = {**REDUCED, **RETRAINED, "dataset": str(home / DEMO.name)}
    run = run_trimtab(
        home, "retrain", parameters=parameters, environment={"TRIMTAB_CACHE": str(reduced_run.home / "cache")}
    )
    assert run.code == 0, run.printed
    return run


def _grow_demo(path: Path, *, classes: tuple[int, ...], each: int) -> None:
    """The demo's table with `each` more images of these classes: mirrored, so that their bytes are new."""
    table = pq.read_table(DEMO)
    rows, left = table.to_pylist(), dict.fromkeys(classes, each)
    for row in list(rows):
        if left.get(row["label"]):
            left[row["label"]] -= 1
            buffer = io.BytesIO()
            ImageOps.mirror(Image.open(io.BytesIO(row["image"]["bytes"]))).save(buffer, "PNG")
            rows.append({**row, "image": {**row["image"], "bytes": buffer.getvalue()}})
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), path)


@pytest.fixture(scope="session")
def reduced_run(tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    """The embedded demo with real weights, smaller images and fewer epochs, through the command line."""
    run = run_trimtab(tmp_path_factory.mktemp("reduced"), parameters=REDUCED)
    assert run.code == 0, run.printed
    return run
