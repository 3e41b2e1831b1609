"""The scheduled pipeline: newest data against the champion; a better release takes its place, or nothing changes.

Order: read the champion and check → prepare → drift against the champion's data → decide: skip, fine-tune the champion,
or search anew → evaluate the challenger against its float32 network and against the champion, on the same test data →
judge → export → promote by compare-and-swap. Whatever fails before the swap leaves the champion untouched. The run
report is an exit task, written after a failure too, and tells a webhook if there is one.
"""

from typing import Any, List, Optional

from kfp import dsl, kubernetes

from components.core.retraining import FINE_TUNE, OPTIMIZE
from components.data_prep.component import data_prep
from components.decide.component import decide
from components.drift.component import drift
from components.evaluate.component import evaluate
from components.export.component import export
from components.fine_tune.component import fine_tune
from components.incumbent.component import incumbent
from components.judge.component import judge
from components.preflight.component import preflight
from components.promote.component import promote
from components.quantize.component import quantize
from components.run_report.component import run_report
from pipelines.search import TEST, TRAINING, Found, light, one_core, search, whole_machine

WEBHOOK_SECRET = "trimtab-webhook"
"""The Kubernetes secret with the keys `url` and `signing-key`; without it nobody is told."""

# What `incumbent` checks before anything is done, and what `decide` takes of it.
_POLICY = (
    "action", "min_new_images", "max_quarantined", "min_growth", "drift_alpha", "label_shift", "large_label_shift",
    "feature_drift", "large_feature_drift",
)  # fmt: skip
_ONLY_HERE = (
    *_POLICY,
    "champion",
    "drift_images",
    "tune_epochs",
    "tune_learning_rate",
    "max_loss",
    "max_class_loss",
    "max_slice_loss",
)


def _fine_tuned(dataset: Any, champion: dsl.PipelineTask, decided: dsl.PipelineTask, asked: dict[str, Any]) -> Found:
    """The champion's own network, pruned as it is, trained on and quantized anew."""
    tuned = fine_tune(
        dataset=dataset,
        model=champion.outputs["model"],
        epochs=asked["tune_epochs"],
        head_epochs=0,
        learning_rate=asked["tune_learning_rate"],
        label_smoothing=asked["label_smoothing"],
        **{name: asked[name] for name in TRAINING},
    )
    tuned.set_display_name("fine-tune the champion")
    whole_machine(tuned)
    quantized = quantize(
        dataset=dataset,
        model=tuned.outputs["tuned"],
        scheme="int8",
        calibration_method=asked["calibration_method"],
        calibration_images=asked["calibration_images"],
        seed=asked["seed"],
    )
    one_core(quantized)
    return Found(
        baseline=tuned.outputs["tuned"],
        candidate=quantized.outputs["quantized"],
        model=tuned.outputs["tuned"],
        decision=decided.outputs["decision"],
    )


def _contest(
    challenger: Found, dataset: Any, champion: dsl.PipelineTask, decided: dsl.PipelineTask, asked: dict[str, Any]
) -> None:
    """Both on the same test images, the judgement, the release, and the swap if the judgement allows it."""
    measuring = {"split": TEST, "threads": asked["latency_threads"], "latency_rounds": asked["latency_rounds"]}
    measured = evaluate(
        dataset=dataset,
        candidate=challenger.candidate,
        baseline=challenger.baseline,
        **measuring,
        **{limit: asked[limit] for limit in ("max_latency_ms", "max_size_mb", "max_drop")},
    )
    measured.set_display_name("evaluate on test")
    whole_machine(measured)
    duel = evaluate(dataset=dataset, candidate=challenger.candidate, baseline=champion.outputs["served"], **measuring)
    duel.set_display_name("challenger against champion")
    whole_machine(duel)

    judged = judge(
        evaluation=measured.outputs["evaluation"],
        duel=duel.outputs["evaluation"],
        decision=decided.outputs["decision"],
        max_loss=asked["max_loss"],
        max_class_loss=asked["max_class_loss"],
        max_slice_loss=asked["max_slice_loss"],
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
            champion=asked["champion"],
            state=champion.outputs["state"],
            run_id=dsl.PIPELINE_JOB_ID_PLACEHOLDER,
        )
        light(promoted.set_caching_options(False))


@dsl.pipeline(
    name="retrain",
    description="Retrains the champion when the data ask for it, and promotes what is not worse.",
)
def retrain(
    dataset: str = "demo",
    champion: str = "champion",
    action: str = "auto",
    min_new_images: int = 100,
    max_quarantined: float = 0.1,
    min_growth: float = 0.25,
    drift_alpha: float = 0.01,
    label_shift: float = 0.1,
    large_label_shift: float = 0.3,
    feature_drift: float = 0.6,
    large_feature_drift: float = 0.8,
    drift_images: int = 500,
    tune_epochs: int = 2,
    tune_learning_rate: float = 0.0003,
    max_loss: float = 1.0,
    max_class_loss: float = 5.0,
    max_slice_loss: float = 5.0,
    task: str = "classification",
    backbones: List[str] = ["efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2"],  # noqa: B006
    catalog: str = "",
    image_size: int = 64,
    validation_fraction: float = 0.15,
    test_fraction: float = 0.25,
    max_image_mb: float = 20.0,
    slice_columns: str = "",
    epochs: int = 3,
    head_epochs: int = 30,
    batch_size: int = 64,
    optimizer: str = "adamw",
    learning_rate: float = 0.001,
    schedule: str = "polynomial",
    power: float = 1.0,
    step_epochs: int = 1,
    step_gamma: float = 0.5,
    warmup_fraction: float = 0.05,
    momentum: float = 0.9,
    weight_decay: float = 0.05,
    layer_decay: float = 0.9,
    label_smoothing: float = 0.0,
    ema_decay: float = 0.95,
    precision: str = "auto",
    batch_norm: str = "frozen",
    patience: int = 0,
    checkpoint_seconds: int = 60,
    num_processes: int = 1,
    prune_targets: List[float] = [0.55, 0.45],  # noqa: B006
    importance: str = "taylor",
    round_to: int = 8,
    student_size: int = 0,
    distill_epochs: int = 3,
    distill_learning_rate: float = 0.001,
    distill_alpha: float = 0.9,
    distill_temperature: float = 2.0,
    calibration_method: str = "percentile",
    calibration_images: int = 256,
    latency_threads: int = 1,
    latency_rounds: int = 50,
    seed: int = 0,
    max_latency_ms: Optional[float] = None,
    max_size_mb: Optional[float] = None,
    max_drop: Optional[float] = None,
    max_parameters_m: Optional[float] = None,
    max_macs_m: Optional[float] = None,
    max_backbone_latency_ms: Optional[float] = None,
):
    """The newest data in; a release that is not worse than the champion takes its place.

    Args:
        dataset: Labelled data: demo (embedded), a folder with one sub-folder per class, a .parquet, .csv or .jsonl
            file, or an s3:// URI.
        champion: Name of the ref that points at the release in office; trimtab champion shows it.
        action: auto decides by the data; skip, fine-tune or optimize is done whatever they say.
        min_new_images: Fewer new images than this are waited for.
        max_quarantined: Share of the newly arrived files that may be unusable; above it nothing is trained.
        min_growth: New images, as a share of the champion's data, that are reason enough to fine-tune.
        drift_alpha: p-value at or below which a difference counts as drift.
        label_shift: Total variation distance of the class mix, 0 to 1, from which the champion is fine-tuned.
        large_label_shift: The same, from which a new search is made.
        feature_drift: How well a classifier tells new images from old (AUC, 0.5 to 1), from which to fine-tune.
        large_feature_drift: The same, from which a new search is made.
        drift_images: Images of each side that the feature test looks at.
        tune_epochs: Epochs of fine-tuning the champion.
        tune_learning_rate: Learning rate of fine-tuning the champion.
        max_loss: Points of top-1 that a challenger may lose against the champion; the paired test must exclude more.
        max_class_loss: Points that one class may lose; a larger loss that is no chance forbids the promotion.
        max_slice_loss: The same for one slice of the test images (slice_columns).
        task: What the model predicts: classification.
        backbones: Names of the candidate backbones from the catalog; one is chosen, within the limits.
        catalog: YAML file with further backbones or mirrors; empty for the built-in catalog alone.
        image_size: Input size of the model in pixels; 0 takes each backbone's own.
        validation_fraction: Share of the data that every choice is made on.
        test_fraction: Share of the data that is read once, at the end.
        max_image_mb: Larger files are quarantined, in megabytes.
        slice_columns: Columns of the table, comma-separated, whose values are slices: groups of images that are judged
            one by one, as classes are. Empty for none.
        epochs: Epochs of fine-tuning.
        head_epochs: Epochs of the new head on frozen, cached features, before anything else is trained.
        batch_size: Images in an optimizer step.
        optimizer: adamw or sgd.
        learning_rate: Learning rate of fine-tuning at the head, after warm-up.
        schedule: polynomial, step, cosine or constant; applied at every optimizer step.
        power: Exponent of the polynomial schedule η₀(1−t/T)^γ.
        step_epochs: Epochs between two reductions of the step schedule.
        step_gamma: Factor of each reduction of the step schedule.
        warmup_fraction: Share of the steps with a linearly rising learning rate.
        momentum: Momentum of SGD.
        weight_decay: Weight decay; normalisation layers and biases are excluded.
        layer_decay: Factor on the learning rate for each layer group further from the head; 1 is none.
        label_smoothing: Label smoothing of the hard-label loss.
        ema_decay: Decay of the moving average of the weights per step; 0 is none.
        precision: auto, float32 or bfloat16.
        batch_norm: frozen keeps the pretrained model's statistics (best for little data), train takes the batches'.
        patience: Epochs without a better validation accuracy before training stops; 0 never stops early.
        checkpoint_seconds: Seconds between two resumable checkpoints.
        num_processes: Processes that share each batch in training (on CUDA one a device); it must divide batch_size.
        prune_targets: Fractions of the multiply-accumulates to keep, one recipe each, in (0, 1].
        importance: How channels are ranked for pruning: taylor or magnitude.
        round_to: Channels are kept in multiples of this.
        student_size: Input size of the compressed model in pixels; 0 keeps the image size.
        distill_epochs: Epochs of distillation; the baseline trains on for as many.
        distill_learning_rate: Learning rate of distillation and of the baseline's further epochs.
        distill_alpha: Weight of the teacher in the loss (1−α)·L₀ + α·T²·KL.
        distill_temperature: Temperature T of the softened outputs.
        calibration_method: minmax, percentile or entropy.
        calibration_images: Training images that set the activation ranges of the int8 model.
        latency_threads: Threads of onnxruntime while latency is measured.
        latency_rounds: Interleaved rounds of the latency measurement.
        seed: Seed of everything random.
        max_latency_ms: Allowed median latency at batch 1 in milliseconds; not given is no limit.
        max_size_mb: Allowed size of the ONNX file in megabytes; not given is no limit.
        max_drop: Allowed loss of accuracy against the fp32 baseline in percentage points; not given is no limit.
        max_parameters_m: Largest backbone in million parameters; not given is no limit.
        max_macs_m: Heaviest backbone in million MACs; not given is no limit.
        max_backbone_latency_ms: Slowest backbone before compression, as fp32 at batch 1; not given is no limit.
    """
    asked = dict(locals())
    report = run_report(run_id=dsl.PIPELINE_JOB_ID_PLACEHOLDER, pipeline="retrain", parameters={})
    light(report)
    kubernetes.use_secret_as_env(
        report, WEBHOOK_SECRET, {"url": "TRIMTAB_WEBHOOK_URL", "signing-key": "TRIMTAB_WEBHOOK_KEY"}, optional=True
    )

    with dsl.ExitHandler(report, name="run"):
        champion_now = incumbent(**{name: asked[name] for name in _ONLY_HERE})
        # Who is in office is asked anew each time.
        light(champion_now.set_caching_options(False))
        name = champion_now.outputs["name"]

        checked = preflight(release_name=name, **{key: asked[key] for key in asked if key not in _ONLY_HERE})
        light(checked.set_caching_options(False))

        data = data_prep(
            dataset=dataset,
            task=task,
            validation_fraction=validation_fraction,
            test_fraction=test_fraction,
            max_image_mb=max_image_mb,
            slice_columns=slice_columns,
            dataset_state=checked.outputs["dataset_state"],
            previous=champion_now.outputs["latest"],
            remember=champion_now.outputs["prepared"],
        )
        light(data)

        moved = drift(
            dataset=data.outputs["prepared"],
            reference=champion_now.outputs["reference"],
            model=champion_now.outputs["model"],
            max_images=drift_images,
            seed=seed,
        )
        one_core(moved)

        decided = decide(
            drift=moved.outputs["drift"],
            name=name,
            version=champion_now.outputs["version"],
            **{key: asked[key] for key in _POLICY},
        )
        light(decided)

        # The contest stands in each branch, and not once behind a OneOf: it compares what its own branch has made.
        with dsl.If(decided.outputs["action"] == FINE_TUNE, name="fine-tune"):
            challenger = _fine_tuned(data.outputs["prepared"], champion_now, decided, asked)
            _contest(challenger, data.outputs["prepared"], champion_now, decided, asked)
        with dsl.Elif(decided.outputs["action"] == OPTIMIZE, name="search"):
            challenger = search(data.outputs["prepared"], checked, asked)
            _contest(challenger, data.outputs["prepared"], champion_now, decided, asked)
