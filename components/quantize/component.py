"""KFP face of the quantization: from a trained network to the ONNX file that will be served."""

from kfp import dsl
from kfp.dsl import HTML, Dataset, Input, Metrics, Model, Output

from components.core.results.recall import recalled
from components.images import BASE_IMAGE, TRAIN_IMAGE


@dsl.component(base_image=BASE_IMAGE, target_image=TRAIN_IMAGE)
@recalled
def quantize(
    dataset: Input[Dataset],
    model: Input[Model],
    quantized: Output[Model],
    metrics: Output[Metrics],
    page: Output[HTML],
    recipe: dict,
    calibration_method: str = "percentile",
    calibration_images: int = 256,
    seed: int = 0,
):
    """Exports the network to ONNX and quantizes it: uint8 activations, int8 weights with one scale per channel.

    Activation ranges come from training images with evaluation transforms; the biases are then corrected for what
    rounding the weights did to each channel's mean. The result is checked on validation images. A temperature, where it
    is asked for, is fitted on validation images too. No test image is read.

    Args:
        dataset: Prepared data set; its training split calibrates, its validation split checks.
        model: The trained network.
        quantized: ONNX bundle: one file per graph with the task's assets in its metadata, and its provenance.
        metrics: Size, share of convolutions that run as integers, agreement with the float network.
        page: The same as a page.
        recipe: The recipe (core.recipe). This stage reads scheme, int8, or float32 to export only; of networks of
            matrix products int8_kind and int8_least_db; of images int8_max_drop, points that int8 may lose on
            validation data before layers stay float; of classifiers temperature_scaling: fit what logits are divided by
            before softmax (Guo et al. 2017).
        calibration_method: How activation ranges are chosen: minmax, percentile (keeps 99.99 percent) or entropy.
        calibration_images: Training images to calibrate on, spread evenly over the split; at least 1. As many again
            of the validation split check the result.
        seed: Random seed that decides which of these images calibrate and which check.
    """
    import tempfile
    from pathlib import Path

    from components.core.artifacts.manifest import describe, read_manifest
    from components.core.bundles.onnx_bundle import save_onnx
    from components.core.data.dataset import open_dataset
    from components.core.recipe import Recipe
    from components.core.report.metrics import log_metrics
    from components.core.runtime.conversion import float32_of
    from components.core.store import store_from_environment
    from components.core.tasks import get_task
    from components.core.training.device import use_available_threads
    from components.quantize.calibration import QuantizeConfig
    from components.quantize.page import write_quantization_page
    from components.quantize.quantization import convert
    from components.quantize.temperature import check_scalable, with_temperature

    asked = Recipe.from_json(recipe)
    scheme = asked.scheme
    named = {"kind": "int8_kind", "least_db": "int8_least_db", "max_drop": "int8_max_drop"}
    further = {name: asked.more[key] for name, key in named.items() if key in asked.more}
    config = QuantizeConfig(scheme=scheme, method=calibration_method, images=calibration_images, seed=seed, **further)

    store = store_from_environment()
    prepared = open_dataset(dataset.path, store)
    scales = asked.more.get("temperature_scaling", False)
    if scales:
        check_scalable(get_task(prepared.task), prepared)
    source = read_manifest(model.path, kind="model")
    plain = float32_of(source, store)
    threads = use_available_threads()
    with tempfile.TemporaryDirectory(prefix="trimtab-quantize-") as folder:
        result = convert(plain, prepared, config, Path(folder), threads=threads)
        if scales:
            result = with_temperature(result, prepared, Path(folder), threads=threads)

        facts: dict[str, str | int | float | bool] = {
            "scheme": scheme,
            "size_mb": result.size_bytes / 1e6,
            "size_ratio": plain.size_bytes / result.size_bytes,
        }
        if scaling := result.provenance.get("temperature"):
            if scaling["value"] is None:
                print(f"warning: no temperature was fitted: {scaling['why']}")
            else:
                facts["temperature"] = scaling["value"]
        if "fused" in result.provenance:
            fused, close = result.provenance["fused"], result.provenance["agreement"]
            facts |= {
                "integer_convolutions": fused["convolutions"],
                "convolutions": fused["convolutions_total"],
                "integer_products": fused["products"],
                "products": fused["products_total"],
                "integer_operator_share": fused["operators"] / max(fused["operators_total"], 1),
                "agreement_with_float32": close["argmax"],
                "signal_to_noise_db": close["signal_to_noise_db"],
            }
            front = result.provenance.get("calibration", {}).get("float_convolutions", 0)
            if fused["convolutions"] + front < fused["convolutions_total"]:
                print(f"warning: onnxruntime leaves these in float: {', '.join(fused['floating'][front:])}")
        manifest = save_onnx(
            quantized.path, result, store, {"stage": "quantize", "source_model": source.digest, **facts}
        )
        describe(quantized, manifest, store, recipe=asked.name, **facts)
        log_metrics(metrics, facts, recipe=asked.name, data=prepared.description)
        write_quantization_page(page.path, result, plain, recipe=asked.name, data=prepared.description)
