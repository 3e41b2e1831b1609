"""What `optimize` and `retrain` share: how much of the machine a task asks for, and the search for a release."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kfp import dsl

from components.backbone_selection.component import backbone_selection
from components.choose.component import choose
from components.core.results.recall import THREADS_VARIABLE
from components.distill.component import distill
from components.evaluate.component import evaluate
from components.fine_tune.component import fine_tune
from components.prune.component import prune
from components.quantize.component import quantize

VALIDATION = "validation"
TEST = "test"

# What every stage that trains has in common.
TRAINING = (
    "batch_size", "optimizer", "schedule", "power", "step_epochs", "step_gamma", "warmup_fraction", "momentum",
    "weight_decay", "layer_decay", "ema_decay", "precision", "batch_norm", "patience", "checkpoint_seconds", "seed",
    "num_processes",
)  # fmt: skip


def _cores(task: dsl.PipelineTask, count: int) -> dsl.PipelineTask:
    # A container cannot see its own request, and results depend on the number of threads.
    return task.set_cpu_request(str(count)).set_env_variable(THREADS_VARIABLE, str(count))


def light(task: dsl.PipelineTask) -> None:
    """One core, little memory."""
    _cores(task, 1).set_memory_request("1G")


def one_core(task: dsl.PipelineTask) -> None:
    """One thread each, so that two recipes share two cores: faster than one after the other with two threads."""
    _cores(task, 1).set_memory_request("3G")


def whole_machine(task: dsl.PipelineTask) -> None:
    """Two cores: for training, and for measuring, which a neighbour would disturb."""
    _cores(task, 2).set_memory_request("4G")


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a search leaves: the baseline's network, the chosen ONNX file, its network, and why it was chosen."""

    baseline: Any
    candidate: Any
    model: Any
    decision: Any


def search(dataset: Any, checked: dsl.PipelineTask, asked: Mapping[str, Any]) -> Found:
    """Adds to the pipeline: select a backbone → fine-tune → each recipe → choose, all on training and validation data.

    Args:
        dataset: the prepared data set, as a task's output.
        checked: the preflight task, whose outputs name the backbones and the recipes.
        asked: the parameters of `optimize` by name, as the pipeline's inputs.
    """
    selected = backbone_selection(
        dataset=dataset,
        backbones=checked.outputs["backbones"],
        catalog=asked["catalog"],
        catalog_state=checked.outputs["catalog_state"],
        image_size=asked["image_size"],
        seed=asked["seed"],
        max_parameters_m=asked["max_parameters_m"],
        max_macs_m=asked["max_macs_m"],
        max_latency_ms=asked["max_backbone_latency_ms"],
    )
    whole_machine(selected)

    training = {name: asked[name] for name in TRAINING}
    tuned = fine_tune(
        dataset=dataset,
        model=selected.outputs["model"],
        epochs=asked["epochs"],
        head_epochs=asked["head_epochs"],
        learning_rate=asked["learning_rate"],
        label_smoothing=asked["label_smoothing"],
        **training,
    )
    whole_machine(tuned)

    baseline = fine_tune(
        dataset=dataset,
        model=tuned.outputs["tuned"],
        epochs=asked["distill_epochs"],
        head_epochs=0,
        learning_rate=asked["distill_learning_rate"],
        label_smoothing=asked["label_smoothing"],
        **training,
    )
    baseline.set_display_name("baseline")
    whole_machine(baseline)

    with dsl.ParallelFor(checked.outputs["recipes"], name="recipes") as recipe:
        pruned = prune(
            dataset=dataset,
            model=tuned.outputs["tuned"],
            macs_fraction=recipe.macs_fraction,
            importance=asked["importance"],
            round_to=asked["round_to"],
            seed=asked["seed"],
        )
        one_core(pruned)
        distilled = distill(
            dataset=dataset,
            teacher=baseline.outputs["tuned"],
            student=pruned.outputs["pruned"],
            student_size=recipe.student_size,
            epochs=asked["distill_epochs"],
            learning_rate=asked["distill_learning_rate"],
            alpha=asked["distill_alpha"],
            temperature=asked["distill_temperature"],
            **training,
        )
        one_core(distilled)
        quantized = quantize(
            dataset=dataset,
            model=distilled.outputs["distilled"],
            scheme="int8",
            calibration_method=asked["calibration_method"],
            calibration_images=asked["calibration_images"],
            seed=asked["seed"],
        )
        one_core(quantized)
        measured = evaluate(
            dataset=dataset,
            candidate=quantized.outputs["quantized"],
            baseline=baseline.outputs["tuned"],
            split=VALIDATION,
            threads=asked["latency_threads"],
            latency_rounds=asked["latency_rounds"],
        )
        # Alone on the machine, or its neighbour would be measured too.
        whole_machine(measured)

    choice = choose(
        candidates=dsl.Collected(quantized.outputs["quantized"]),
        models=dsl.Collected(distilled.outputs["distilled"]),
        evaluations=dsl.Collected(measured.outputs["evaluation"]),
        recipes=checked.outputs["recipes"],
        max_latency_ms=asked["max_latency_ms"],
        max_size_mb=asked["max_size_mb"],
        max_drop=asked["max_drop"],
    )
    light(choice)

    return Found(
        baseline=baseline.outputs["tuned"],
        candidate=choice.outputs["chosen"],
        model=choice.outputs["chosen_model"],
        decision=choice.outputs["decision"],
    )
