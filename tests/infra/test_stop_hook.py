"""A pod is stopped: the hook of the workflow defaults asks the stage alone, and waits for it."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from manifests.objects import INFRA

# KFP's launcher: runs the task's command as a child, and has no handler, so that SIGTERM ends it.
LAUNCHER = "import subprocess, sys; sys.exit(subprocess.run(sys.argv[1:]).returncode)"
# A stage that takes a moment for its checkpoint when it is asked to stop.
STAGE = """
import signal, sys, time
from pathlib import Path

def stop(*_):
    time.sleep(0.5)
    Path(sys.argv[1]).write_text("checkpoint")
    sys.exit(3)

signal.signal(signal.SIGTERM, stop)
Path(sys.argv[2]).touch()
time.sleep(60)
"""


EVERYBODY = 'os.listdir("/proc")'


def hook(processes: list[int]) -> list[str]:
    """The hook's command, with this Python. In a pod it sees the pod's processes; here it must see these alone."""
    defaults = yaml.safe_load((INFRA / "kfp" / "workflow-controller.yaml").read_text())["data"]["workflowDefaults"]
    patch = yaml.safe_load(yaml.safe_load(defaults)["spec"]["podSpecPatch"])
    program, flag, script = patch["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]
    assert (program, flag, script.count(EVERYBODY)) == ("python3", "-c", 1)
    assert patch["terminationGracePeriodSeconds"] > 100, "the hook's time is part of the grace period"
    return [sys.executable, "-c", script.replace(EVERYBODY, repr([str(pid) for pid in processes]))]


def group_of(launcher: subprocess.Popen[bytes]) -> list[int]:
    """The processes of a task: Argo starts each in a group of its own."""
    found = []
    for pid in (int(folder.name) for folder in Path("/proc").glob("[0-9]*")):
        with contextlib.suppress(ProcessLookupError):  # gone since
            if os.getpgid(pid) == launcher.pid:
                found.append(pid)
    return found


@pytest.fixture
def launcher(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A task as it is in its pod: the launcher, and below it a stage by KFP's name, in a process group of their own."""
    package = tmp_path / "kfp" / "dsl"
    package.mkdir(parents=True)
    (tmp_path / "kfp" / "__init__.py").touch()
    (package / "__init__.py").touch()
    (package / "executor_main.py").write_text(STAGE)
    stage = [sys.executable, "-m", "kfp.dsl.executor_main", str(tmp_path / "saved"), str(tmp_path / "started")]
    # Another program's command line that only mentions the stage must be left alone: the launcher's has it too.
    process = subprocess.Popen(
        [sys.executable, "-c", LAUNCHER, *stage],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path)},
        start_new_session=True,
    )
    deadline = time.monotonic() + 60
    while not (tmp_path / "started").exists():
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.05)
    yield process
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def test_the_stage_saves_its_progress_before_the_container_ends(launcher: subprocess.Popen[bytes], tmp_path: Path):
    processes = group_of(launcher)
    assert len(processes) == 2

    subprocess.run(hook(processes), check=True, timeout=60)

    # The hook is over only when the stage is: what follows is Kubernetes' SIGTERM.
    assert (tmp_path / "saved").read_text() == "checkpoint"
    assert launcher.wait(timeout=60) == 3, "the launcher saw the stage end, and says so"


def test_without_the_hook_the_launcher_ends_before_the_stage_has_saved(
    launcher: subprocess.Popen[bytes], tmp_path: Path
):
    os.killpg(launcher.pid, signal.SIGTERM)

    # In a pod this is the end of every process.
    assert launcher.wait(timeout=60) == -signal.SIGTERM
    assert not (tmp_path / "saved").exists()


def test_a_pod_without_a_stage_is_not_held_up():
    assert subprocess.run(hook([os.getpid()]), check=False, timeout=60).returncode == 0


def test_the_hook_knows_a_stage_by_the_command_that_the_pipelines_have():
    for path in (INFRA.parent / "pipelines" / "compiled").glob("*.yaml"):
        executors = next(yaml.safe_load_all(path.read_text()))["deploymentSpec"]["executors"]
        for executor in executors.values():
            assert executor["container"]["command"] == ["python3", "-m", "kfp.dsl.executor_main"]
