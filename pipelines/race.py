"""The pipeline that searches within a time box: labelled data, limits and minutes in, a verified ONNX release out; one
for each task whose students may see smaller inputs.

Order: check → prepare → select a backbone → plan (a training step is measured; candidates and epochs follow) →
fine-tune → plan again → for each candidate (prune → distil → quantize → evaluate on validation data) → halve: what
cannot win stops → the others continue with the time that is left → choose among all that was measured → evaluate on
test data → export. A plan is numbers of epochs, so each task is a function of its inputs, and the run resumes as any
other.
"""

from collections.abc import Mapping
from typing import Any

from kfp import dsl

from components.choose.component import choose
from components.core.parameters import Form
from components.core.tasks.parameters import RACING, forms
from components.halve.component import halve
from components.pick.component import pick
from components.preflight.component import preflight_of
from components.prune.component import prune
from components.run_report.component import run_report
from pipelines.parts import Part, part
from pipelines.search import (
    LIMITS,
    checked_types,
    light,
    one_core,
    pipeline_of,
    prepare_part,
    release_part,
    taken,
    taught_and_measured,
    train_part,
)

SUMMARY = "Finds the best model that meets your limits, within a given time, and releases it as verified ONNX."


def race_part(form: Form) -> Part:
    """First rung (all candidates) → halve → second rung (the best continue) → choose.

    In: the data set; `start`, the network that is pruned; `control`, a stock network that is tried beside; `baseline`,
    which every student is measured against, and the teacher; `recipes` and `plan`. Out: `chosen`, `chosen_model` and
    `decision`.
    """
    return part(
        "race",
        "Trains all candidates for a while, stops those that cannot win, trains the others further, and chooses the "
        "best.",
        _race,
        artifacts={"dataset": dsl.Dataset, "start": dsl.Model, "control": dsl.Model, "baseline": dsl.Model},
        parameters=checked_types(form) | {"plan": dict},
        outputs={"chosen": dsl.Model, "chosen_model": dsl.Model, "decision": dsl.Artifact},
    )


def _race(given: Mapping[str, Any], *, dataset: Any, start: Any, control: Any, baseline: Any) -> dict[str, Any]:
    with dsl.ParallelFor(given["recipes"], name="first rung") as recipe:
        pruned = prune(
            dataset=dataset,
            model=start,
            control=control,
            recipe=recipe,
            **taken(given, "importance", "round_to", "latency_threads", "seed"),
        )
        one_core(pruned)
        first = taught_and_measured(
            given, dataset=dataset, lessons=dataset, teacher=baseline, student=pruned.outputs["pruned"], recipe=recipe
        )

    halved = halve(**first.collected(), curves=first.curves, **taken(given, "recipes", "plan", "deadline", *LIMITS))
    light(halved)

    # Never empty: the best of the first rung continues even where no time is left, for no epochs then.
    with dsl.ParallelFor(halved.outputs["finalists"], name="second rung") as finalist:
        picked = pick(rung=halved.outputs["rung"], recipe=finalist)
        light(picked)
        second = taught_and_measured(
            given, dataset=dataset, lessons=dataset, teacher=baseline, student=picked.outputs["picked"],
            recipe=finalist,
        )  # fmt: skip

    choice = choose(
        **second.collected(), recipes=halved.outputs["finalists"], rung=halved.outputs["rung"], **taken(given, *LIMITS)
    )
    light(choice)
    return {name: choice.outputs[name] for name in ("chosen", "chosen_model", "decision")}


def _pipeline(form: Form) -> Any:
    prepare, train, race, release = prepare_part(form), train_part(form), race_part(form), release_part(form)

    def body(form: Form, asked: dict[str, Any]) -> None:
        report = run_report(run_id=dsl.PIPELINE_JOB_ID_PLACEHOLDER, pipeline=form.pipeline, parameters={})
        light(report)

        with dsl.ExitHandler(report, name="run"):
            check = preflight_of(form.pipeline)(**asked)
            light(check)
            # It says when the time box ends, and what it checks can change.
            check.set_caching_options(False)
            given = check.outputs

            prepared = prepare(given).outputs["prepared"]
            trained = train(given, dataset=prepared)
            found = race(
                {**given, "recipes": trained.outputs["recipes"], "plan": trained.outputs["plan"]},
                dataset=prepared, start=trained.outputs["tuned"], control=trained.outputs["control"],
                baseline=trained.outputs["baseline"],
            )  # fmt: skip
            release(
                given, dataset=prepared, candidate=found.outputs["chosen"], model=found.outputs["chosen_model"],
                baseline=trained.outputs["baseline"], decision=found.outputs["decision"],
            )  # fmt: skip

    return pipeline_of(form, summary=SUMMARY, body=body)


PIPELINES = {name: _pipeline(form) for name, form in forms().items() if form.kind == "race"}
"""By name: the default task's is `race`, another task's `race_TASK`."""

race = PIPELINES[RACING]
