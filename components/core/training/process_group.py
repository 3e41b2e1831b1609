"""Processes that a launcher has started, on whatever nodes: the first runs the stage, the others train when it does.

Nothing passes between nodes but messages: each process has the input artifacts on its own disk, and only the first
writes to the store.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from torch import nn

from components.core.errors import UserError
from components.core.training import rank_entry
from components.core.training.device import use_available_threads
from components.core.training.history import History
from components.core.training.ranks import Ranks

_current: ContextVar["ProcessGroup | None"] = ContextVar("_current", default=None)


def process_group() -> "ProcessGroup | None":
    """The processes to train with, where a launcher has started them; None where a stage starts its own."""
    return _current.get()


@dataclass(frozen=True, kw_only=True)
class ProcessGroup:
    """`ranks`: this process among them. `artifacts`: input name → its path on this machine."""

    ranks: Ranks
    artifacts: Mapping[str, str]

    @contextmanager
    def led(self) -> Iterator[None]:
        """In the first process: a stage that runs inside of it trains with all; afterwards the others leave."""
        token = _current.set(self)
        try:
            yield
        except UserError as error:
            # One that they have met while they trained, they have met all, and left.
            with suppress(RuntimeError):
                self.ranks.announced({"mistake": str(error)})
            raise
        finally:
            _current.reset(token)
        self.ranks.announced({})

    def follow(self) -> None:
        """In the others: trains whenever the first does, until it has done its work.

        Raises:
            UserError: as in the first process.
        """
        while told := self.ranks.announced({}):
            if "mistake" in told:
                raise UserError(told["mistake"])
            self._train(told)

    def train(self, spec: Mapping[str, Any], module: nn.Module) -> History:
        """Trains in each process as `rank_entry.spec_of` says, and loads the trained weights into `module`."""
        # The threads of a stage are shared among all of its processes, wherever they are: their number is part of what
        # the result is found by.
        threads = max(use_available_threads() // self.ranks.share.size, 1)
        trained, history = self._train(self.ranks.announced({"spec": spec, "threads": threads}))
        module.load_state_dict(trained.state_dict())
        return history

    def _train(self, told: Mapping[str, Any]) -> tuple[nn.Module, History]:
        before = os.environ.get("OMP_NUM_THREADS")
        os.environ["OMP_NUM_THREADS"] = str(told["threads"])
        try:
            return rank_entry.train({**told["spec"], **self.artifacts}, self.ranks)
        finally:
            if before is None:
                del os.environ["OMP_NUM_THREADS"]
            else:
                os.environ["OMP_NUM_THREADS"] = before
