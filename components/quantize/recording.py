"""How close int8 graphs stay to the float ones where a model is several graphs that call for each other's outputs.

Random inputs say little of such a graph: what it is given comes out of another one. So the float model works through
real rows, and what each graph was given is kept; then both versions of each graph are run on that.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from components.core.data.batch import Batch
from components.core.runtime.finite import refuse_no_numbers
from components.core.runtime.sessions import open_session
from components.core.tasks import Task
from components.quantize.agreement import Agreement
from components.quantize.observe import Feed

_MOST_DB = 100.0


class Recording:
    """An onnxruntime session that keeps what it is given."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self.feeds: list[Feed] = []

    def run(self, names: Sequence[str] | None, feed: Feed) -> list[np.ndarray]:
        """As the session's."""
        self.feeds.append({name: np.array(values) for name, values in feed.items()})
        found: list[np.ndarray] = self._session.run(names, feed)
        return found

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)


def recorded_feeds(
    task: Task, graphs: Mapping[str, Path], batches: Iterable[Batch], assets: Any, *, threads: int
) -> dict[str, list[Feed]]:
    """The inputs of each graph while the model answers for the batches, in order."""
    sessions = {name: Recording(open_session(path, threads=threads)) for name, path in graphs.items()}
    for batch in batches:
        task.run(sessions, batch, assets)
    return {name: session.feeds for name, session in sessions.items()}


def graph_agreement(
    reference: Path | bytes, candidate: Path | bytes, feeds: Sequence[Feed], *, threads: int
) -> Agreement:
    """Of one graph on recorded feeds.

    The signal-to-noise ratio is of the output that is worst off. The argmax is of the first output along its last
    dimension; `rows` are the graph's calls.

    Raises:
        UserError: one of the two gives what is no number. ValueError: no feed.
    """
    if not feeds:
        raise ValueError("no calls to compare on")
    sessions = open_session(reference, threads=threads), open_session(candidate, threads=threads)
    signal = noise = np.zeros(1)
    agreed = named = 0
    for feed in feeds:
        expected, actual = ([value.astype(np.float64) for value in session.run(None, feed)] for session in sessions)
        for which, found in (("float32", expected), ("int8", actual)):
            refuse_no_numbers({f"output {n} of the {which} graph": one for n, one in enumerate(found, 1)}, "rows")
        signal = signal + np.array([(value**2).sum() for value in expected])
        noise = noise + np.array([((a - b) ** 2).sum() for a, b in zip(expected, actual, strict=True)])
        same = expected[0].argmax(axis=-1) == actual[0].argmax(axis=-1)
        agreed, named = agreed + int(same.sum()), named + same.size
    measured = (noise > 0) & (signal > 0)
    ratio = 10 * np.log10(signal[measured] / noise[measured]).min() if measured.any() else _MOST_DB
    return Agreement(rows=len(feeds), argmax=agreed / named, signal_to_noise_db=round(float(min(_MOST_DB, ratio)), 2))
