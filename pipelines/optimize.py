"""The main pipeline: labelled data and a budget in, a verified ONNX release out.

Order: check → prepare → select a backbone → fine-tune → for each recipe (prune → distil → quantize → evaluate on
validation data) → choose on the Pareto front → evaluate the chosen one and the baseline once on test data → export.
The baseline trains on for as many epochs as a student is distilled, so that both have seen the same number; it is also
the teacher. The run report is an exit task and is written after a failure too.
"""

from typing import List, Optional

from kfp import dsl

from components.data_prep.component import data_prep
from components.evaluate.component import evaluate
from components.export.component import export
from components.preflight.component import preflight
from components.run_report.component import run_report
from pipelines.search import TEST, light, one_core, search, whole_machine


@dsl.pipeline(
    name="optimize",
    description="Fits a pretrained model to a deployment budget and releases it as verified ONNX.",
)
def optimize(
    dataset: str = "demo",
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
    release_name: str = "model",
    seed: int = 0,
    max_latency_ms: Optional[float] = None,
    max_size_mb: Optional[float] = None,
    max_drop: Optional[float] = None,
    max_parameters_m: Optional[float] = None,
    max_macs_m: Optional[float] = None,
    max_backbone_latency_ms: Optional[float] = None,
):
    """Labelled data and a budget in, a verified ONNX release with its evidence out.

    Args:
        dataset: Labelled data: demo (embedded), a folder with one sub-folder per class, a .parquet, .csv or .jsonl
            file, or an s3:// URI.
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
        release_name: Name of the release in the store.
        seed: Seed of everything random.
        max_latency_ms: Allowed median latency at batch 1 in milliseconds; not given is no limit.
        max_size_mb: Allowed size of the ONNX file in megabytes; not given is no limit.
        max_drop: Allowed loss of accuracy against the fp32 baseline in percentage points; not given is no limit.
        max_parameters_m: Largest backbone in million parameters; not given is no limit.
        max_macs_m: Heaviest backbone in million MACs; not given is no limit.
        max_backbone_latency_ms: Slowest backbone before compression, as fp32 at batch 1; not given is no limit.
    """
    # By name: the preflight task takes all of them, the search many.
    asked = dict(locals())
    report = run_report(run_id=dsl.PIPELINE_JOB_ID_PLACEHOLDER, pipeline="optimize", parameters={})
    light(report)

    with dsl.ExitHandler(report, name="run"):
        checked = preflight(**asked)
        light(checked)
        # What it checks (files, installed packages) can change while its parameters do not.
        checked.set_caching_options(False)

        data = data_prep(
            dataset=dataset,
            task=task,
            validation_fraction=validation_fraction,
            test_fraction=test_fraction,
            max_image_mb=max_image_mb,
            slice_columns=slice_columns,
            dataset_state=checked.outputs["dataset_state"],
        )
        light(data)

        found = search(data.outputs["prepared"], checked, asked)

        final = evaluate(
            dataset=data.outputs["prepared"],
            candidate=found.candidate,
            baseline=found.baseline,
            split=TEST,
            threads=latency_threads,
            latency_rounds=latency_rounds,
            max_latency_ms=max_latency_ms,
            max_size_mb=max_size_mb,
            max_drop=max_drop,
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
            name=release_name,
        )
        one_core(released)
