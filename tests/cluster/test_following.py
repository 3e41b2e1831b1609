"""Waiting through failures that are over before they are too many."""

from types import SimpleNamespace
from typing import Any

import pytest

from pipelines.cluster import following
from pipelines.cluster.errors import ClusterError


class Flaky:
    """A client whose API is away for `away` looks out of each `away + 1`, and whose run ends after `rounds` answers."""

    def __init__(self, *, away: int, rounds: int) -> None:
        self.away, self.rounds, self.looks = away, rounds, 0

    def get_run(self, run_id: str) -> Any:
        self.looks += 1
        if self.looks % (self.away + 1):
            raise ClusterError("away", transient=True)
        over = self.looks // (self.away + 1) == self.rounds
        return SimpleNamespace(state="SUCCEEDED" if over else "RUNNING", run_details=None, error=None)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "POLL_SECONDS", 0.001)


def test_only_failures_in_a_row_end_the_waiting() -> None:
    said: list[str] = []
    client: Any = Flaky(away=11, rounds=3)
    assert following.follow(client, "r", say=said.append) == ("SUCCEEDED", "")
    assert len(said) == 3
    client = Flaky(away=12, rounds=3)
    with pytest.raises(ClusterError):
        following.follow(client, "r", say=said.append)
    assert client.looks == 12
