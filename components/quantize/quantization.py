"""The stage's work in order: calibrate, quantize, correct, check."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx

from components.core.bundles.onnx_bundle import SUFFIX, OnnxBundle
from components.core.data.reading import read_batches
from components.core.parameters import NO_LIMIT
from components.core.runtime.conversion import FLOAT32, describe_file
from components.core.runtime.fusion import added, integer_share
from components.core.runtime.metadata import strip_metadata
from components.quantize.accuracy_control import control_accuracy
from components.quantize.agreement import agreement
from components.quantize.calibration import (
    CHECK_SPLIT,
    SPLIT,
    Division,
    QuantizeConfig,
    check_feeds,
    check_split,
    training_feeds,
)
from components.quantize.dynamic_int8 import DYNAMIC, quantize_dynamic
from components.quantize.held import Held
from components.quantize.int8 import Quantized, calibrate
from components.quantize.observe import Feed
from components.quantize.ranges import PERCENTILE
from components.quantize.recording import graph_agreement, recorded_feeds
from components.quantize.sensitivity import products_to_keep

if TYPE_CHECKING:
    from components.core.data.dataset import Dataset


CHECK_ROWS, CHECK_BATCH = 64, 8
"""Rows that the float model answers for when int8 graphs without calibration are checked, and how many at a time."""
RANKING_BATCHES = 2
"""Batches of training rows that rank the layers of a static int8 graph for accuracy control."""
SENSITIVITY_CALLS = 32
"""Calls of a graph on which it is measured which products stay float."""


def convert(
    plain: OnnxBundle,
    dataset: "Dataset",
    config: QuantizeConfig,
    folder: Path,
    *,
    threads: int,
) -> OnnxBundle:
    """The network in the asked scheme, in `folder`; for float32 it is `plain` itself.

    Args:
        plain: the trained network, exported as float32.
        dataset: its training split calibrates, its validation split checks.
        config: scheme and calibration.
        folder: for the files.
        threads: of onnxruntime during calibration.

    Raises:
        UserError: the model is for other classes than the data set's, or there is nothing to calibrate on.
    """
    plain.task.check_classes(dataset, plain.assets)
    if config.scheme == FLOAT32:
        return plain

    if plain.task.int8 == DYNAMIC:
        return _dynamic(plain, dataset, config, folder, threads=threads)

    division = Division.of(dataset.rows(SPLIT), config.images, config.seed)

    def feeds() -> Iterator[Feed]:
        return training_feeds(dataset, plain.task, plain.assets, division, calibrate=True)

    def unseen() -> Iterator[Feed]:
        return check_feeds(dataset, plain.task, plain.assets, division)

    quantized: dict[str, Quantized] = {}
    control: dict[str, Any] = {}
    for name, path in plain.graphs.items():
        source = folder / "plain.onnx"
        source.write_bytes(_without_metadata(path))
        calibrated = calibrate(
            source, feeds, method=config.method, percentile=PERCENTILE, threads=threads,
            stay_float=plain.task.stay_float,
        )  # fmt: skip
        source.unlink()
        if config.max_drop == NO_LIMIT:
            quantized[name] = calibrated.integers()
            continue
        held = Held(plain, name, dataset, threads=threads)
        controlled = control_accuracy(
            calibrated, allowed=config.max_drop, drop=held.drop, sample=list(islice(feeds(), RANKING_BATCHES))
        )
        quantized[name] = controlled.quantized
        control[name] = controlled.to_json(allowed=config.max_drop, split=CHECK_SPLIT, rows=held.rows)

    shares = [integer_share(one.model.SerializeToString(deterministic=True)) for one in quantized.values()]
    paths = {name: folder / f"{name}{SUFFIX}" for name in quantized}
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
            "corrected_layers": sum(one.corrected_layers for one in quantized.values()),
            "float_convolutions": sum(one.float_convolutions for one in quantized.values()),
        },
        "fused": added(shares).to_json(),
    }
    if control:
        provenance["accuracy_control"] = control
    int8 = replace(plain, graphs=paths, provenance=provenance)
    for name, one in quantized.items():
        describe_file(one.model, int8)
        paths[name].write_bytes(one.model.SerializeToString(deterministic=True))
    # Outputs of one graph after another are compared; the worst one is what the release is held to.
    close = min(
        (agreement(plain.graphs[name], paths[name], unseen(), threads=threads) for name in paths),
        key=lambda found: found.signal_to_noise_db,
    )
    provenance["agreement"] = {"split": check_split(dataset), "held_out_of_calibration": True, **close.to_json()}
    return int8


def _dynamic(
    plain: OnnxBundle, dataset: "Dataset", config: QuantizeConfig, folder: Path, *, threads: int
) -> OnnxBundle:
    """int8 without calibration; checked by what each graph is given while the float model answers for real rows."""
    split = check_split(dataset)
    rows = min(config.images, CHECK_ROWS)
    transform = plain.task.transform(plain.assets, full_size=True)
    with closing(read_batches(dataset, split, transform, batch_size=CHECK_BATCH, limit=rows)) as read:
        calls = recorded_feeds(plain.task, plain.graphs, read, plain.assets, threads=threads)
    models, kept = {}, {}
    for name, path in plain.graphs.items():
        source = onnx.load(path)
        strip_metadata(source)
        sample = calls[name][:: max(1, len(calls[name]) // SENSITIVITY_CALLS)]
        kept[name] = products_to_keep(
            source, sample, kind=config.kind, least_db=config.least_db, threads=threads
        )  # fmt: skip
        models[name] = quantize_dynamic(source, kind=config.kind, stay_float=kept[name])
    shares = [integer_share(model.SerializeToString(deterministic=True)) for model in models.values()]
    paths = {name: folder / f"{name}{SUFFIX}" for name in models}
    provenance = {
        **plain.provenance,
        "scheme": config.scheme,
        "int8": {"kind": config.kind, "float_products": {name: len(names) for name, names in kept.items()}},
        "fused": added(shares).to_json(),
    }
    int8 = replace(plain, graphs=paths, provenance=provenance)
    for name, model in models.items():
        describe_file(model, int8)
        paths[name].write_bytes(model.SerializeToString(deterministic=True))
    found = {name: graph_agreement(plain.graphs[name], paths[name], calls[name], threads=threads) for name in paths}
    provenance["agreement"] = {
        "split": split,
        "held_out_of_calibration": True,
        "rows": rows,
        # The last graph's first output is the answer; the others hand states on.
        "argmax": min(one.argmax for one in found.values()),
        "signal_to_noise_db": min(one.signal_to_noise_db for one in found.values()),
        "graphs": {name: one.to_json() for name, one in found.items()},
    }
    return int8


def _without_metadata(path: Path) -> bytes:
    # The float file's own labels and scheme do not belong into what is made of it.
    model = onnx.load(path)
    strip_metadata(model)
    return model.SerializeToString(deterministic=True)
