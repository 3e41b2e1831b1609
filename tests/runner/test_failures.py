"""How things go wrong, and what is said then."""

import os
import signal
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path

import components_for_tests as c
import pytest
from kfp import dsl, kubernetes

from components.core.errors import UserError
from pipelines.runner.events import TaskRetried, TaskStarted
from pipelines.runner.records.logs import tail
from pipelines.runner.records.state import RunState
from pipelines.runner.run import run_pipeline

Run = Callable[..., "object"]


def test_an_exception_fails_the_task_with_one_line_and_a_traceback_in_the_log(run: Run) -> None:
    @dsl.pipeline(name="broken")
    def broken():
        c.text(value=c.fail(message="two\nlines").output)

    ran = run(broken)
    assert ran.result.status == "failed"
    assert ran.result.failure == "error"
    assert ran.result.error == "fail: ValueError: two lines"
    assert ran.statuses() == {"fail": "failed", "text": "skipped"}
    log = Path(ran.ended("fail").log).read_text()
    assert "before the failure" in log
    assert "Traceback" in log
    assert "executor.py" not in log


def test_a_users_mistake_is_one_line_without_traceback_and_is_not_retried(run: Run) -> None:
    @dsl.pipeline(name="mistaken")
    def mistaken():
        c.fail(message="give a larger budget", user=True).set_retry(3)

    ran = run(mistaken)
    assert (ran.result.failure, ran.ended("fail").error) == ("user", "give a larger budget")
    assert "Traceback" not in Path(ran.ended("fail").log).read_text()
    assert not [event for event in ran.events if isinstance(event, TaskRetried)]


@pytest.mark.parametrize("name", ["SIGKILL", "SIGSEGV"])
def test_a_task_killed_by_a_signal_fails_with_its_name_and_last_words(run: Run, name: str) -> None:
    @dsl.pipeline(name="killed")
    def killed():
        c.die(signal_name=name)

    ran = run(killed)
    assert name in ran.result.error
    assert "famous last words" in ran.result.error


def test_after_a_failure_nothing_new_starts_but_what_runs_goes_on(run: Run, tmp_path: Path) -> None:
    @dsl.pipeline(name="siblings")
    def siblings(begun: str):
        slow = c.touch_and_sleep(file=begun, seconds=0.5).set_cpu_request("0.1")
        c.fail_after(file=begun).set_cpu_request("0.1")
        c.text().after(slow)

    ran = run(siblings, begun=str(tmp_path / "begun"))
    assert ran.statuses() == {"touch-and-sleep": "succeeded", "fail-after": "failed", "text": "skipped"}
    assert ran.result.status == "failed"


def test_a_task_that_waits_for_the_cpu_of_a_task_that_fails_does_not_start(run: Run) -> None:
    @dsl.pipeline(name="greedy")
    def greedy():
        c.fail(message="one").set_cpu_request("1000")
        c.fail(message="the other").set_cpu_request("1000")

    # Which of them comes first is nobody's promise: both look into the cache, in threads.
    ran = run(greedy)
    assert sorted(ran.statuses().values()) == ["failed", "skipped"]
    assert len([event for event in ran.events if isinstance(event, TaskStarted)]) == 1


def test_a_task_between_two_attempts_goes_on_although_another_one_failed(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "attempts"
    folder.mkdir()

    @dsl.pipeline(name="stubborn")
    def stubborn(folder: str):
        task = c.fails_until(folder=folder, attempts=2).set_cpu_request("0.1")
        task.set_retry(num_retries=1, backoff_duration="2s")
        c.fail_after(file=f"{folder}/1").set_cpu_request("0.1")

    statuses = run(stubborn, folder=str(folder)).statuses()
    assert statuses == {"fails-until": "succeeded", "fail-after": "failed"}


def test_an_exit_task_hears_of_the_failure_that_kept_its_tasks_from_starting(run: Run) -> None:
    @dsl.pipeline(name="unentered")
    def unentered():
        broken = c.fail(message="before it")
        with dsl.ExitHandler(c.final(run_id="x")):
            c.text(value=broken.output)

    ran = run(unentered)
    assert ran.statuses() == {"fail": "failed", "exit-handler-1": "skipped", "final": "succeeded"}
    told = ran.outputs("final")["Output"]["outputs"]
    assert told == {"state": "FAILED", "task": "exit-handler-1", "said": "fail: ValueError: before it"}


def test_other_iterations_of_a_loop_finish_when_one_fails(run: Run) -> None:
    @c.component
    def only_even(n: int) -> int:
        if n % 2:
            raise ValueError("odd")
        return n

    @dsl.pipeline(name="uneven")
    def uneven():
        with dsl.ParallelFor([0, 1, 2]) as n:
            first = c.add(a=n, b=0).set_cpu_request("0.1")
            only_even(n=first.output).set_cpu_request("0.1")

    statuses = run(uneven).statuses()
    assert [statuses[f"for-loop-2/[{i}]/only-even"] for i in range(3)] == ["succeeded", "failed", "succeeded"]


def test_a_failing_task_is_tried_again_with_growing_waits(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "attempts"
    folder.mkdir()

    @dsl.pipeline(name="stubborn")
    def stubborn(folder: str) -> int:
        task = c.fails_until(folder=folder, attempts=3)
        return task.set_retry(num_retries=2, backoff_duration="0s", backoff_factor=2.0).output

    ran = run(stubborn, folder=str(folder))
    assert ran.result.outputs == {"Output": 3}
    assert [event.attempt for event in ran.events if isinstance(event, TaskStarted)] == [1, 2, 3]
    assert "attempt 2" in Path(ran.ended("fails-until").log).read_text()


def test_retries_run_out(run: Run, tmp_path: Path) -> None:
    @dsl.pipeline(name="hopeless")
    def hopeless(folder: str):
        c.fails_until(folder=folder, attempts=9).set_retry(num_retries=1, backoff_duration="0s")

    folder = tmp_path / "attempts"
    folder.mkdir()
    assert "attempt 2" in run(hopeless, folder=str(folder)).result.error


def test_a_task_that_outlives_its_timeout_is_ended(run: Run) -> None:
    @dsl.pipeline(name="late")
    def late():
        kubernetes.set_timeout(c.sleep(seconds=60.0), seconds=1)

    assert "timeout of 1 s" in run(late).result.error


@dsl.container_component
def liar(number: dsl.OutputPath(int)):
    return dsl.ContainerSpec(
        image="i", command=["sh", "-c", 'mkdir -p "$(dirname "$0")" && echo many > "$0"'], args=[number]
    )


def test_an_output_of_the_wrong_type_is_named(run: Run) -> None:
    @dsl.pipeline(name="lying")
    def lying():
        liar()

    assert run(lying).result.error == "liar: output 'number' must be an integer, got \"many\""


def test_a_loop_item_without_the_part_that_is_asked_for_is_named(run: Run) -> None:
    @dsl.pipeline(name="partless")
    def partless():
        with dsl.ParallelFor(c.items(count=1).output) as item:
            c.add(a=item.nothing)

    assert "'nothing'" in run(partless).result.error


def test_ctrl_c_stops_the_tasks_and_cancels_the_rest(run: Run, tmp_path: Path) -> None:
    @dsl.pipeline(name="stopped")
    def stopped():
        with dsl.ExitHandler(c.final(run_id="x")):
            c.text(value="later").after(c.sleep(seconds=60.0))

    def interrupt() -> None:
        until = time.monotonic() + 60
        while time.monotonic() < until:
            if list((tmp_path / "home").glob("runs/*/work/exit-handler-1/sleep/tmp")):
                os.kill(os.getpid(), signal.SIGINT)  # the runner hears it; before or after its run it would end pytest
                return
            time.sleep(0.02)

    thread = threading.Thread(target=interrupt)
    thread.start()
    ran = run(stopped)
    thread.join()
    assert ran.result.status == "cancelled"
    assert set(ran.statuses().values()) == {"cancelled"}
    assert "stopping" in ran.warnings()[0]


def test_nothing_is_left_behind_by_a_task(run: Run, tmp_path: Path) -> None:
    @c.component
    def litter(folder: str):
        import pathlib
        import subprocess
        import tempfile

        process = subprocess.Popen(["sleep", "600"])
        pathlib.Path(folder, "pid").write_text(str(process.pid))
        pathlib.Path(folder, "tmp").write_text(tempfile.mkdtemp())

    @dsl.pipeline(name="littering")
    def littering(folder: str):
        litter(folder=folder)

    assert run(littering, folder=str(tmp_path)).result.status == "succeeded"
    pid = int((tmp_path / "pid").read_text())
    until = time.monotonic() + 10
    while time.monotonic() < until and is_running(pid):
        time.sleep(0.02)
    assert not is_running(pid)
    assert not Path((tmp_path / "tmp").read_text()).exists()


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


@dsl.pipeline(name="plain")
def plain(n: int):
    c.add(a=n)


def start(path: Path, tmp_path: Path, **options: object) -> None:
    parameters = options.pop("parameters", {"n": 1})
    run_pipeline(path, parameters, listener=lambda _: None, home=tmp_path / "home", **options)  # type: ignore[arg-type]


def test_mistakes_before_the_start_leave_nothing_behind(compiled: Callable[..., Path], tmp_path: Path) -> None:
    path = compiled(plain)
    for options, said in (
        ({"parameters": {}}, "missing parameter"),
        ({"parameters": {"m": 1}}, "unknown parameter 'm'"),
        ({"parameters": {"n": "x"}}, "an integer"),
        ({"run_id": "../x"}, "run id"),
        ({"store_uri": "ftp://x"}, "store"),
        ({"store_uri": "/proc/no"}, "store"),
    ):
        with pytest.raises(UserError, match=said):
            start(path, tmp_path, **options)
    assert not (tmp_path / "home" / "runs").exists()


def test_a_run_id_is_used_once(compiled: Callable[..., Path], tmp_path: Path) -> None:
    path = compiled(plain)
    start(path, tmp_path, run_id="mine")
    with pytest.raises(UserError, match="'mine' already"):
        start(path, tmp_path, run_id="mine")


def test_trouble_of_the_runner_itself_ends_the_run_and_its_workers(
    run: Run, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A full disk, say: the tasks that run are ended, and the one error comes out, without further noise."""

    @dsl.pipeline(name="troubled")
    def troubled():
        with dsl.ParallelFor([1, 2, 3]) as n:
            c.add(a=n).after(c.sleep(seconds=60.0))
        c.text(value="x")

    def full(self: object, task: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(RunState, "save_task", full)
    before = children()
    with pytest.raises(sqlite3.OperationalError, match="full"):
        run(troubled)
    assert children() == before
    assert not caplog.records


def children() -> set[str]:
    return set(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())


def test_terminal_escapes_of_a_task_reach_no_message(run: Run) -> None:
    @dsl.pipeline(name="escaping")
    def escaping():
        task = c.fail(message="\x1b]0;title\x07\x1b[2K\rall is well")
        task.set_display_name("\x1b[31mfail\ntrimtab: succeeded")

    ran = run(escaping)
    shown = (
        f"{ran.result.error}{ran.ended('fail').label}{ran.ended('fail').error}{tail(Path(ran.ended('fail').log), 5)}"
    )
    assert shown.isprintable()
    assert "all is well" in shown
