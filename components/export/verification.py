"""Checks before anything is released: the file is made of this network, computes what it should, and was evaluated.

Each raises; a release that exists has passed them all.
"""

import base64
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from onnxruntime import InferenceSession

from components.core.bundles.model_bundle import ModelBundle
from components.core.bundles.onnx_bundle import OnnxBundle
from components.core.errors import UserError
from components.core.evaluation.document import Evaluation
from components.core.models.inputs import BATCH, examples
from components.core.runtime.conversion import FLOAT32
from components.core.runtime.metadata import read_metadata
from components.core.runtime.onnx_export import parity
from components.core.runtime.serving import graph_inputs, graph_trials, open_graphs
from components.export.predictions import LEAST_EQUAL, Compared, compare_predictions

if TYPE_CHECKING:
    from components.core.data.dataset import Dataset
    from components.core.tasks import Task

BATCH_SIZES = (1, 3)

_NEARER = 0.5
"""Where integers are scaled per call: largest root mean square difference to a row alone, of that between two rows.
Rows that are exchanged have 1."""

_SCORE_POINTS = 1.0
"""How far a row's score may move on another machine, whose integer kernels round otherwise."""


class VerificationError(RuntimeError):
    """The file to be released does not do what was measured."""


@dataclass(frozen=True, kw_only=True)
class Verification:
    """Checks of a release, with their results.

    Attributes:
        parity: torch against onnxruntime, float32, at two batch sizes.
        same_graph: the float32 graph is byte for byte the one that was quantized.
        samples_repeated: evaluated rows whose prediction the released files alone repeated.
        predictions: of torch, float32 files and released files on the same rows; None where outputs say it all.
    """

    parity: dict[str, Any]
    same_graph: bool
    samples_repeated: int
    predictions: Compared | None = None

    def to_json(self) -> dict[str, Any]:
        """JSON-able; without predictions where none were compared."""
        shown = asdict(self)
        return shown if self.predictions else {name: value for name, value in shown.items() if name != "predictions"}


def verify(
    candidate: OnnxBundle,
    student: ModelBundle,
    plain: OnnxBundle,
    evaluation: Evaluation,
    *,
    dataset: "Dataset",
    candidate_digest: str,
    student_digest: str,
) -> Verification:
    """All checks.

    Args:
        candidate: what is to be released.
        student: the torch network it was made of.
        plain: the float32 export of the student, with the parity that was found when it was made.
        evaluation: of the candidate.
        dataset: that it was made from.
        candidate_digest: digest of its artifact.
        student_digest: digest of the student's artifact.

    Raises:
        UserError: the artifacts do not belong together.
        ParityError: torch and onnxruntime disagree.
        VerificationError: the files alone do not repeat what was evaluated.
    """
    if candidate.provenance["source_model"] != student_digest:
        raise UserError(
            f"the candidate was made of model {candidate.provenance['source_model'][:12]}, not of "
            f"{student_digest[:12]}; give export the model that quantize was given"
        )
    if evaluation.candidate.digest != candidate_digest:
        raise UserError(
            f"the evaluation is of candidate {evaluation.candidate.digest[:12]}, not of {candidate_digest[:12]}"
        )
    figures = plain.provenance["parity"]
    same_graph = plain.provenance["float32_graph"] == candidate.provenance["float32_graph"]
    if candidate.provenance["scheme"] == FLOAT32:
        found = [parity(graph, candidate.graphs[name], BATCH_SIZES) for name, graph in student.graphs.items()]
        figures = max(found, key=lambda one: one["relative_difference"])
    _check_metadata(candidate)
    _check_batches(candidate)
    predictions = compare_predictions(student, plain, candidate, dataset)
    if predictions and min(predictions.float32) < LEAST_EQUAL:
        raise VerificationError(
            f"of {predictions.rows} {candidate.task.row_noun} torch and the float32 ONNX files agree on only "
            f"{min(predictions.float32):.1%}; they must agree on at least {LEAST_EQUAL:.0%}"
        )
    return Verification(
        parity=figures,
        same_graph=same_graph,
        samples_repeated=_repeat_samples(candidate, evaluation),
        predictions=predictions,
    )


def _check_metadata(candidate: OnnxBundle) -> None:
    """Each file's own metadata gives the assets of the bundle; what is too large for it is in the files beside."""
    beside = candidate.assets.to_files()
    for name, session in open_graphs(candidate).items():
        inside = _assets_inside(candidate.task, session, beside)
        if inside != candidate.assets:
            raise VerificationError(f"{name}.onnx carries other {_differing(inside, candidate.assets)} than its bundle")


def _assets_inside(task: "Task", session: InferenceSession, beside: Mapping[str, bytes]) -> Any:
    facts = read_metadata(session.get_modelmeta().custom_metadata_map)
    try:
        return task.read_metadata(facts, beside)
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"the ONNX file's metadata cannot be used: {error}; quantize it again") from None


def _differing(inside: Any, beside: Any) -> str:
    first, second = inside.to_metadata(), beside.to_metadata()
    return " and ".join(name for name in second if first.get(name) != second[name]) or "assets"


def _check_batches(candidate: OnnxBundle) -> None:
    """A row's outputs may not depend on what else is in its batch, at any size of the inputs that is tried."""
    batch = max(BATCH_SIZES)
    # Integers without calibration take their scale from the whole batch: rows differ, but are not exchanged.
    scaled_per_call = candidate.provenance["scheme"] != FLOAT32 and "calibration" not in candidate.provenance
    for name, session in open_graphs(candidate).items():
        specs, _ = graph_inputs(candidate, name)
        for sizes in graph_trials(candidate, name):
            feed = examples(specs, {BATCH: batch, **sizes})
            _check_batch(name, session, feed, batch, scaled_per_call=scaled_per_call)


def _check_batch(
    name: str, session: InferenceSession, feed: dict[str, np.ndarray], batch: int, *, scaled_per_call: bool
) -> None:
    together = session.run(None, feed)
    each = [session.run(None, {key: value[row : row + 1] for key, value in feed.items()}) for row in range(batch)]
    for output, rows in zip(together, zip(*each, strict=True), strict=True):
        alone = np.concatenate(rows)
        if output.shape != alone.shape:
            raise VerificationError(f"{name}: an output of {batch} rows has shape {output.shape}, not {alone.shape}")
        difference = output.astype(np.float64) - alone
        if scaled_per_call:
            # Not of the outputs themselves: biases that all rows share can be five times as large as what sets a row
            # apart, and would hide that it is another one's.
            apart = alone.astype(np.float64) - np.roll(alone, 1, axis=0)
            same = (difference**2).mean() <= _NEARER**2 * (apart**2).mean() + 1e-12
        else:
            # int8 kernels may round differently at another batch size, by one step of the outputs' scale.
            same = bool(np.abs(difference).max() <= 0.05 * float(np.abs(output).max()) + 1e-6)
        if not same:
            raise VerificationError(f"{name}: outputs change with the batch size by {np.abs(output - alone).max():.3g}")


def _repeat_samples(candidate: OnnxBundle, evaluation: Evaluation) -> int:
    """Predict the evaluation's samples again, from the files alone; only those that it holds whole."""
    task = candidate.task
    sessions = open_graphs(candidate)
    assets = _assets_inside(task, next(iter(sessions.values())), candidate.assets.to_files())
    transform = task.transform(assets, full_size=True)
    metric, classes = task.metrics[0], evaluation.dataset.classes
    repeated = 0
    for sample in evaluation.samples:
        if sample.row is None:
            continue
        batch = transform.collate([transform.decode(_row(sample.row))], [sample.digest], None)
        predictions = task.predict(task.run(sessions, batch, assets), batch, assets)
        said = task.pages.said(predictions, classes)
        if said != sample.said:
            raise VerificationError(
                f"row {sample.digest[:12]} was evaluated as {sample.said!r}, the release alone says {said!r}"
            )
        score = metric.value(task.statistics(predictions, batch, len(classes)))
        if sample.score is not None and not abs(metric.points(score - sample.score)) <= _SCORE_POINTS:
            raise VerificationError(
                f"row {sample.digest[:12]} was evaluated with {metric.label} {sample.score:.4f}, the release alone "
                f"gives {score:.4f}"
            )
        repeated += 1
    return repeated


def _row(stored: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: base64.b64decode(value["base64"]) if isinstance(value, dict) else value for name, value in stored.items()
    }
