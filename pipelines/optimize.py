"""The main pipeline: labelled data and a budget in, a verified ONNX release out; one for each task.

Order: check → prepare → select a backbone → fine-tune → for each recipe (prune → distil → quantize → evaluate on
validation data) → choose on the Pareto front → evaluate the chosen one and the baseline once on test data → export.
The baseline trains on for as many epochs as a student is distilled, so that both have seen the same number; it is also
the teacher. The run report is an exit task and is written after a failure too.
"""

from typing import Any

from kfp import dsl

from components.core.parameters import Form
from components.core.tasks.parameters import FIRST, forms
from components.preflight.component import preflight_of
from components.run_report.component import run_report
from pipelines.search import (
    compress_part,
    light,
    pipeline_of,
    prepare_part,
    release_part,
    search,
    train_part,
)

SUMMARY = (
    "Makes a pretrained network small and fast enough for your limits: fine-tunes, prunes, distils and quantizes it, "
    "and releases the best result as verified ONNX."
)


def _pipeline(form: Form) -> Any:
    prepare, train, compress, release = prepare_part(form), train_part(form), compress_part(form), release_part(form)

    def body(form: Form, asked: dict[str, Any]) -> None:
        report = run_report(run_id=dsl.PIPELINE_JOB_ID_PLACEHOLDER, pipeline=form.pipeline, parameters={})
        light(report)

        with dsl.ExitHandler(report, name="run"):
            check = preflight_of(form.pipeline)(**asked)
            light(check)
            # What it checks (files, installed packages) can change while its parameters do not.
            check.set_caching_options(False)
            given = check.outputs

            prepared = prepare(given).outputs["prepared"]
            found = search(train, compress, prepared, given)
            release(
                given, dataset=prepared, candidate=found.candidate, model=found.model, baseline=found.baseline,
                decision=found.decision,
            )  # fmt: skip

    return pipeline_of(form, summary=SUMMARY, body=body)


PIPELINES = {name: _pipeline(form) for name, form in forms().items() if form.kind == "optimize"}
"""By name: the default task's is `optimize`, another task's has the task's name."""

optimize = PIPELINES[FIRST]
