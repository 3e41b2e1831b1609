"""The surroundings of a run: other runs, a disk that fills up, a folder that takes nothing."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import components_for_tests as c
import pytest
from kfp import dsl


@dsl.pipeline(name="twins")
def twins(content: str) -> str:
    with dsl.ParallelFor([1, 2, 3, 4]) as n:
        data = c.write(content=content).set_cpu_request("0.2")
        c.add(a=n).set_cpu_request("0.2")
    return c.join(all_data=dsl.Collected(data.outputs["data"])).output


def test_two_runs_at_once_over_one_store_do_not_disturb_each_other(
    compiled: Callable[..., Path], tmp_path: Path
) -> None:
    path = compiled(twins)
    words = [sys.executable, "-m", "pipelines.cli", "run", str(path), "--store", str(tmp_path / "store")]
    runs = [
        subprocess.Popen(
            [*words, "-p", f"content={content}", "--run-id", name, "--json", f"{name}.json"],
            cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )
        for name, content in (("a", "same"), ("b", "same"), ("c", "other"), ("d", "same"))
    ]  # fmt: skip
    for process in runs:
        _, err = process.communicate(timeout=120)
        assert (process.returncode, err) == (0, "")
    for name, content in (("a", "same"), ("b", "same"), ("c", "other"), ("d", "same")):
        assert f'"Output": "{"+".join([content] * 4)}"' in (tmp_path / f"{name}.json").read_text()


@c.component
def fill(megabytes: int, data: dsl.Output[dsl.Dataset]):
    import pathlib

    with pathlib.Path(data.path).open("wb") as file:
        for _ in range(megabytes):
            file.write(b"x" * 2**20)


@dsl.pipeline(name="filling")
def filling(megabytes: int):
    fill(megabytes=megabytes)


def in_a_small_disk(folder: Path, size: str, script: str) -> "subprocess.CompletedProcess[str]":
    """Runs a shell script in a mount namespace in which `folder` is a file system of that size (tmpfs options)."""
    folder.mkdir()
    mounted = f"mount -t tmpfs -o size={size} tmpfs {folder} && {script}"
    return subprocess.run(
        ["unshare", "--mount", "--map-root-user", "sh", "-c", mounted],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def run_in(home: Path, store: Path, path: Path, megabytes: int) -> str:
    return (
        f"TRIMTAB_HOME={home} {sys.executable} -m pipelines.cli run {path} --store {store} "
        f"-p megabytes={megabytes} --run-id r"
    )


def test_a_disk_that_fills_up_during_a_task_is_said_in_one_line(compiled: Callable[..., Path], tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    said = in_a_small_disk(disk, "8m", run_in(disk / "home", disk / "store", compiled(filling), 50))
    assert said.returncode == 1
    assert f"disk is full (in {disk / 'home'})" in said.stderr
    assert said.stderr.count("\n") == 1


def test_a_store_that_fills_up_loses_the_cache_and_not_the_run(compiled: Callable[..., Path], tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    said = in_a_small_disk(disk, "2m", run_in(tmp_path / "home", disk / "store", compiled(filling), 5))
    assert (said.returncode, said.stderr) == (0, "")
    assert "cannot be kept for a later run" in said.stdout
    assert "no space left" in said.stdout.lower()


@pytest.mark.parametrize("where", ["home", "store"])
def test_a_folder_that_cannot_be_written_is_refused_before_the_start(
    compiled: Callable[..., Path], tmp_path: Path, where: str
) -> None:
    disk = tmp_path / "disk"
    places = {"home": tmp_path / "home", "store": tmp_path / "store", where: disk / where}
    said = in_a_small_disk(disk, "1m,ro", run_in(places["home"], places["store"], compiled(filling), 1))
    assert said.returncode == 2
    assert "Read-only file system" in said.stderr or "cannot be written" in said.stderr
    assert said.stderr.count("\n") == 1
    assert not (tmp_path / "home" / "runs").exists()


def test_a_task_without_memory_fails_with_a_reason_and_its_siblings_go_on(run: Callable[..., Any]) -> None:
    @c.component
    def greedy():
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (2**30, 2**30))
        print("about to ask for much")
        bytearray(8 * 2**30)

    @dsl.pipeline(name="hungry")
    def hungry():
        greedy().set_cpu_request("0.1")
        c.sleep(seconds=0.5).set_cpu_request("0.1")

    ran = run(hungry)
    assert ran.statuses() == {"greedy": "failed", "sleep": "succeeded"}
    assert "MemoryError" in ran.result.error
