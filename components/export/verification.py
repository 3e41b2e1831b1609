"""Checks before anything is released: the file is made of this network, computes what it should, and was evaluated.

Each raises; a release that exists has passed them all.
"""

import base64
import hashlib
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from components.core.bundles.model_bundle import ModelBundle
from components.core.bundles.onnx_bundle import OnnxBundle
from components.core.errors import UserError
from components.core.runtime.conversion import FLOAT32, float32_bundle
from components.core.runtime.onnx_export import parity
from components.core.runtime.released import Release, load_release

BATCH_SIZES = (1, 3)


class VerificationError(RuntimeError):
    """The file to be released does not do what was measured."""


@dataclass(frozen=True, kw_only=True)
class Verification:
    """What was checked.

    Attributes:
        parity: torch against onnxruntime, float32, at two batch sizes.
        same_graph: the float32 graph is byte for byte the one that was quantized.
        samples_repeated: evaluated images whose prediction the released file alone repeated.
    """

    parity: dict[str, Any]
    same_graph: bool
    samples_repeated: int

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def verify(
    candidate: OnnxBundle,
    student: ModelBundle,
    evaluation: Mapping[str, Any],
    *,
    candidate_digest: str,
    student_digest: str,
) -> Verification:
    """All checks.

    Args:
        candidate: what is to be released.
        student: the torch network it was made of.
        evaluation: evaluation.json of the candidate.
        candidate_digest: digest of its artifact.
        student_digest: digest of the student's artifact.

    Raises:
        UserError: the artifacts do not belong together.
        ParityError: torch and onnxruntime disagree.
        VerificationError: the file alone does not repeat what was evaluated.
    """
    if candidate.provenance["source_model"] != student_digest:
        raise UserError(
            f"the candidate was made of model {candidate.provenance['source_model'][:12]}, not of "
            f"{student_digest[:12]}; give export the model that quantize was given"
        )
    if evaluation["candidate"].get("digest", candidate_digest) != candidate_digest:
        raise UserError(
            f"the evaluation is of candidate {evaluation['candidate']['digest'][:12]}, not of {candidate_digest[:12]}"
        )
    with tempfile.TemporaryDirectory(prefix="trimtab-export-") as folder:
        plain = float32_bundle(student, Path(folder), source_digest=student_digest)
        figures = plain.provenance["parity"]
        same_graph = plain.provenance["float32_graph"] == candidate.provenance["float32_graph"]
    if candidate.provenance["scheme"] == FLOAT32:
        (figures,) = (parity(graph, candidate.graphs[name], BATCH_SIZES) for name, graph in student.graphs.items())
    release = load_release(candidate.graphs["model"].read_bytes())
    _check_metadata(release, candidate)
    _check_batches(release)
    repeated = _repeat_samples(release, evaluation)
    return Verification(parity=figures, same_graph=same_graph, samples_repeated=repeated)


def _check_metadata(release: Release, candidate: OnnxBundle) -> None:
    if release.labels != candidate.assets.labels or release.assets != candidate.assets:
        raise VerificationError("labels or preprocessing inside model.onnx are not those of its bundle")


def _check_batches(release: Release) -> None:
    """An image's logits may not depend on what else is in its batch."""
    entry = release.session.get_inputs()[0]
    images = np.random.default_rng(0).standard_normal((max(BATCH_SIZES), *entry.shape[1:])).astype(np.float32)
    together = release.session.run(None, {entry.name: images})[0]
    alone = np.concatenate([release.session.run(None, {entry.name: image[None]})[0] for image in images])
    if together.shape != (len(images), len(release.labels)):
        raise VerificationError(f"logits of {len(images)} images have shape {together.shape}")
    # int8 kernels may round differently at another batch size, by one step of the logits' scale.
    if not np.allclose(together, alone, rtol=0, atol=0.05 * float(np.abs(together).max()) + 1e-6):
        raise VerificationError(f"logits change with the batch size by {np.abs(together - alone).max():.3g}")


def _repeat_samples(release: Release, evaluation: Mapping[str, Any]) -> int:
    """Predict the evaluation's embedded images again, from the file alone; only those embedded unchanged."""
    repeated = 0
    for sample in evaluation.get("samples", []):
        image = base64.b64decode(sample["image_base64"])
        if hashlib.sha256(image).hexdigest() != sample["digest"]:
            continue
        label = release([image])[0].label
        if label != sample["candidate"]:
            raise VerificationError(
                f"image {sample['digest'][:12]} was evaluated as {sample['candidate']!r}, the file alone says {label!r}"
            )
        repeated += 1
    return repeated
