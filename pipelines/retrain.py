"""The scheduled pipeline: newest data against the champion; a better release takes its place, or nothing changes. One
for each task.

Order: check → read the champion → prepare → drift against the champion's data → decide: skip, fine-tune the champion,
or search anew → evaluate the challenger against its float32 network, the champion and the anchor (the best release that
is proven), on the same test data → judge → export → promote by compare-and-swap. Whatever fails before the swap leaves
the champion untouched. The run report is an exit task, written after a failure too, and tells a webhook if there is
one.
"""

from typing import Any

from kfp import dsl, kubernetes

from components.core.parameters import Form
from components.core.retraining import FINE_TUNE, OPTIMIZE
from components.core.tasks.parameters import RETRAINING, forms
from components.data_prep.component import data_prep
from components.decide.component import decide
from components.drift.component import drift
from components.evaluate.component import evaluate
from components.export.component import export
from components.fine_tune.component import fine_tune
from components.incumbent.component import incumbent
from components.judge.component import judge
from components.preflight.component import preflight_of
from components.promote.component import promote
from components.quantize.component import quantize
from components.run_report.component import run_report
from pipelines.search import (
    CALIBRATION,
    DATA,
    LIMITS,
    LOSS,
    MEASURING,
    TEST,
    TRAINING,
    Found,
    light,
    one_core,
    pipeline_of,
    search,
    taken,
    whole_machine,
)

SUMMARY = "Retrains the champion when the data ask for it, and promotes what is not worse."

WEBHOOK_SECRET = "trimtab-webhook"
"""The Kubernetes secret with the keys `url` and `signing-key`; without it nobody is told."""

# What `decide` takes of the policy.
POLICY = (
    "action", "min_new_images", "max_quarantined", "min_growth", "drift_alpha", "label_shift", "large_label_shift",
    "feature_drift", "large_feature_drift",
)  # fmt: skip
MARGINS = ("max_loss", "max_class_loss", "max_slice_loss")


def _fine_tuned(
    dataset: Any, champion: dsl.PipelineTask, decided: dsl.PipelineTask, checked: dsl.PipelineTask
) -> Found:
    """The champion's own network, pruned as it is, trained on and quantized anew."""
    tuned = fine_tune(
        dataset=dataset,
        model=champion.outputs["model"],
        head_epochs=0,
        **taken(
            checked, *TRAINING, "label_smoothing", epochs="tune_epochs", learning_rate="tune_learning_rate", **LOSS
        ),
    )
    tuned.set_display_name("fine-tune the champion")
    whole_machine(tuned)
    quantized = quantize(
        dataset=dataset,
        model=tuned.outputs["tuned"],
        recipe=decided.outputs["recipe"],
        **taken(checked, *CALIBRATION),
    )
    one_core(quantized)
    return Found(
        baseline=tuned.outputs["tuned"],
        candidate=quantized.outputs["quantized"],
        model=tuned.outputs["tuned"],
        decision=decided.outputs["decision"],
    )


def _contest(
    challenger: Found,
    dataset: Any,
    champion: dsl.PipelineTask,
    decided: dsl.PipelineTask,
    moved: dsl.PipelineTask,
    checked: dsl.PipelineTask,
) -> None:
    """Challenger, champion and anchor on the same test images, the judgement, the release, and the swap if allowed."""
    part = {"part": champion.outputs["part"], **taken(checked, parts="test_parts")}
    measured = evaluate(
        dataset=dataset,
        candidate=challenger.candidate,
        baseline=challenger.baseline,
        split=TEST,
        seen=moved.outputs["drift"],
        **part,
        **taken(checked, *LIMITS, **MEASURING),
    )
    measured.set_display_name("evaluate on test")
    whole_machine(measured)
    duel = evaluate(
        dataset=dataset,
        candidate=challenger.candidate,
        baseline=champion.outputs["served"],
        split=TEST,
        samples=0,
        seen=moved.outputs["drift"],
        **part,
        **taken(checked, **MEASURING),
    )
    duel.set_display_name("challenger against champion")
    whole_machine(duel)
    anchored = evaluate(
        dataset=dataset,
        candidate=challenger.candidate,
        baseline=champion.outputs["anchor_served"],
        split=TEST,
        samples=0,
        seen=moved.outputs["drift"],
        **part,
        **taken(checked, **MEASURING),
    )
    anchored.set_display_name("challenger against the anchor")
    # Where the champion is the anchor, this is the same task, and its result is there by then.
    whole_machine(anchored.after(duel))

    judged = judge(
        evaluation=measured.outputs["evaluation"],
        duel=duel.outputs["evaluation"],
        decision=decided.outputs["decision"],
        anchor_duel=anchored.outputs["evaluation"],
        anchor=champion.outputs["anchor"],
        part_uses=champion.outputs["part_uses"],
        **taken(checked, *MARGINS),
    )
    light(judged)

    released = export(
        candidate=challenger.candidate,
        model=challenger.model,
        baseline=challenger.baseline,
        evaluation=measured.outputs["evaluation"],
        decision=challenger.decision,
        dataset=dataset,
        name=champion.outputs["name"],
        retraining=judged.outputs["judgement"],
    )
    one_core(released)

    with dsl.If(judged.outputs["verdict"] == "promote", name="promote"):
        promoted = promote(
            release=released.outputs["release"],
            judgement=judged.outputs["judgement"],
            state=champion.outputs["state"],
            run_id=dsl.PIPELINE_JOB_ID_PLACEHOLDER,
            **taken(checked, "champion"),
        )
        light(promoted.set_caching_options(False))


def _body(form: Form, asked: dict[str, Any]) -> None:
    report = run_report(run_id=dsl.PIPELINE_JOB_ID_PLACEHOLDER, pipeline=form.pipeline, parameters={})
    light(report)
    kubernetes.use_secret_as_env(
        report, WEBHOOK_SECRET, {"url": "TRIMTAB_WEBHOOK_URL", "signing-key": "TRIMTAB_WEBHOOK_KEY"}, optional=True
    )

    with dsl.ExitHandler(report, name="run"):
        checked = preflight_of(form.pipeline)(**asked)
        # What it checks can change while its parameters do not, and so can the champion.
        light(checked.set_caching_options(False))
        champion_now = incumbent(**taken(checked, "champion", "test_parts"))
        light(champion_now.set_caching_options(False))

        data = data_prep(
            previous=champion_now.outputs["latest"],
            remember=champion_now.outputs["prepared"],
            **taken(checked, *DATA, settings="data_settings"),
        )
        one_core(data)

        moved = drift(
            dataset=data.outputs["prepared"],
            reference=champion_now.outputs["reference"],
            model=champion_now.outputs["model"],
            anchor_reference=champion_now.outputs["anchor_reference"],
            **taken(checked, "seed", max_images="drift_images"),
        )
        one_core(moved)

        decided = decide(
            drift=moved.outputs["drift"],
            name=champion_now.outputs["name"],
            version=champion_now.outputs["version"],
            **taken(checked, *POLICY),
        )
        light(decided)

        # The contest stands in each branch, and not once behind a OneOf: it compares what its own branch has made.
        with dsl.If(decided.outputs["action"] == FINE_TUNE, name="fine-tune"):
            challenger = _fine_tuned(data.outputs["prepared"], champion_now, decided, checked)
            _contest(challenger, data.outputs["prepared"], champion_now, decided, moved, checked)
        with dsl.Elif(decided.outputs["action"] == OPTIMIZE, name="search"):
            challenger = search(data.outputs["prepared"], checked)
            _contest(challenger, data.outputs["prepared"], champion_now, decided, moved, checked)


PIPELINES = {
    name: pipeline_of(form, summary=SUMMARY, body=_body) for name, form in forms().items() if form.kind == "retrain"
}
"""By name: the default task's is `retrain`, another task's `retrain_TASK`."""

retrain = PIPELINES[RETRAINING]
