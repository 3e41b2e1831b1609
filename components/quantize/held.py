"""The loss of an int8 file against its float model on validation rows."""

from collections.abc import Mapping
from contextlib import closing
from typing import TYPE_CHECKING

import numpy as np
import onnxruntime as ort

from components.core.bundles.onnx_bundle import OnnxBundle
from components.core.data.reading import read_batches
from components.core.errors import UserError
from components.core.runtime.finite import refuse_no_numbers
from components.core.runtime.sessions import open_session
from components.quantize.calibration import CHECK_SPLIT

if TYPE_CHECKING:
    from components.core.data.dataset import Dataset

ROWS = 10_000
"""Validation rows that are read, at most, spread evenly over the split."""


class Held:
    """The float model's figure on validation rows, which other versions of one of its graphs are held to.

    Raises:
        UserError: there are no validation rows.
    """

    def __init__(self, plain: OnnxBundle, graph: str, dataset: "Dataset", *, threads: int) -> None:
        if not dataset.rows(CHECK_SPLIT):
            raise UserError(
                f"int8_max_drop is measured on validation {plain.task.row_noun}, and there are none; raise "
                "validation_fraction, or leave int8_max_drop out"
            )
        self.plain, self.graph, self.dataset, self.threads = plain, graph, dataset, threads
        self.rows = min(dataset.rows(CHECK_SPLIT), ROWS)
        self._sessions = {name: open_session(path, threads=threads) for name, path in plain.graphs.items()}
        self._figure = self._measured(self._sessions)

    def drop(self, candidate: bytes) -> float:
        """Points of the task's first metric that the candidate for the graph loses; below 0 where it is better."""
        sessions = {**self._sessions, self.graph: open_session(candidate, threads=self.threads)}
        return self.plain.task.metrics[0].points(self._figure - self._measured(sessions))

    def _measured(self, sessions: Mapping[str, ort.InferenceSession]) -> float:
        task, assets = self.plain.task, self.plain.assets
        transform, found = task.transform(assets, full_size=True), []
        read = read_batches(self.dataset, CHECK_SPLIT, transform, batch_size=task.large_batch, limit=self.rows)
        with closing(read) as batches:
            for batch in batches:
                outputs = task.run(sessions, batch, assets)
                refuse_no_numbers(outputs, task.row_noun)
                predictions = task.predict(outputs, batch, assets)
                found.append(task.statistics(predictions, batch, len(self.dataset.classes)))
        return task.metrics[0].value(np.concatenate(found))
