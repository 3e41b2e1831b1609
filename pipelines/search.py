"""The parts that pipelines share: a form as a pipeline's inputs, how much of the machine a task asks for, and the
nested pipelines `prepare`, `train`, `compress` and `release`.

They are nested because a graph of all tasks and their outputs fits no screen, and so that each output has a name of its
own: the UI draws one arrow for two outputs of the same name that go into one task.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from kfp import dsl

from components.backbone_selection.component import backbone_selection
from components.budget_check.component import budget_check
from components.choose.component import choose
from components.core.parameters import ADVANCED, Form
from components.core.results.recall import THREADS_VARIABLE
from components.data_part.component import data_part
from components.data_prep.component import data_prep
from components.distill.component import distill
from components.evaluate.component import evaluate
from components.export.component import export
from components.fine_tune.component import fine_tune
from components.pace.component import pace
from components.plan.component import plan
from components.preflight.component import facts_of
from components.prune.component import prune
from components.quantize.component import quantize
from components.teach.component import teach
from pipelines.parts import Part, part
from pipelines.pods import set_temporary_folder, set_user
from pipelines.readable import readable

# What of reading the data is asked, and what tells its cache that the files have changed.
READING = ("dataset", "task", "max_image_mb", "slice_columns", "dataset_state", "allow_paths")
# What the preparation is asked besides.
SPLITTING = ("validation_fraction", "test_fraction", "split", "rare_classes", "near_duplicates")
VALIDATION = "validation"
TEST = "test"

LIMITS = ("max_latency_ms", "max_size_mb", "max_drop")
LOSS = {"settings": "training_settings"}
SOFT_LOSS = {
    "alpha": "distill_alpha", "temperature": "distill_temperature", "distillation": "distillation_settings",
}  # fmt: skip
FURTHER = {"epochs": "distill_epochs", "learning_rate": "distill_learning_rate"}
MEASURING = {"threads": "latency_threads", "latency_rounds": "latency_rounds"}
# Of the evaluation on test data alone.
ON_TEST = ("corruption_rows", "price_per_core_hour")
CALIBRATION = ("calibration_method", "calibration_images", "seed")

# What every stage that trains has in common, by its own names.
TRAINING = (
    "batch_size", "optimizer", "schedule", "power", "step_epochs", "step_gamma", "warmup_fraction", "momentum",
    "weight_decay", "layer_decay", "ema_decay", "precision", "batch_norm", "patience", "checkpoint_seconds", "seed",
    "num_processes", "accumulation_steps", "batch_tokens", "max_gradient_norm",
)  # fmt: skip
TUNING = (*TRAINING, "layer_rates", "label_smoothing")


def pipeline_of(form: Form, *, summary: str, body: Callable[[Form, dict[str, Any]], None]) -> Any:
    """The pipeline that asks what `form` asks, with keys that a person reads.

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
    made = dsl.pipeline(name=form.pipeline, description=form.describe(summary))(pipeline)
    specification = made.component_spec
    specification.implementation.graph, specification.platform_spec = readable(made.pipeline_spec, made.platform_spec)
    return made


def checked_types(form: Form) -> dict[str, Any]:
    """Every output of the form's check, with its type."""
    return {one.name: one.type for one in form.parameters} | facts_of(form)


def taken(given: Mapping[str, Any], *names: str, **called: str) -> dict[str, Any]:
    """Inputs of a stage out of the check's outputs: `names` as they are called, and input name=parameter's name.

    What the form of this task lacks is left out, and the stage's own default holds.
    """
    wanted = dict(zip(names, names, strict=True)) | called
    return {name: given[wanted[name]] for name in wanted if wanted[name] in given}


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
class SearchResult:
    """Result of a search: the baseline's network, the chosen ONNX file, its network, and why it was chosen."""

    baseline: Any
    candidate: Any
    model: Any
    decision: Any


def prepare_part(form: Form, *, growing: bool = False) -> Part:
    """For each part of the data read and check its rows → merge, split and write the data set. Out: `prepared`.

    Args:
        growing: an earlier data set is at hand. In: `previous`; and the parameter `remember`.
    """
    return part(
        "prepare",
        "Reads and checks the data, in parallel parts, and splits them into training, validation and test.",
        _prepare,
        artifacts={"previous": dsl.Dataset} if growing else {},
        parameters=checked_types(form) | ({"remember": str} if growing else {}),
        outputs={"prepared": dsl.Dataset},
    )


def _prepare(given: Mapping[str, Any], **earlier: Any) -> dict[str, Any]:
    # Never an empty loop: KFP's backend (2.17) cannot collect what no iteration has made.
    with dsl.ParallelFor(given["parts"], name="parts") as one:
        read = data_part(part=one, **taken(given, *READING, settings="data_settings"))
        one_core(read)
    data = data_prep(
        inspected=dsl.Collected(read.outputs["inspected"]),
        **earlier,
        **taken(given, *READING, *SPLITTING, "remember", settings="data_settings"),
    )
    one_core(data)
    return {"prepared": data.outputs["prepared"]}


def replay_part(form: Form) -> Part | None:
    """The data set with rows that a model answers before it is tuned; None where nothing can be replayed.

    In: the data set and the model. Out: `learnt`.
    """
    if "replay_fraction" not in checked_types(form):
        return None
    return part(
        "replay",
        "Adds rows with the untuned network's own answers, so that tuning forgets less.",
        _replay,
        artifacts={"dataset": dsl.Dataset, "model": dsl.Model},
        parameters=checked_types(form),
        outputs={"learnt": dsl.Dataset},
    )


def _replay(given: Mapping[str, Any], *, dataset: Any, model: Any) -> dict[str, Any]:
    added = teach(dataset=dataset, teacher=model, **taken(given, "replay_fraction", **LOSS))
    added.set_display_name("replay")
    whole_machine(added)
    return {"learnt": added.outputs["taught"]}


def train_part(form: Form) -> Part:
    """Select a backbone → check the budget, or plan the time box → fine-tune → fine-tune on, as the baseline.

    Out: `tuned`, `baseline` and `recipes`; of a search in a time box `plan` and `control`; and `learnt`, the data set
    with what is replayed, where anything can be.
    """
    replay = replay_part(form)

    def body(given: Mapping[str, Any], *, dataset: Any) -> dict[str, Any]:
        return _train(replay, given, dataset=dataset)

    return part(
        "train",
        "Selects a backbone and fine-tunes it. The baseline trains as much longer as a student is distilled.",
        body,
        artifacts={"dataset": dsl.Dataset},
        parameters=checked_types(form),
        outputs={
            "tuned": dsl.Model,
            "baseline": dsl.Model,
            "recipes": list[dict],
            **({"plan": dict, "control": dsl.Model} if form.kind == "race" else {}),
            **({"learnt": dsl.Dataset} if replay else {}),
        },
    )


def _train(replay: Part | None, given: Mapping[str, Any], *, dataset: Any) -> dict[str, Any]:
    selected = backbone_selection(
        dataset=dataset,
        **taken(
            given,
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
    timed = "deadline" in given
    if timed:
        checked = plan_time(selected.outputs["model"], dataset, given)
        given = {**given, "epochs": checked.outputs["epochs"], "distill_epochs": checked.outputs["further_epochs"]}
    else:
        checked = check_budget(selected.outputs["model"], given)
    learnt = dataset
    if replay:
        learnt = replay(given, dataset=dataset, model=selected.outputs["model"]).after(checked).outputs["learnt"]

    tuned = fine_tune(
        dataset=learnt,
        model=selected.outputs["model"],
        **taken(given, *TUNING, "epochs", "head_epochs", "learning_rate", **LOSS),
    )
    tuned.after(checked)
    whole_machine(tuned)

    baseline = fine_tune(
        dataset=learnt,
        model=tuned.outputs["tuned"],
        head_epochs=0,
        **taken(given, *TUNING, **FURTHER, **LOSS),
    )
    baseline.set_display_name("baseline")
    whole_machine(baseline)
    made = {
        "tuned": tuned.outputs["tuned"],
        "baseline": baseline.outputs["tuned"],
        **({"learnt": learnt} if replay else {}),
    }
    if not timed:
        return {**made, "recipes": checked.outputs["recipes"]}
    paced = pace(recipes=checked.outputs["recipes"], plan=checked.outputs["plan"], **taken(given, "deadline"))
    light(paced.after(baseline))
    return {
        **made,
        "recipes": paced.outputs["recipes"],
        "plan": paced.outputs["plan"],
        "control": checked.outputs["control"],
    }


def plan_time(model: Any, dataset: Any, given: Mapping[str, Any]) -> dsl.PipelineTask:
    """The task that plans a search for the time that is left; it gives epochs and recipes."""
    planned = plan(
        dataset=dataset,
        model=model,
        **taken(
            given, "recipes", "deadline", "time_limit_minutes", "max_latency_ms", "max_size_mb", "batch_size",
            "head_epochs", "round_to", "latency_threads", "catalog", "catalog_state", "seed",
            settings="network_settings",
        ),
    )  # fmt: skip
    # Alone on the machine: it measures.
    whole_machine(planned)
    return planned


def check_budget(model: Any, given: Mapping[str, Any]) -> dsl.PipelineTask:
    """The task that refuses a budget which no recipe can meet, before anything is trained; it gives the recipes."""
    checked = budget_check(
        model=model,
        **taken(given, "recipes", "max_latency_ms", "max_size_mb", "prune_to_fit", "round_to", "latency_threads"),
    )
    # Alone on the machine: it measures.
    whole_machine(checked)
    return checked


def compress_part(form: Form) -> Part:
    """Each recipe (prune → distil → quantize → evaluate on validation data) → choose.

    Where labels are sequences, the teacher may write those that are distilled from first.

    In: the data set; `start`, the network that is pruned; `baseline`, which every recipe is measured against, and the
    teacher. Out: `chosen`, `chosen_model` and `decision`.
    """
    return part(
        "compress",
        "Makes a smaller network by each recipe, measures all on validation data, and chooses the best.",
        _compress,
        artifacts={"dataset": dsl.Dataset, "start": dsl.Model, "baseline": dsl.Model},
        parameters=checked_types(form),
        outputs={"chosen": dsl.Model, "chosen_model": dsl.Model, "decision": dsl.Artifact},
    )


def _compress(given: Mapping[str, Any], *, dataset: Any, start: Any, baseline: Any) -> dict[str, Any]:
    lessons = dataset
    if "teacher_beam" in given:
        # Once for all recipes: whatever the students' vocabularies, the teacher says it in words.
        taught = teach(dataset=dataset, teacher=baseline, **taken(given, "teacher_beam"))
        whole_machine(taught)
        lessons = taught.outputs["taught"]

    with dsl.ParallelFor(given["recipes"], name="recipes") as recipe:
        pruned = prune(
            dataset=dataset,
            model=start,
            recipe=recipe,
            **taken(given, "importance", "prune_price", "round_to", "latency_threads", "seed"),
        )
        one_core(pruned)
        made = taught_and_measured(
            given, dataset=dataset, lessons=lessons, teacher=baseline, student=pruned.outputs["pruned"], recipe=recipe
        )

    choice = choose(**made.collected(), **taken(given, "recipes", *LIMITS))
    light(choice)
    return {name: choice.outputs[name] for name in ("chosen", "chosen_model", "decision")}


@dataclass(frozen=True, kw_only=True)
class Student:
    """The tasks of one student, within a loop: distilled, quantized, measured against the baseline."""

    distilled: dsl.PipelineTask
    quantized: dsl.PipelineTask
    measured: dsl.PipelineTask

    @property
    def curves(self) -> Any:
        """Learning curves of all students, with what an epoch took, for a task behind the loop."""
        return dsl.Collected(self.distilled.outputs["curves"])

    def collected(self) -> dict[str, Any]:
        """Inputs for a task behind the loop: ONNX models, networks and evaluations of all students."""
        return {
            "candidates": dsl.Collected(self.quantized.outputs["quantized"]),
            "models": dsl.Collected(self.distilled.outputs["distilled"]),
            "evaluations": dsl.Collected(self.measured.outputs["evaluation"]),
        }


def taught_and_measured(
    given: Mapping[str, Any], *, dataset: Any, lessons: Any, teacher: Any, student: Any, recipe: Any
) -> Student:
    """Distil → quantize → evaluate on validation data, of one student; `lessons` are the data that it learns from."""
    distilled = distill(
        dataset=lessons,
        teacher=teacher,
        student=student,
        recipe=recipe,
        **taken(given, *TRAINING, **SOFT_LOSS, **FURTHER, **LOSS),
    )
    one_core(distilled)
    quantized = quantize(
        dataset=dataset,
        model=distilled.outputs["distilled"],
        recipe=recipe,
        **taken(given, *CALIBRATION),
    )
    one_core(quantized)
    measured = evaluate(
        dataset=dataset,
        candidate=quantized.outputs["quantized"],
        baseline=teacher,
        split=VALIDATION,
        **taken(given, **MEASURING),
    )
    # Alone on the machine, or its neighbour would be measured too.
    whole_machine(measured)
    return Student(distilled=distilled, quantized=quantized, measured=measured)


def release_part(form: Form) -> Part:
    """The chosen one and the baseline once on test data → export."""
    return part(
        "release",
        "Evaluates the chosen network and the baseline on the test data, once, and exports the release.",
        _release,
        artifacts={
            "dataset": dsl.Dataset, "candidate": dsl.Model, "model": dsl.Model, "baseline": dsl.Model,
            "decision": dsl.Artifact,
        },
        parameters=checked_types(form),
    )  # fmt: skip


def _release(
    given: Mapping[str, Any], *, dataset: Any, candidate: Any, model: Any, baseline: Any, decision: Any
) -> None:
    final = evaluate(
        dataset=dataset,
        candidate=candidate,
        baseline=baseline,
        split=TEST,
        **taken(given, *LIMITS, *ON_TEST, **MEASURING),
    )
    final.set_display_name("evaluate on test")
    whole_machine(final)

    released = export(
        candidate=candidate,
        model=model,
        baseline=baseline,
        evaluation=final.outputs["evaluation"],
        decision=decision,
        dataset=dataset,
        **taken(given, name="release_name"),
    )
    one_core(released)


def compressed(
    compress: Part,
    dataset: Any,
    given: Mapping[str, Any],
    *,
    recipes: Any,
    start: Any,
    baseline: Any,
) -> SearchResult:
    """Adds the part `compress` to the pipeline, with the recipes that the budget's check gave."""
    made = compress({**given, "recipes": recipes}, dataset=dataset, start=start, baseline=baseline)
    return SearchResult(
        baseline=baseline,
        candidate=made.outputs["chosen"],
        model=made.outputs["chosen_model"],
        decision=made.outputs["decision"],
    )


def search(train: Part, compress: Part, dataset: Any, given: Mapping[str, Any]) -> SearchResult:
    """Adds the parts `train` and `compress` to the pipeline: all on training and validation data."""
    trained = train(given, dataset=dataset)
    learnt = trained.outputs["learnt"] if "replay_fraction" in given else dataset
    return compressed(
        compress, learnt, given, recipes=trained.outputs["recipes"], start=trained.outputs["tuned"],
        baseline=trained.outputs["baseline"],
    )  # fmt: skip
