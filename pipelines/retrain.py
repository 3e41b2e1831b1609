"""The scheduled pipeline: newest data against the champion; a better release takes its place, or nothing changes. One
for each task.

Order: check → read the champion → prepare → drift against the champion's data → decide: skip, fine-tune the champion,
or search again → evaluate the challenger against its float32 network, the champion, the best proven release and the
first release of the year, on the same test data → judge → export → promote by compare-and-swap. Whatever fails before
the swap leaves the champion untouched. The run report is an exit task, written after a failure too, and tells a webhook
if there is one.
"""

from collections.abc import Mapping
from typing import Any

from kfp import dsl, kubernetes

from components.core.parameters import Form
from components.core.retraining import FINE_TUNE, OPTIMIZE
from components.core.tasks.parameters import RETRAINING, forms
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
from pipelines.parts import Part, part
from pipelines.search import (
    CALIBRATION,
    LIMITS,
    LOSS,
    MEASURING,
    ON_TEST,
    TEST,
    TUNING,
    SearchResult,
    checked_types,
    compress_part,
    light,
    one_core,
    pipeline_of,
    prepare_part,
    replay_part,
    search,
    taken,
    train_part,
    whole_machine,
)

SUMMARY = (
    "Retrains the champion, the release now in use, when the data have changed; the new release takes its place if it "
    "is not worse."
)

WEBHOOK_SECRET = "trimtab-webhook"
"""The Kubernetes secret with the keys `url` and `signing-key`; without it nobody is told."""

# What `decide` takes of the policy.
POLICY = (
    "action", "min_new_images", "max_quarantined", "min_growth", "drift_alpha", "label_shift", "large_label_shift",
    "feature_drift", "large_feature_drift",
)  # fmt: skip
MARGINS = ("max_loss", "max_class_loss", "max_slice_loss")


def _fine_tuned(
    replay: Part | None,
    dataset: Any,
    champion: dsl.PipelineTask,
    decided: dsl.PipelineTask,
    given: Mapping[str, Any],
) -> SearchResult:
    """The champion's own network, pruned as it is, trained further and quantized again."""
    model = champion.outputs["model"]
    learnt = replay(given, dataset=dataset, model=model).outputs["learnt"] if replay else dataset
    tuned = fine_tune(
        dataset=learnt,
        model=model,
        head_epochs=0,
        **taken(given, *TUNING, epochs="tune_epochs", learning_rate="tune_learning_rate", **LOSS),
    )
    tuned.set_display_name("fine-tune the champion")
    whole_machine(tuned)
    quantized = quantize(
        dataset=dataset,
        model=tuned.outputs["tuned"],
        recipe=decided.outputs["recipe"],
        **taken(given, *CALIBRATION),
    )
    one_core(quantized)
    return SearchResult(
        baseline=tuned.outputs["tuned"],
        candidate=quantized.outputs["quantized"],
        model=tuned.outputs["tuned"],
        decision=decided.outputs["decision"],
    )


def _measure_part(form: Form) -> Part:
    """Challenger against its float32 network, the champion and both anchors, on the same test images.

    Out: `evaluation`, `duel`, `anchor_duel` and `year_duel`.
    """
    return part(
        "measure",
        "Compares the challenger with its float32 network, the champion and two earlier releases, on the same test "
        "data.",
        _measure,
        artifacts={
            "dataset": dsl.Dataset, "candidate": dsl.Model, "baseline": dsl.Model, "champion": dsl.Model,
            "anchor": dsl.Model, "first_of_year": dsl.Model, "drift": dsl.Artifact,
        },
        parameters=checked_types(form) | {"test_part": int},
        outputs=dict.fromkeys(("evaluation", "duel", "anchor_duel", "year_duel"), dsl.Artifact),
    )  # fmt: skip


def _measure(
    given: Mapping[str, Any],
    *,
    dataset: Any,
    candidate: Any,
    baseline: Any,
    champion: Any,
    anchor: Any,
    first_of_year: Any,
    drift: Any,
) -> dict[str, Any]:
    part = taken(given, part="test_part", parts="test_parts")
    measured = evaluate(
        dataset=dataset,
        candidate=candidate,
        baseline=baseline,
        split=TEST,
        seen=drift,
        **part,
        **taken(given, *LIMITS, *ON_TEST, **MEASURING),
    )
    measured.set_display_name("evaluate on test")
    whole_machine(measured)
    against = {"dataset": dataset, "candidate": candidate, "split": TEST, "samples": 0, "seen": drift, **part}
    made, before = {"evaluation": measured.outputs["evaluation"]}, None
    for output, opponent, known in (
        ("duel", champion, "champion"),
        ("anchor_duel", anchor, "best proven release"),
        ("year_duel", first_of_year, "first release of the year"),
    ):
        duel = evaluate(baseline=opponent, **against, **taken(given, **MEASURING))
        duel.set_display_name(f"challenger against {known}")
        # In turn: of one release that is two of these, the second task finds the first one's result.
        whole_machine(duel.after(before) if before else duel)
        made[output], before = duel.outputs["evaluation"], duel
    return made


# What the contest is told of the champion: the output of `incumbent` by its name here.
_OF_CHAMPION = {
    "champion_name": "name", "champion_state": "state", "anchors": "anchors", "test_part": "part",
    "part_uses": "part_uses",
}  # fmt: skip


def _contest_part(form: Form) -> Part:
    """Measure challenger, champion and anchors → judge → export → promote, if the judgement allows it."""
    measure = _measure_part(form)
    types = {"champion_name": str, "champion_state": str, "anchors": list, "test_part": int, "part_uses": list}

    def body(given: Mapping[str, Any], **artifacts: Any) -> None:
        _contest(measure, given, **artifacts)

    return part(
        "contest",
        "Compares the challenger with the champion and two earlier releases, exports it, and promotes it if it is not "
        "worse.",
        body,
        artifacts={
            "dataset": dsl.Dataset, "candidate": dsl.Model, "model": dsl.Model, "baseline": dsl.Model,
            "choice": dsl.Artifact, "served": dsl.Model, "anchor_served": dsl.Model, "year_served": dsl.Model,
            "drift": dsl.Artifact, "decision": dsl.Artifact,
        },
        parameters=checked_types(form) | types,
    )  # fmt: skip


def _contest(
    measure: Part,
    given: Mapping[str, Any],
    *,
    dataset: Any,
    candidate: Any,
    model: Any,
    baseline: Any,
    choice: Any,
    served: Any,
    anchor_served: Any,
    year_served: Any,
    drift: Any,
    decision: Any,
) -> None:
    measured = measure(
        given, dataset=dataset, candidate=candidate, baseline=baseline, champion=served, anchor=anchor_served,
        first_of_year=year_served, drift=drift,
    )  # fmt: skip
    judged = judge(
        evaluation=measured.outputs["evaluation"],
        duel=measured.outputs["duel"],
        decision=decision,
        anchor_duel=measured.outputs["anchor_duel"],
        year_duel=measured.outputs["year_duel"],
        anchors=given["anchors"],
        part_uses=given["part_uses"],
        **taken(given, *MARGINS),
    )
    light(judged)

    released = export(
        candidate=candidate,
        model=model,
        baseline=baseline,
        evaluation=measured.outputs["evaluation"],
        decision=choice,
        dataset=dataset,
        name=given["champion_name"],
        retraining=judged.outputs["judgement"],
    )
    one_core(released)

    with dsl.If(judged.outputs["verdict"] == "promote", name="promote"):
        promoted = promote(
            release=released.outputs["release"],
            judgement=judged.outputs["judgement"],
            state=given["champion_state"],
            run_id=dsl.PIPELINE_JOB_ID_PLACEHOLDER,
            **taken(given, "champion"),
        )
        light(promoted.set_caching_options(False))


def _pipeline(form: Form) -> Any:
    parts = {
        "prepare": prepare_part(form, growing=True), "train": train_part(form), "compress": compress_part(form),
        "contest": _contest_part(form),
    }  # fmt: skip
    replay = replay_part(form)

    def body(form: Form, asked: dict[str, Any]) -> None:
        _body(form, asked, replay=replay, **parts)

    return pipeline_of(form, summary=SUMMARY, body=body)


def _body(
    form: Form,
    asked: dict[str, Any],
    *,
    replay: Part | None,
    prepare: Part,
    train: Part,
    compress: Part,
    contest: Part,
) -> None:
    report = run_report(run_id=dsl.PIPELINE_JOB_ID_PLACEHOLDER, pipeline=form.pipeline, parameters={})
    light(report)
    kubernetes.use_secret_as_env(
        report, WEBHOOK_SECRET, {"url": "TRIMTAB_WEBHOOK_URL", "signing-key": "TRIMTAB_WEBHOOK_KEY"}, optional=True
    )

    with dsl.ExitHandler(report, name="run"):
        checked = preflight_of(form.pipeline)(**asked)
        # What it checks can change while its parameters do not, and so can the champion.
        light(checked.set_caching_options(False))
        given = checked.outputs
        champion_now = incumbent(**taken(given, "champion", "test_parts"))
        light(champion_now.set_caching_options(False))

        prepared = prepare(
            {**given, "remember": champion_now.outputs["prepared"]}, previous=champion_now.outputs["latest"]
        ).outputs["prepared"]

        moved = drift(
            dataset=prepared,
            reference=champion_now.outputs["reference"],
            model=champion_now.outputs["model"],
            anchor_reference=champion_now.outputs["anchor_reference"],
            year_reference=champion_now.outputs["year_reference"],
            **taken(given, "seed", max_images="drift_images"),
        )
        one_core(moved)

        decided = decide(
            drift=moved.outputs["drift"],
            name=champion_now.outputs["name"],
            version=champion_now.outputs["version"],
            **taken(given, "recipes", *POLICY),
        )
        light(decided)

        known = {**given, **{name: champion_now.outputs[output] for name, output in _OF_CHAMPION.items()}}

        def compete(challenger: SearchResult) -> None:
            contest(
                known, dataset=prepared, candidate=challenger.candidate, model=challenger.model,
                baseline=challenger.baseline, choice=challenger.decision, served=champion_now.outputs["served"],
                anchor_served=champion_now.outputs["anchor_served"], year_served=champion_now.outputs["year_served"],
                drift=moved.outputs["drift"], decision=decided.outputs["decision"],
            )  # fmt: skip

        # The contest stands in each branch, and not once behind a OneOf: it compares what its own branch has made.
        with dsl.If(decided.outputs["action"] == FINE_TUNE, name="fine-tune"):
            compete(_fine_tuned(replay, prepared, champion_now, decided, given))
        with dsl.Elif(decided.outputs["action"] == OPTIMIZE, name="search"):
            compete(search(train, compress, prepared, given))


PIPELINES = {name: _pipeline(form) for name, form in forms().items() if form.kind == "retrain"}
"""By name: the default task's is `retrain`, another task's `retrain_TASK`."""

retrain = PIPELINES[RETRAINING]
