"""What the whole suite shares lives in modules of its own: an S3 server, a KFP API, a run of the demo, an image."""

from functools import cache
from pathlib import Path

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

pytest_plugins = [
    "object_store_server",
    "finished_run",
    "container_image",
    "unprivileged_user",
    "kfp_server",
    "own_checkpoint",
]

_MADE_ONCE = ("reduced_run", "retrained_run", "compressed_run")
"""Fixtures that take minutes: with `-n 2`, one process gets all modules that use one of them."""


class _ByModule(LoadScopeScheduling):
    """A process takes a module at a time, for the sake of its fixtures."""

    def _split_scope(self, nodeid: str) -> str:
        module = nodeid.partition("::")[0]
        return "finished runs" if _uses_a_run(self.config.rootpath / module) else module


@cache
def _uses_a_run(module: Path) -> bool:
    text = module.read_text()
    return any(name in text for name in _MADE_ONCE)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling:
    return _ByModule(config, log)
