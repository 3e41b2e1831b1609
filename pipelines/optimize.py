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
from components.data_prep.component import data_prep
from components.evaluate.component import evaluate
from components.export.component import export
from components.preflight.component import preflight_of
from components.run_report.component import run_report
from pipelines.search import LIMITS, MEASURING, TEST, light, one_core, pipeline_of, search, taken, whole_machine

SUMMARY = "Fits a pretrained model to a deployment budget and releases it as verified ONNX."

# What of the data preparation is asked, and what tells its cache that the files have changed.
DATA = (
    "dataset", "task", "validation_fraction", "test_fraction", "max_image_mb", "slice_columns", "dataset_state",
    "split", "rare_classes", "near_duplicates", "allow_paths",
)  # fmt: skip


def _body(form: Form, asked: dict[str, Any]) -> None:
    report = run_report(run_id=dsl.PIPELINE_JOB_ID_PLACEHOLDER, pipeline=form.pipeline, parameters={})
    light(report)

    with dsl.ExitHandler(report, name="run"):
        checked = preflight_of(form.pipeline)(**asked)
        light(checked)
        # What it checks (files, installed packages) can change while its parameters do not.
        checked.set_caching_options(False)

        data = data_prep(**taken(checked, *DATA, settings="data_settings"))
        one_core(data)

        found = search(data.outputs["prepared"], checked)

        final = evaluate(
            dataset=data.outputs["prepared"],
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
            dataset=data.outputs["prepared"],
            **taken(checked, name="release_name"),
        )
        one_core(released)


PIPELINES = {
    name: pipeline_of(form, summary=SUMMARY, body=_body) for name, form in forms().items() if not form.retrains
}
"""By name: the default task's is `optimize`, another task's has the task's name."""

optimize = PIPELINES[FIRST]
