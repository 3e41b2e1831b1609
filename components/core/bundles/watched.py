"""Answers of the network that training began with, to inputs outside of every data set: what later ones are held to.

They travel in the metadata of the models that training makes, so that a release can be compared with them too.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from components.core.artifacts.manifest import Manifest
from components.core.data.batch import Batch
from components.core.errors import UserError
from components.core.tasks import Task
from components.core.tasks.base import GeneralChange

if TYPE_CHECKING:
    from components.core.bundles.model_bundle import ModelBundle

METADATA = "general"


@dataclass(frozen=True, kw_only=True)
class Watched:
    """`rows` of `Task.general`, the `answers` to them, and the `state` of the files that they came from."""

    rows: Sequence[Mapping[str, Any]]
    answers: Sequence[Any]
    state: Mapping[str, Any]

    def to_metadata(self) -> dict[str, Any]:
        """Of a model's manifest."""
        return {METADATA: {"rows": list(self.rows), "answers": list(self.answers), "state": dict(self.state)}}

    def change(self, task: Task, assets: Any, predict: Callable[[Batch], Sequence[Any]]) -> GeneralChange:
        """How far the answers of `predict`, for batches that a network with these assets takes, are from those here."""
        assert task.general is not None
        return task.general.change(self.answers, answers(task, assets, self.rows, predict))


def watched_of(manifest: Manifest, task: Task) -> Watched | None:
    """Of a model that training has made; None where nothing is watched.

    Raises:
        UserError: the manifest has something else there.
    """
    known = manifest.metadata.get(METADATA)
    if not known or task.general is None:
        return None
    whole = isinstance(known, dict) and known.keys() == {"rows", "answers", "state"}
    if whole and isinstance(known["state"], dict) and task.general.is_watched(known["rows"], known["answers"]):
        return Watched(**known)
    raise UserError(
        f"model {manifest.digest[:12]} does not say what it answered before its training: {METADATA!r} of its manifest "
        "must hold as many answers as rows; train it again"
    )


def begin(manifest: Manifest, bundle: "ModelBundle", settings: Mapping[str, Any]) -> Watched | None:
    """Of a model that is about to be trained: what its earlier training began with, else its own answers.

    Raises:
        UserError: a file that the settings name cannot be used.
    """
    task = bundle.task
    if task.general is None:
        return None
    state, known = task.general.state(settings), watched_of(manifest, task)
    if known and known.state == state:
        return known
    rows = task.general.rows(bundle.assets, settings)
    return Watched(rows=rows, answers=torch_answers(bundle, rows), state=state) if rows else None


def torch_answers(bundle: "ModelBundle", rows: Sequence[Mapping[str, Any]]) -> list[Any]:
    """By the torch network itself, in eval mode."""
    bundle.module.eval()
    return answers(
        bundle.task, bundle.assets, rows, lambda batch: bundle.task.reference(bundle.module, batch, bundle.assets)
    )


def answers(
    task: Task, assets: Any, rows: Sequence[Mapping[str, Any]], predict: Callable[[Batch], Sequence[Any]]
) -> list[Any]:
    """Predictions for the rows, some at a time."""
    transform, found = task.transform(assets, full_size=True), list[Any]()
    for start in range(0, len(rows), task.large_batch):
        part = rows[start : start + task.large_batch]
        batch = transform.collate([transform.decode(row) for row in part], [""] * len(part), None)
        found += predict(batch)
    return found
