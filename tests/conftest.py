"""Fixtures of the whole suite, each in a module of its own: an S3 server, a KFP API, a run of the demo, an image."""

import os
from functools import cache
from pathlib import Path

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

import pipelines.quick_stack  # noqa: F401  (also for the small pipelines of the tests)

_WORKERS = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))

if _WORKERS > 1 and hasattr(os, "sched_setaffinity"):
    # Each process and all that it starts have CPUs of their own. The threads of two that share them wait for one
    # another by spinning: two trainings at once on two CPUs then took nine times as long.
    _ALLOWED = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, _ALLOWED[int(os.environ["PYTEST_XDIST_WORKER"][2:]) :: _WORKERS] or _ALLOWED)

pytest_plugins = [
    "object_store_server",
    "finished_run",
    "container_image",
    "unprivileged_user",
    "kfp_server",
    "own_checkpoint",
]

_MADE_ONCE = {
    "finished runs": ("reduced_run", "retrained_run", "compressed_run"),
    "images": ("images: dict[str, str]",),
}
"""Fixtures that take minutes: with `-n 2`, one process gets all modules that name one of a group."""


_SLOW = ("tests/e2e/", "tests/trainjob/", "tests/contract/", "tests/fine_tune/", "tests/runner/test_kills.py")
"""Begun first, so that no process works at them alone at the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: not item.nodeid.startswith(_SLOW))


class _ByModule(LoadScopeScheduling):
    """A process takes a module at a time, for the sake of its fixtures."""

    def _split_scope(self, nodeid: str) -> str:
        module = nodeid.partition("::")[0]
        return _group(self.config.rootpath / module) or module


@cache
def _group(module: Path) -> str | None:
    text = module.read_text()
    return next((group for group, names in _MADE_ONCE.items() if any(name in text for name in names)), None)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling:
    config.option.loadscopereorder = False  # it would begin with the modules of many small tests
    return _ByModule(config, log)
