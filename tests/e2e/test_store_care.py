"""The commands that look after the store, over a store that a real run has filled."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from components.core.store.contents.blobs import blob_key

pytestmark = [pytest.mark.e2e, pytest.mark.demo]

DAY = 86400


def call(run: Any, *arguments: str, store: Path | None = None, home: Path | None = None) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "pipelines.cli", *arguments, "--store", str(store or run.store_uri)]
    variables = {**os.environ, "TRIMTAB_HOME": str(home or run.home / "out")}
    return subprocess.run(command, cwd=run.home, env=variables, capture_output=True, text=True, timeout=600)


def flatten(link: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield link
    for given in link["inputs"]:
        yield from flatten(given)


@pytest.fixture
def copy(reduced_run: Any, tmp_path: Path) -> Path:
    """A copy of the run's store, to be damaged."""
    return Path(shutil.copytree(reduced_run.store_uri, tmp_path / "store"))


def test_the_release_is_traced_back_to_the_raw_data(reduced_run: Any) -> None:
    done = call(reduced_run, "lineage", "model", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    links = list(flatten(json.loads(done.stdout)))
    assert all(link["state"] != "broken" for link in links)
    fingerprint = next(
        record["output_artifacts"]["prepared"][0]["metadata"]["fingerprint"]
        for task, record in reduced_run.records().items()
        if task.endswith("data-prep")
    )
    assert {link["digest"] for link in links if link["kind"] == "raw data"} == {fingerprint}
    made_by = {link["made_by"].rpartition("/")[2] for link in links}
    assert {"export", "quantize", "distill", "prune", "fine-tune", "baseline", "backbone-selection"} <= made_by
    assert sum(link["kind"] == "pretrained weights" for link in links) == 1


def test_one_changed_byte_of_any_blob_in_the_chain_breaks_it(reduced_run: Any, copy: Path) -> None:
    records = reduced_run.records().values()
    made = {
        record["task"].rpartition("/")[2]: item["manifest"]
        for record in records
        for items in record["output_artifacts"].values()
        for item in items
        if item["manifest"] and item["manifest"]["kind"] in ("model", "dataset")
    }
    for task in ("data-prep", "backbone-selection", "fine-tune"):
        entry = max(made[task]["files"], key=lambda one: one["bytes"])
        path = copy / blob_key(entry["sha256"])
        whole = path.read_bytes()
        path.write_bytes(whole[:1000] + bytes([whole[1000] ^ 1]) + whole[1001:])
        done = call(reduced_run, "lineage", "model", store=copy)
        assert done.returncode == 1, task
        assert f"{entry['path']}: its blob {entry['sha256'][:12]} is damaged" in done.stdout
        path.write_bytes(whole)
    assert call(reduced_run, "lineage", "model", store=copy).returncode == 0


def test_a_year_later_a_collection_leaves_the_release_and_its_whole_lineage(reduced_run: Any, copy: Path) -> None:
    assert call(reduced_run, "store", "verify", store=copy).returncode == 0
    then = time.time() - 365 * DAY
    for path in copy.rglob("*"):
        os.utime(path, (then, then))
    # From another home, so that nothing but the release itself keeps anything.
    done = call(reduced_run, "gc", store=copy, home=copy.parent / "another-home")
    assert done.returncode == 0, done.stderr
    assert " 0 results" not in done.stdout
    assert call(reduced_run, "lineage", "model", store=copy).returncode == 0
    assert call(reduced_run, "store", "verify", store=copy).returncode == 0
