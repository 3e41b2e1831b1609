"""Reuse of results where there is no runner: by the stage, in its own container, started by KFP's launcher.

    @dsl.component(base_image=BASE_IMAGE, target_image=TRAIN_IMAGE)
    @recalled
    def prune(...): ...

On a cluster, the stage computes the key that the local runner would compute, and takes the result of an equal task over
from the store, whoever had it; otherwise it works, and leaves its result there for the next. The local runner, which
has done all this before it starts a task, and a test that calls the function, see the plain function.
"""

import functools
import inspect
import json
import logging
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ParamSpec

from components.core.errors import UserError
from components.core.results import cache
from components.core.results.code import stage_digest
from components.core.results.payload import content_digest, payload_at
from components.core.store import StoreError, store_from_environment
from components.core.store.store import ENVIRONMENT_VARIABLE

THREADS_VARIABLE = "TRIMTAB_THREADS"
"""How many threads a task computes with. The pipeline sets it, since a container cannot see its CPU request."""

RUNNER_VARIABLE = "TRIMTAB_RUN_ID"
"""Set by the local runner in the environment of every task."""

KEEP_VARIABLE = "TRIMTAB_KEEP_RESULT"
"""Set where the record in the store is all that a stage leaves: to leave none is a failure then, and no warning."""

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")

P = ParamSpec("P")

log = logging.getLogger(__name__)


def recalled(function: Callable[P, None]) -> Callable[P, None]:
    """Takes a stage's result from the store if an equal task left it there, and else leaves it there.

    For functions whose outputs are all artifacts. Trouble with the store is a warning: the stage then just works.
    """
    folder = Path(inspect.getfile(function)).parent

    @functools.wraps(function)
    def stage(*args: P.args, **kwargs: P.kwargs) -> None:
        given = _executor_input(sys.argv)
        if given is None or os.environ.get(RUNNER_VARIABLE) or not os.environ.get(ENVIRONMENT_VARIABLE):
            function(*args, **kwargs)
            return
        threads = _use_threads()
        key = _key(function, folder, given, kwargs, threads)
        outputs = given.get("outputs", {}).get("artifacts", {})
        if key and _recall(function.__name__, key, kwargs, outputs):
            return
        began = time.time()
        function(*args, **kwargs)
        if key:
            _keep(function.__name__, key, kwargs, outputs, time.time() - began)
        elif os.environ.get(KEEP_VARIABLE):
            raise UserError("the result cannot be cached: a parameter or a fact of an input is not a number (NaN)")

    # kfp reads the parameters without looking through the wrapper.
    stage.__signature__ = inspect.signature(function)  # type: ignore[attr-defined]
    return stage


def _executor_input(arguments: Sequence[str]) -> Mapping[str, Any] | None:
    """KFP's executor input, if this process was started with one."""
    if "--executor_input" not in arguments[:-1]:
        return None
    found = json.loads(arguments[arguments.index("--executor_input") + 1])
    return found if isinstance(found, dict) else None


def _use_threads() -> int:
    text = os.environ.get(THREADS_VARIABLE, "1")
    if not text.isdigit() or not int(text):
        raise UserError(f"{THREADS_VARIABLE} must be a number of threads, 1 or more; got {text!r}")
    # In time: nothing that computes has been imported yet.
    os.environ.update(dict.fromkeys(_THREAD_VARIABLES, text))
    return int(text)


def _key(
    function: Callable[..., None], folder: Path, given: Mapping[str, Any], passed: Mapping[str, Any], threads: int
) -> str:
    """The key of this task's result; "" if its inputs have none (a NaN)."""
    inputs, outputs = given.get("inputs", {}), given.get("outputs", {})
    artifacts = {
        name: [
            _content(item, artifact) for item, artifact in zip(listed["artifacts"], _listed(passed[name]), strict=True)
        ]
        for name, listed in inputs.get("artifacts", {}).items()
    }
    defaults = {
        name: parameter.default
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.default not in (inspect.Parameter.empty, None) and name not in artifacts
    }
    environment = {THREADS_VARIABLE: str(threads)} if THREADS_VARIABLE in os.environ else {}
    try:
        return cache.key_of(
            function.__name__,
            stage_digest(folder),
            parameters={**defaults, **inputs.get("parameterValues", {})},
            artifacts=artifacts,
            outputs=[*outputs.get("parameters", {}), *outputs.get("artifacts", {})],
            env=environment,
            threads=threads,
        )
    except ValueError:
        return ""


def _listed(artifact: Any) -> list[Any]:
    return artifact if isinstance(artifact, list) else [artifact]


def _content(item: Mapping[str, Any], artifact: Any) -> dict[str, str]:
    """`item` is how the executor input tells of an artifact, `artifact` the object that KFP's executor made of it."""
    facts = {"type": item.get("type", {}), "metadata": artifact.metadata, "uri": artifact.uri}
    return {"content": content_digest(facts, payload_at(Path(artifact.path)))}


def _recall(name: str, key: str, passed: Mapping[str, Any], outputs: Mapping[str, Any]) -> bool:
    """Brings an equal task's outputs to where this one's belong; False if there are none to use."""
    places = {output: Path(passed[output].path) for output in outputs}
    found = cache.load(store_from_environment(), name, key, places)
    if found is None or isinstance(found, str):
        if found:
            log.warning("%s", found)
        return False
    _, artifacts, seconds = found
    for output, items in artifacts.items():
        passed[output].metadata.update(items[0]["metadata"])
    log.info("taken over from an equal task, which took %.1f s: result %s", seconds, key)
    return True


def _keep(name: str, key: str, passed: Mapping[str, Any], outputs: Mapping[str, Any], seconds: float) -> None:
    artifacts = {}
    for output, listed in outputs.items():
        artifact: dict[str, Any] = {
            "name": output,
            "type": dict(listed["artifacts"][0]["type"]),
            # Where it is in this container: the record holds its bytes, and no place.
            "uri": passed[output].path,
            "metadata": dict(passed[output].metadata),
        }
        artifact["content"] = content_digest(artifact, payload_at(Path(artifact["uri"])))
        artifacts[output] = [artifact]
    try:
        cache.save(store_from_environment(), name, key, parameters={}, artifacts=artifacts, seconds=seconds)
    except (StoreError, OSError, ValueError, TypeError) as error:
        if os.environ.get(KEEP_VARIABLE):
            raise
        log.warning("the result cannot be kept for a later run: %s", error)
    else:
        log.info("kept for an equal task: result %s", key)
