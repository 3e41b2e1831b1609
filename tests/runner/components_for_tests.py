"""Lightweight components that the runner's tests build pipelines from."""

import functools
from typing import NamedTuple, Optional

from kfp import dsl
from kfp.dsl import Artifact, Dataset, Input, Output

component = functools.partial(dsl.component, base_image="python:3.11")


@component
def add(a: int, b: int = 2) -> int:
    assert type(a) is int
    assert type(b) is int
    return a + b


@component
def text(value: str = "nothing") -> str:
    return value


@component
def fail(message: str = "no luck", user: bool = False) -> str:
    print("before the failure")
    if user:
        from components.core.errors import UserError

        raise UserError(message)
    raise ValueError(message)


@component
def fail_after(file: str):
    """Fails as soon as another task has written the file."""
    import pathlib
    import time

    while not pathlib.Path(file).exists():
        time.sleep(0.01)
    raise ValueError("no luck")


@component
def total(values: list[int]) -> int:
    return sum(values)


@component
def flatten(values: list[list[int]]) -> str:
    return str(values)


@component
def items(count: int) -> list[dict]:
    return [{"n": i, "word": f"item {i}"} for i in range(count)]


@component
def write(content: str, data: Output[Dataset]):
    import pathlib

    folder = pathlib.Path(data.path)
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "content.txt").write_text(content)
    data.metadata["length"] = len(content)


@component
def read(data: Input[Dataset]) -> str:
    import pathlib

    return f"{(pathlib.Path(data.path) / 'deep' / 'content.txt').read_text()}/{data.metadata['length']}"


@component
def join(all_data: Input[list[Dataset]]) -> str:
    import pathlib

    return "+".join((pathlib.Path(item.path) / "deep" / "content.txt").read_text() for item in all_data)


@component
def optional(given: Optional[float] = None, data: Optional[Input[Dataset]] = None, word: str = "default") -> str:  # noqa: UP045
    return f"{given} {data is None} {word}"


@component
def several(flag: bool, ratio: float, names: list[str], table: dict[str, int], file: dsl.OutputPath(str)) -> NamedTuple(
    "Several", [("number", int), ("struct", dict[str, int]), ("yes", bool)]
):  # type: ignore[valid-type]
    import pathlib

    pathlib.Path(file).write_text(f"{flag} {type(ratio).__name__} {names} {table}")
    return (len(names), table, not flag)


@component
def final(status: dsl.PipelineTaskFinalStatus, run_id: str) -> dict:
    return {
        "title": run_id,
        "columns": ["state"],
        "rows": [[status.state]],
        "files": {"report": "/somewhere"},
        "outputs": {"state": status.state, "task": status.pipeline_task_name, "said": status.error_message or ""},
    }


@component
def meet(folder: str, name: str, other: str):
    """Writes its name, and waits until the other has written its own: ends only if both run at once."""
    import pathlib
    import time

    (pathlib.Path(folder) / name).touch()
    until = time.monotonic() + 30
    while not (pathlib.Path(folder) / other).exists():
        assert time.monotonic() < until, f"{other} never came"
        time.sleep(0.01)


@component
def gather(folder: str, count: int) -> int:
    """Waits until so many have come, so the first of them end only if they run at once. Returns how many it met."""
    import pathlib
    import time
    import uuid

    here, seen, name = pathlib.Path(folder, "here"), pathlib.Path(folder, "seen"), uuid.uuid4().hex
    (here / name).touch()
    met = len(list(here.iterdir()))
    (seen / name).touch()
    until = time.monotonic() + 30
    while len(list(seen.iterdir())) < count:
        assert time.monotonic() < until, "the others never came"
        time.sleep(0.01)
    (here / name).unlink()
    return met


@component
def alone(lock: str):
    """Fails if another one runs at the same time."""
    import pathlib
    import time

    pathlib.Path(lock).touch(exist_ok=False)
    time.sleep(0.1)
    pathlib.Path(lock).unlink()


@component
def environment() -> str:
    import os

    return " ".join(os.environ[name] for name in ("OMP_NUM_THREADS", "TRIMTAB_RUN_ID", "TRIMTAB_TASK", "COLOUR"))


@component
def fails_until(folder: str, attempts: int) -> int:
    """Fails until it was called so often."""
    import pathlib

    count = len(list(pathlib.Path(folder).iterdir())) + 1
    (pathlib.Path(folder) / str(count)).touch()
    if count < attempts:
        raise RuntimeError(f"attempt {count}")
    return count


@component
def die(signal_name: str):
    import os
    import signal

    print("famous last words", flush=True)
    os.kill(os.getpid(), getattr(signal, signal_name))


@component
def sleep(seconds: float) -> float:
    import time

    time.sleep(seconds)
    return seconds


@component
def touch_and_sleep(file: str, seconds: float):
    import pathlib
    import time

    pathlib.Path(file).touch()
    time.sleep(seconds)


@component
def shout(data: Output[Artifact]) -> str:
    import os
    import sys

    print("from python")
    print("to stderr", file=sys.stderr)
    os.write(1, b"from a file descriptor\n")
    os.system("echo from a subprocess")
    return "said"
