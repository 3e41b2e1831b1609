"""Inside the forked child: one task, run by kfp's own executor, as it would be in a container.

Guarantees: everything that the task prints, from Python or C, goes to its log file; a failure leaves `failure.json`
beside the task's executor output; a user's mistake (`UserError`) is one line, anything else a traceback in the log.
Anything else that a stage of trimtab raises is a defect of trimtab, unless the machine or the store is to blame.
"""

import atexit
import importlib
import json
import logging
import os
import random
import sys
import threading
import traceback
from pathlib import Path
from typing import Any

from components.core.errors import UserError

THREAD_VARIABLES = (
    "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS", "VECLIB_MAXIMUM_THREADS",
    "BLIS_NUM_THREADS", "RAYON_NUM_THREADS",
)  # fmt: skip

FAILED, MISTAKEN = 1, 2

_OWN = "components."


def run(spec: dict[str, Any]) -> int:
    """Runs the task and returns the exit code: 0, 1 (failed) or 2 (a user's mistake).

    Args:
        spec: `log`, `folder` (for failure.json and temporary files), `env`, `threads`, `mounts` (see
            `mounts.enter`), `executor_input`, and either `argv`, a command line, or `function` with `module`, `file`
            or `source`.
    """
    folder = Path(spec["folder"])
    _redirect(spec["log"])
    _set_environment(spec, folder)
    try:
        if spec.get("mounts"):
            _mount(spec["mounts"], folder)
        if spec.get("argv"):
            os.execvp(spec["argv"][0], spec["argv"])  # does not return
        _run_function(spec, folder)
        _finish()
        return 0
    except UserError as error:
        message = " ".join(str(error).split())
        print(f"error: {message}", file=sys.stderr)
        return _fail(folder, "user", message, MISTAKEN)
    except SystemExit as leaving:
        if leaving.code in (None, 0):
            return 0
        if not isinstance(leaving.code, int):
            print(leaving.code, file=sys.stderr)
        return _fail(folder, "error", f"it left with exit code {leaving.code}", FAILED)
    except BaseException as error:  # noqa: BLE001  (whatever a component raises becomes the task's failure)
        _print_traceback(error)
        return _fail(folder, _kind_of(error, spec), one_line(error), FAILED)
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()


def _kind_of(error: BaseException, spec: dict[str, Any]) -> str:
    # Loaded before a task starts, it would not be seen among what the task imports.
    from components.core.store import StoreError

    is_ours = str(spec.get("module") or "").startswith(_OWN)
    # Of the machine or the store: not what a defect looks like.
    outage = isinstance(error, StoreError | OSError | MemoryError)
    return "defect" if is_ours and isinstance(error, Exception) and not outage else "error"


def one_line(error: BaseException) -> str:
    """`ValueError: what it says`, on one line; of a notebook what its cell raised."""
    name, said = type(error).__name__, str(error)
    cause: Any = error.__cause__
    if hasattr(cause, "ename") and hasattr(cause, "evalue"):  # nbclient's, whose own text is the whole cell
        name, said = f"a cell of the notebook failed: {cause.ename}", str(cause.evalue)
    text = " ".join(said.split())
    return f"{name}: {text}"[:500] if text else name


def _redirect(log: str) -> None:
    # On the level of file descriptors: C libraries and subprocesses print there as well.
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.close(file)
    os.close(null)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]


def _set_environment(spec: dict[str, Any], folder: Path) -> None:
    threads = int(spec["threads"])
    temporary = folder / "tmp"
    temporary.mkdir(parents=True, exist_ok=True)
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(threads)))
    os.environ["TMPDIR"] = str(temporary)
    os.environ.update(spec["env"])
    if "tempfile" in sys.modules:
        sys.modules["tempfile"].tempdir = None  # type: ignore[attr-defined]  # look at TMPDIR again
    # Every child inherits the same generator; on a cluster each process has its own.
    random.seed()
    if "torch" in sys.modules:
        # The variables above were read when the zygote imported torch.
        sys.modules["torch"].set_num_threads(threads)


def _mount(wanted: list[dict[str, Any]], folder: Path) -> None:
    from pipelines.runner.kubernetes_objects.mounts import enter

    try:
        enter(wanted, folder)
    except OSError as error:
        paths = ", ".join(mount["path"] for mount in wanted)
        raise UserError(f"nothing can be mounted at {paths}: {error.strerror} ({error.filename})") from None


def _run_function(spec: dict[str, Any], folder: Path) -> None:
    logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    from kfp.dsl import utils
    from kfp.dsl.executor import Executor

    if spec.get("module"):
        module = importlib.import_module(spec["module"])
    else:
        path = Path(spec["file"]) if spec.get("file") else folder / "ephemeral_component.py"
        if spec.get("source"):
            path.write_text(spec["source"], encoding="utf-8")
        writes, sys.dont_write_bytecode = sys.dont_write_bytecode, bool(spec.get("source"))  # it is imported once
        module = utils.load_module(module_name=path.stem, module_directory=str(path.parent))
        sys.dont_write_bytecode = writes
    function = getattr(module, spec["function"], None)
    if function is None:
        raise UserError(f"there is no function {spec['function']!r} in {module.__name__}")
    Executor(executor_input=spec["executor_input"], function_to_execute=function).execute()


def _finish() -> None:
    """Joins threads and runs exit functions, as the interpreter does at its end and `os._exit` does not."""
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join()
    atexit._run_exitfuncs()


def _print_traceback(error: BaseException) -> None:
    """Without the frames of the runner and of kfp's executor above the component's."""
    frames = error.__traceback__
    while frames is not None and frames.tb_next is not None:
        file = frames.tb_frame.f_code.co_filename
        if not file.endswith(("pipelines/runner/processes/child.py", "kfp/dsl/executor.py")):
            break
        frames = frames.tb_next
    traceback.print_exception(type(error), error, frames)


def _fail(folder: Path, kind: str, message: str, code: int) -> int:
    text = json.dumps({"kind": kind, "message": message})
    (folder / "failure.json").write_text(text, encoding="utf-8")
    return code
