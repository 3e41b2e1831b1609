"""The pipeline for a network that its user has trained: a checkpoint, labelled data and a budget in, a verified ONNX
release out; one for each task that can start from one.

Order: check (the checkpoint is read, and built) → prepare the data → take the network over → check the budget → for
each recipe (prune → distil → quantize → evaluate on validation data) → choose on the Pareto front → evaluate the chosen
one and the given network once on test data → export. The given network is the baseline and the teacher, as it is:
nothing is trained but the student, for as many epochs as were asked for. The run report is an exit task and is written
after a failure too.
"""

from typing import Any

from kfp import dsl

from components.adopt.component import adopt
from components.core.parameters import Form
from components.core.tasks.parameters import COMPRESSING, forms
from components.preflight.component import preflight_of
from components.run_report.component import run_report
from pipelines.search import (
    check_budget,
    compress_part,
    compressed,
    light,
    one_core,
    pipeline_of,
    prepare_part,
    release_part,
    taken,
)

SUMMARY = "Compresses a model that you have trained, and releases it as verified ONNX."

# What of the network is asked, and what tells the cache that its file has changed.
NETWORK = ("task", "model", "model_state", "architecture", "classes", "image_size", "mean", "std")


def _pipeline(form: Form) -> Any:
    prepare, compress, release = prepare_part(form), compress_part(form), release_part(form)

    def body(form: Form, asked: dict[str, Any]) -> None:
        report = run_report(run_id=dsl.PIPELINE_JOB_ID_PLACEHOLDER, pipeline=form.pipeline, parameters={})
        light(report)

        with dsl.ExitHandler(report, name="run"):
            check = preflight_of(form.pipeline)(**asked)
            one_core(check)
            # What it checks (files, the store) can change while its parameters do not.
            check.set_caching_options(False)
            given = check.outputs

            prepared = prepare(given).outputs["prepared"]
            taken_over = adopt(dataset=prepared, **taken(given, *NETWORK, settings="network_settings"))
            one_core(taken_over)

            own = taken_over.outputs["adopted"]
            checked = check_budget(own, given)
            found = compressed(compress, prepared, given, recipes=checked.outputs["recipes"], start=own, baseline=own)
            release(
                given, dataset=prepared, candidate=found.candidate, model=found.model, baseline=found.baseline,
                decision=found.decision,
            )  # fmt: skip

    return pipeline_of(form, summary=SUMMARY, body=body)


PIPELINES = {name: _pipeline(form) for name, form in forms().items() if form.kind == "compress"}
"""By name: the default task's is `compress`, another task's `compress_TASK`."""

compress = PIPELINES[COMPRESSING]
