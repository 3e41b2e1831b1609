"""The stage's work in order: export, calibrate, quantize, correct, check."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx

from components.core.bundles.onnx_bundle import OnnxBundle
from components.core.errors import UserError
from components.core.runtime.conversion import FLOAT32, describe_file, float32_bundle
from components.core.runtime.fusion import integer_share
from components.core.runtime.metadata import strip_metadata
from components.quantize.agreement import agreement
from components.quantize.calibration import SPLIT, Division, QuantizeConfig, training_images
from components.quantize.int8 import quantize_int8
from components.quantize.ranges import PERCENTILE

if TYPE_CHECKING:
    from components.core.bundles.model_bundle import ModelBundle
    from components.core.data.dataset import Dataset


def convert(
    model: "ModelBundle",
    dataset: "Dataset",
    config: QuantizeConfig,
    folder: Path,
    *,
    source_digest: str,
    threads: int,
) -> tuple[OnnxBundle, OnnxBundle]:
    """The network as ONNX in the asked scheme, and as float32; both in `folder`.

    Args:
        model: the trained network.
        dataset: only its training split is read.
        config: scheme and calibration.
        folder: for the files.
        source_digest: digest of the model artifact's manifest.
        threads: of onnxruntime during calibration.

    Raises:
        UserError: the model's labels are not the dataset's classes, or there is nothing to calibrate on.
    """
    if model.labels != dataset.classes:
        raise UserError("the model and the dataset have different classes; quantize with the data it was trained on")
    (folder / FLOAT32).mkdir(parents=True, exist_ok=True)
    plain = float32_bundle(model, folder / FLOAT32, source_digest=source_digest)
    if config.scheme == FLOAT32:
        return plain, plain

    division = Division.of(dataset.rows(SPLIT), config.images, config.seed)

    def images(*, calibrate: bool = True) -> Iterator[np.ndarray]:
        return training_images(dataset, model.preprocess, division, calibrate=calibrate)

    source = folder / "plain.onnx"
    source.write_bytes(_without_metadata(plain.model))
    result = quantize_int8(source, images, method=config.method, percentile=PERCENTILE, threads=threads)
    source.unlink()

    share = integer_share(result.model.SerializeToString(deterministic=True))
    path = folder / "model.onnx"
    provenance = {
        **plain.provenance,
        "scheme": config.scheme,
        "calibration": {
            "method": config.method,
            "percentile": PERCENTILE if config.method == "percentile" else None,
            "split": SPLIT,
            "images": division.calibrate,
            "seed": config.seed,
            "dataset": dataset.fingerprint,
            "corrected_layers": result.corrected_layers,
        },
        "fused": {
            "convolutions": share.convolutions,
            "convolutions_total": share.convolutions_total,
            "products": share.products,
            "products_total": share.products_total,
            "floating": list(share.floating),
        },
    }
    int8 = replace(plain, model=path, provenance=provenance)
    describe_file(result.model, int8)
    path.write_bytes(result.model.SerializeToString(deterministic=True))
    close = agreement(plain.model, path, images(calibrate=False), threads=threads)
    provenance["agreement"] = {"split": SPLIT, "held_out_of_calibration": True, **close.to_json()}
    return int8, plain


def _without_metadata(path: Path) -> bytes:
    # The float file's own labels and scheme do not belong into what is made of it.
    model = onnx.load(path)
    strip_metadata(model)
    return model.SerializeToString(deterministic=True)
