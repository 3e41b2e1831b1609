"""What the pipelines share: a form as a pipeline's inputs, how much of the machine a task asks for, the search, and
what follows it: compression by each recipe, the choice, and the release."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from kfp import dsl

from components.backbone_selection.component import backbone_selection
from components.choose.component import choose
from components.core.parameters import ADVANCED, Form
from components.core.results.recall import THREADS_VARIABLE
from components.distill.component import distill
from components.evaluate.component import evaluate
from components.export.component import export
from components.fine_tune.component import fine_tune
from components.prune.component import prune
from components.quantize.component import quantize
from pipelines.pods import set_temporary_folder, set_user

# What of the data preparation is asked, and what tells its cache that the files have changed.
DATA = (
    "dataset", "task", "validation_fraction", "test_fraction", "max_image_mb", "slice_columns", "dataset_state",
    "split", "rare_classes", "near_duplicates", "allow_paths",
)  # fmt: skip
VALIDATION = "validation"
TEST = "test"

LIMITS = ("max_latency_ms", "max_size_mb", "max_drop")
LOSS = {"settings": "training_settings"}
SOFT_LOSS = {
    "alpha": "distill_alpha", "temperature": "distill_temperature", "distillation": "distillation_settings",
}  # fmt: skip
MEASURING = {"threads": "latency_threads", "latency_rounds": "latency_rounds"}
CALIBRATION = ("calibration_method", "calibration_images", "seed")

# What every stage that trains has in common, by its own names.
TRAINING = (
    "batch_size", "optimizer", "schedule", "power", "step_epochs", "step_gamma", "warmup_fraction", "momentum",
    "weight_decay", "layer_decay", "ema_decay", "precision", "batch_norm", "patience", "checkpoint_seconds", "seed",
    "num_processes", "accumulation_steps",
)  # fmt: skip


def pipeline_of(form: Form, *, summary: str, body: Callable[[Form, dict[str, Any]], None]) -> Any:
    """The pipeline that asks what `form` asks.

    Args:
        summary: what the pipeline does, in a sentence; the description that the UI shows begins with it.
        body: adds the tasks; it is given the form and the pipeline's inputs by name.
    """
    inputs = {name: (one.type, one.default) for name, one in form.fields.items()} | {ADVANCED: (dict, {})}
    described = {name: one.described for name, one in form.fields.items()}
    described[ADVANCED] = "Further parameters by name, as a JSON object; the pipeline's description lists them."

    def pipeline(*given: Any) -> None:
        body(form, dict(zip(inputs, given, strict=True)))

    pipeline.__name__ = form.pipeline
    pipeline.__doc__ = f"{summary}\n\nArgs:\n" + "\n".join(f"    {name}: {described[name]}" for name in inputs)
    # KFP reads a pipeline's inputs from its function's signature.
    pipeline.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [
            inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=kind, default=default)
            for name, (kind, default) in inputs.items()
        ]
    )
    return dsl.pipeline(name=form.pipeline, description=form.describe(summary))(pipeline)


def taken(checked: dsl.PipelineTask, *names: str, **called: str) -> dict[str, Any]:
    """Inputs of a stage out of the check's outputs: `names` as they are called, and input name=parameter's name.

    What the form of this task lacks is left out, and the stage's own default holds.
    """
    wanted = dict(zip(names, names, strict=True)) | called
    return {name: checked.outputs[wanted[name]] for name in wanted if wanted[name] in checked.outputs}


def _cores(task: dsl.PipelineTask, count: int) -> dsl.PipelineTask:
    set_user(task)
    set_temporary_folder(task)
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


def search(dataset: Any, checked: dsl.PipelineTask) -> Found:
    """Adds to the pipeline: select a backbone → fine-tune → each recipe → choose, all on training and validation data.

    Args:
        dataset: the prepared data set, as a task's output.
        checked: the preflight task; its outputs are the parameters, and the recipes to try.
    """
    selected = backbone_selection(
        dataset=dataset,
        **taken(
            checked,
            *(
                "backbones",
                "catalog",
                "catalog_state",
                "image_size",
                "seed",
                "max_parameters_m",
                "max_macs_m",
                "prunes",
            ),
            max_latency_ms="max_backbone_latency_ms",
            settings="network_settings",
        ),
    )
    whole_machine(selected)

    tuned = fine_tune(
        dataset=dataset,
        model=selected.outputs["model"],
        **taken(checked, *TRAINING, "epochs", "head_epochs", "learning_rate", "label_smoothing", **LOSS),
    )
    whole_machine(tuned)

    further = {"epochs": "distill_epochs", "learning_rate": "distill_learning_rate"}
    baseline = fine_tune(
        dataset=dataset,
        model=tuned.outputs["tuned"],
        head_epochs=0,
        **taken(checked, *TRAINING, "label_smoothing", **further, **LOSS),
    )
    baseline.set_display_name("baseline")
    whole_machine(baseline)

    return compressed(dataset, checked, start=tuned.outputs["tuned"], baseline=baseline.outputs["tuned"])


def compressed(dataset: Any, checked: dsl.PipelineTask, *, start: Any, baseline: Any) -> Found:
    """Adds to the pipeline: each recipe (prune → distil → quantize → evaluate on validation data) → choose.

    Args:
        dataset: the prepared data set, as a task's output.
        checked: the preflight task.
        start: the network that is pruned.
        baseline: what every recipe is measured against, and the teacher.
    """
    further = {"epochs": "distill_epochs", "learning_rate": "distill_learning_rate"}
    with dsl.ParallelFor(checked.outputs["recipes"], name="recipes") as recipe:
        pruned = prune(
            dataset=dataset,
            model=start,
            recipe=recipe,
            **taken(checked, "importance", "round_to", "seed"),
        )
        one_core(pruned)
        distilled = distill(
            dataset=dataset,
            teacher=baseline,
            student=pruned.outputs["pruned"],
            recipe=recipe,
            **taken(checked, *TRAINING, **SOFT_LOSS, **further, **LOSS),
        )
        one_core(distilled)
        quantized = quantize(
            dataset=dataset,
            model=distilled.outputs["distilled"],
            recipe=recipe,
            **taken(checked, *CALIBRATION),
        )
        one_core(quantized)
        measured = evaluate(
            dataset=dataset,
            candidate=quantized.outputs["quantized"],
            baseline=baseline,
            split=VALIDATION,
            **taken(checked, **MEASURING),
        )
        # Alone on the machine, or its neighbour would be measured too.
        whole_machine(measured)

    choice = choose(
        candidates=dsl.Collected(quantized.outputs["quantized"]),
        models=dsl.Collected(distilled.outputs["distilled"]),
        evaluations=dsl.Collected(measured.outputs["evaluation"]),
        **taken(checked, "recipes", *LIMITS),
    )
    light(choice)

    return Found(
        baseline=baseline,
        candidate=choice.outputs["chosen"],
        model=choice.outputs["chosen_model"],
        decision=choice.outputs["decision"],
    )


def release(dataset: Any, found: Found, checked: dsl.PipelineTask) -> None:
    """Adds to the pipeline: the chosen one and the baseline once on test data → export."""
    final = evaluate(
        dataset=dataset,
        candidate=found.candidate,
        baseline=found.baseline,
        split=TEST,
        **taken(checked, *LIMITS, **MEASURING),
    )
    final.set_display_name("evaluate on test")
    whole_machine(final)

    released = export(
        candidate=found.candidate,
        model=found.model,
        baseline=found.baseline,
        evaluation=final.outputs["evaluation"],
        decision=found.decision,
        dataset=dataset,
        **taken(checked, name="release_name"),
    )
    one_core(released)
