"""Many tasks: the work grows with their number, not with its square, and together they fit into the machine."""

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import components_for_tests as c
import pytest
from kfp import dsl

from pipelines.runner import run as run_module
from pipelines.runner.processes.resources import Capacity, Request

ROOT = Path(run_module.__file__).parent
N = 15


def operations(work: Callable[[], Any]) -> int:
    """Bytecode instructions that the runner's own modules execute, on this thread, while it works."""
    count = 0

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal count
        if event == "call":
            if not frame.f_code.co_filename.startswith(str(ROOT)):
                return None
            frame.f_trace_opcodes, frame.f_trace_lines = True, False
        elif event == "opcode":
            count += 1
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return count


def flat(count: int) -> Any:
    @dsl.pipeline(name="flat")
    def pipeline():
        for number in range(count):
            c.add(a=number)

    return pipeline


def looped(count: int) -> Any:
    @dsl.pipeline(name="looped")
    def pipeline():
        with dsl.ParallelFor(list(range(count))) as number:
            c.add(a=number)

    return pipeline


def chained(count: int) -> Any:
    @dsl.pipeline(name="chained")
    def pipeline():
        last = c.add(a=0)
        for _ in range(count - 1):
            last = c.add(a=last.output)

    return pipeline


@pytest.mark.parametrize("shape", [flat, looped, chained])
def test_four_times_the_tasks_are_four_times_the_work(shape: Callable[[int], Any], run: Callable[..., Any]) -> None:
    few, many = shape(N), shape(4 * N)
    run(few), run(many)  # so that the runs that are counted take everything from the cache
    small = operations(lambda: run(few))
    large = operations(lambda: run(many))
    assert large < 4.2 * small


@pytest.mark.parametrize("sizes", [1, 3])
def test_the_work_to_admit_one_task_does_not_grow_with_those_that_wait(sizes: int) -> None:
    def admit_all(count: int) -> None:
        async def hold(capacity: Capacity, request: Request) -> None:
            async with capacity.hold(request):
                await asyncio.sleep(0)

        async def everybody() -> None:
            capacity = Capacity(cpu=2, memory=1e9)
            await asyncio.gather(*(hold(capacity, Request(cpu=0.5 + n % sizes)) for n in range(count)))

        asyncio.run(everybody())

    assert operations(lambda: admit_all(400)) < 4.2 * operations(lambda: admit_all(100))


@c.component
def alone_with_torch(lock: str):
    """As `alone`, with a source that imports torch."""
    import pathlib
    import time

    import torch

    assert torch.get_num_threads() == 1
    pathlib.Path(lock).touch(exist_ok=False)
    time.sleep(0.1)
    pathlib.Path(lock).unlink()


def test_tasks_that_import_torch_share_no_core_however_little_they_request(
    run: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @dsl.pipeline(name="torches")
    def torches(lock: str):
        for _ in range(3):
            alone_with_torch(lock=lock).set_cpu_request("0.3").set_caching_options(False)

    monkeypatch.setattr(run_module, "machine_cores", lambda: 1)
    assert run(torches, lock=str(tmp_path / "lock")).result.status == "succeeded"
