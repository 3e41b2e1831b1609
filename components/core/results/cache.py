"""Results found again: key = code, parameters, thread count and the *content* of the inputs; never where they lie.

The record is the one that a stage on a cluster writes too (`Store.results`), so that either finds the other's work.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from components.core.results.payload import always, restore_payload, save_payload
from components.core.store import Store, StoreError, cache_key

FORMAT = 1


def key_of(
    component: str,
    code: str,
    *,
    parameters: Mapping[str, Any],
    artifacts: Mapping[str, Sequence[Mapping[str, Any]]],
    outputs: Sequence[str],
    env: Mapping[str, str],
    threads: int,
    named: str = "",
) -> str:
    """The key of a task's result.

    Args:
        component: the component's name.
        code: digest of its code and of the libraries that it computes with.
        parameters: the resolved inputs, defaults filled in.
        artifacts: the input artifacts, each with its `content` digest.
        outputs: names of all outputs: a component whose interface grew has not produced the new one.
        env: environment variables that the pipeline sets.
        threads: CPU threads; a float sum depends on their number.
        named: a key that the pipeline's author set in place of parameters and inputs (`set_caching_options`).
    """
    content = {name: [item["content"] for item in items] for name, items in artifacts.items()}
    return cache_key(
        component=component,
        code=code,
        parameters={
            "parameters": named or dict(parameters), "outputs": sorted(outputs), "env": dict(env), "threads": threads,
        },
        inputs={} if named else content,
    )  # fmt: skip


def save(
    store: Store,
    component: str,
    key: str,
    *,
    parameters: Mapping[str, Any],
    artifacts: Mapping[str, Sequence[Mapping[str, Any]]],
    seconds: float,
    is_wanted: Callable[[], bool] = always,
) -> None:
    """Records what a task produced: blobs first, the record last, so that a record never points at nothing.

    Raises:
        Abandoned: `is_wanted`, asked between files, says that it is not wanted any longer.
    """
    record = {
        "format": FORMAT,
        "output_parameters": dict(parameters),
        "output_artifacts": {
            name: [save_payload(item, store, is_wanted) for item in items] for name, items in artifacts.items()
        },
        "seconds": round(seconds, 3),
        "saved": round(time.time(), 3),
    }
    store.results.save(component, key, record)


def load(
    store: Store, component: str, key: str, places: Mapping[str, Path]
) -> tuple[dict[str, Any], dict[str, list[dict[str, Any]]], float] | str | None:
    """The outputs of an equal, earlier task: parameters, artifacts (brought to their places) and its seconds then.

    None if there is nothing. A text, the reason, if there is a record that cannot be used: that is a miss as well, and
    worth a warning.
    """
    try:
        record = store.results.load(component, key)
        if record is None:
            return None
        if record.get("format") != FORMAT:
            return f"the cached result of {component} has the unknown format {record.get('format')!r}"
        artifacts = {
            name: [
                restore_payload(item, _place(places[name], index, len(items)), store)
                for index, item in enumerate(items)
            ]
            for name, items in record["output_artifacts"].items()
        }
        store.results.renew(component, key, record)
        seconds = float(record.get("seconds", math.nan))
        return dict(record["output_parameters"]), artifacts, seconds
    except (StoreError, OSError) as error:
        return f"the cached result of {component} cannot be used, so it runs again: {error}"
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        return f"the cached result of {component} cannot be read, so it runs again: {type(error).__name__}: {error}"


def _place(path: Path, index: int, count: int) -> Path:
    return path if count == 1 else path.with_name(f"{path.name}-{index}")
