"""`trimtab gc` through the command line, over real runs."""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from components.core.store import open_store

Trimtab = Callable[..., Any]
DAY = 86400


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "trimtab-out" / "store"


def make_older(folder: Path, days: float) -> None:
    when = time.time() - days * DAY
    for path in folder.rglob("*"):
        if path.is_file():
            os.utime(path, (when, when))


def files_of(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_a_dry_run_lists_what_a_collection_then_deletes(trimtab: Trimtab, folder: Path) -> None:
    store = open_store(str(folder))
    old, young = store.blobs.put(b"x" * 1500), store.blobs.put(b"young")
    store.results.save("prune", "old", {"saved": 1})
    make_older(folder, 15)
    store.results.save("prune", "young", {"output_artifacts": {"m": [{"files": {"": young}}]}})
    before = files_of(folder)

    said = trimtab("gc", "--dry-run")
    assert said.code == 0
    lines = said.out.splitlines()
    assert lines[:2] == [
        f"blobs/sha256/{old[:2]}/{old}  1.5 kB, 15 days old",
        "results/prune/old.json  16 B, 15 days old",
    ]
    assert lines[2] == "would delete 1 results (16 B), 0 checkpoints (0 B), 1 blobs (1.5 kB)"
    assert lines[3] == "1 blobs (5 B) kept: still needed, or too recent"
    assert files_of(folder) == before

    said = trimtab("gc")
    assert said.out.splitlines() == [
        "deleted 1 results (16 B), 0 checkpoints (0 B), 1 blobs (1.5 kB)",
        "1 blobs (5 B) kept: still needed, or too recent",
    ]
    assert said.err == ""
    assert store.blobs.get(young) == b"young"
    assert not store.blobs.has(old)


def test_the_grace_period_is_as_long_as_it_is_said(trimtab: Trimtab, folder: Path) -> None:
    digest = open_store(str(folder)).blobs.put(b"x")
    make_older(folder, 3)
    assert "deleted 0 results" in trimtab("gc", "--grace", "4d").out
    assert open_store(str(folder)).blobs.has(digest)
    assert "1 blobs (1 B)" in trimtab("gc", "--grace", "48h").out.splitlines()[0]


def test_a_grace_period_shorter_than_a_task_is_warned_of(trimtab: Trimtab, folder: Path) -> None:
    open_store(str(folder)).blobs.put(b"x")
    said = trimtab("gc", "--grace", "0h")
    assert said.err.startswith("warning: a grace period of 0h does not protect runs")
    assert len(said.err.splitlines()) == 1


def test_the_runs_in_this_home_keep_the_blobs_of_their_artifacts(trimtab: Trimtab, folder: Path) -> None:
    store = open_store(str(folder))
    kept, loose = store.blobs.put(b"named by a run's manifest"), store.blobs.put(b"named by none")
    artifact = folder.parent / "runs" / "last-winter" / "artifacts" / "prune" / "model"
    artifact.mkdir(parents=True)
    (artifact / "manifest.json").write_text(json.dumps({"kind": "model", "files": [{"path": "w", "sha256": kept}]}))
    (artifact.parent / "manifest.json").write_text("not a manifest")
    make_older(folder, 100)
    assert trimtab("gc").code == 0
    assert (store.blobs.has(kept), store.blobs.has(loose)) == (True, False)


def test_a_run_whose_results_were_collected_runs_again(trimtab: Trimtab, folder: Path, pipeline: str) -> None:
    assert trimtab("run", pipeline, "-p", "n=1", "--run-id", "first").code == 0
    assert open_store(str(folder)).journal.runs() == ["first"]
    assert len([name for name in files_of(folder) if name.startswith("results/")]) == 1
    make_older(folder, 15)
    assert trimtab("gc").code == 0
    assert [name for name in files_of(folder) if name.startswith("results/")] == []
    assert trimtab("run", pipeline, "-p", "n=1", "--run-id", "second").code == 0
    assert len([name for name in files_of(folder) if name.startswith("results/")]) == 1


def test_a_cached_run_keeps_its_results_from_the_next_collection(trimtab: Trimtab, folder: Path, pipeline: str) -> None:
    trimtab("run", pipeline, "-p", "n=1", "--run-id", "first")
    make_older(folder, 15)
    trimtab("run", pipeline, "-p", "n=1", "--run-id", "second")
    trimtab("gc")
    assert len([name for name in files_of(folder) if name.startswith("results/")]) == 1


@pytest.mark.parametrize("grace", ["7", "a week", "-1d", "", "7 days", "1e3d"])
def test_a_grace_period_that_is_none_is_one_line(trimtab: Trimtab, folder: Path, grace: str) -> None:
    open_store(str(folder)).blobs.put(b"x")
    said = trimtab("gc", f"--grace={grace}")
    assert said.code == 2
    assert said.err == f"error: --grace must be a number with a unit (30m, 36h, 7d, 2w), got {grace!r}\n"


def test_a_store_that_is_not_there_is_one_line_and_is_not_made(trimtab: Trimtab, tmp_path: Path) -> None:
    said = trimtab("gc", "--store", str(tmp_path / "nowhere"))
    assert said.code == 2
    assert said.err.startswith(f"error: there is no store at {tmp_path / 'nowhere'}")
    assert len(said.err.splitlines()) == 1
    assert not (tmp_path / "nowhere").exists()


def test_a_damaged_ref_is_one_line_and_nothing_goes(trimtab: Trimtab, folder: Path) -> None:
    digest = open_store(str(folder)).blobs.put(b"x")
    (folder / "refs").mkdir()
    (folder / "refs" / "champion.json").write_text("{")
    make_older(folder, 15)
    said = trimtab("gc")
    assert said.code == 2
    assert said.err.startswith("error: ")
    assert "refs/champion.json is damaged" in said.err
    assert len(said.err.splitlines()) == 1
    assert open_store(str(folder)).blobs.has(digest)


def test_the_help_says_what_is_kept(trimtab: Trimtab) -> None:
    said = " ".join(trimtab("gc", "--help").out.split())
    for part in ("refs and releases", "$TRIMTAB_HOME", "another $TRIMTAB_HOME", "safe to run while a pipeline runs"):
        assert part in said
