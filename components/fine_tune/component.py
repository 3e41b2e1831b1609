"""KFP face of fine-tuning."""

from kfp import dsl
from kfp.dsl import HTML, Artifact, Dataset, Input, Metrics, Model, Output

from components.core.results.recall import recalled
from components.images import BASE_IMAGE, TRAIN_IMAGE


@dsl.component(base_image=BASE_IMAGE, target_image=TRAIN_IMAGE)
@recalled
def fine_tune(
    dataset: Input[Dataset],
    model: Input[Model],
    tuned: Output[Model],
    curves: Output[Artifact],
    metrics: Output[Metrics],
    page: Output[HTML],
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
    augment: bool = True,
    patience: int = 0,
    checkpoint_seconds: int = 60,
    seed: int = 0,
    num_processes: int = 1,
    accumulation_steps: int = 1,
    max_gradient_norm: float = -1.0,
    layer_rates: str = "decay",
    batch_tokens: int = 0,
    settings: dict = {},  # noqa: B006
):
    """Trains a pretrained model on the training split: the head on frozen features first, then the whole network.

    The weights of the epoch that is best on the validation split are kept. Progress is saved to the store; the same
    stage with the same inputs continues from it after a kill.

    Args:
        dataset: Prepared data set.
        model: Model to train; with head_epochs 0 one that was trained before is trained further.
        tuned: The trained model, with the input's architecture, labels and preprocessing.
        curves: Learning curves (curves.json).
        metrics: Validation metric and loss of the kept epoch, and its number; for some tasks how far the answers to
            inputs outside of the data have moved since the first training.
        page: Learning curves as a page.
        epochs: Passes of the whole network over the training split.
        head_epochs: Passes of the linear head over features that the frozen network computes once; 0 skips it. Networks
            that begin without a fresh head have none.
        batch_size: Images in an optimizer step.
        optimizer: adamw or sgd (with Nesterov momentum).
        learning_rate: Learning rate of the head at the end of warm-up.
        schedule: polynomial, step, cosine, constant or inverse_sqrt; a function of the optimizer step.
        power: Exponent of the polynomial schedule, rate · (1 − t/T)^power.
        step_epochs: Epochs between two changes of the step schedule.
        step_gamma: Factor of each change of the step schedule, above 0.
        warmup_fraction: Fraction of all steps in which the rate rises linearly, 0 to below 1.
        momentum: Momentum of sgd, β₁ of adamw; 0 to below 1.
        weight_decay: Decay of weights; biases and normalisation parameters have none.
        layer_decay: Factor on the rate for each layer further from the head, above 0 to 1; 1 is the same everywhere.
        label_smoothing: Probability spread evenly over all classes, 0 to below 1.
        ema_decay: Decay of the weights' moving average per step, which is validated and kept; 0 is none.
        precision: auto (bfloat16 on CUDA, float32 on a CPU), float32, bfloat16 or float16.
        batch_norm: frozen (keeps the pretrained statistics) or train (each batch's own; for training from scratch).
        augment: Random horizontal flips and small shifts of training images.
        patience: Epochs without a better validation result before training stops; 0 never stops early.
        checkpoint_seconds: Seconds between two resumable checkpoints; 0 saves one after every step.
        seed: Order of images, augmentation and dropout.
        num_processes: Processes that share each batch (on CUDA one per device); it must divide
            batch_size, which batches of batch_tokens do without.
        accumulation_steps: Parts in which a process computes its share of a batch, to save memory.
        max_gradient_norm: Norm of the gradient over all weights above which it is scaled down to it; -1 is no limit.
        layer_rates: decay (by layer_decay), gradual (unfrozen from the head down, all by half of the epochs) or
            auto_rgn (by relative gradient norm, in each epoch).
        batch_tokens: Target elements in an optimizer step, padding included, at most; 0 takes batch_size rows.
        settings: The task's own loss options, by name.
    """
    asked = dict(locals())

    from components.core.artifacts.manifest import describe, read_manifest
    from components.core.bundles.model_bundle import load_model, save_model
    from components.core.bundles.watched import begin, torch_answers
    from components.core.data.dataset import open_dataset
    from components.core.report.metrics import log_metrics
    from components.core.store import store_from_environment
    from components.core.training.checkpoint import Checkpointer, checkpoint_key
    from components.core.training.curves import publish_curves, result_facts
    from components.core.training.launch import train_in_processes
    from components.fine_tune.page import write_tuning_page
    from components.fine_tune.tuning import FineTuneConfig, fine_tune_bundle

    artifacts = {"dataset", "model", "tuned", "curves", "metrics", "page"}
    config = FineTuneConfig(**{name: value for name, value in asked.items() if name not in artifacts})

    store = store_from_environment()
    prepared = open_dataset(dataset.path, store)
    source = read_manifest(model.path, kind="model")
    bundle = load_model(source, store)

    inputs = {"dataset": prepared.manifest.digest, "model": source.digest}
    watched = begin(source, bundle, config.settings)
    key = checkpoint_key("fine_tune", parameters=vars(config), inputs=inputs)
    checkpointer = Checkpointer(store, key, seconds=config.checkpoint_seconds)
    if config.num_processes == 1:
        bundle, history = fine_tune_bundle(bundle, prepared, config, checkpointer=checkpointer)
    else:
        history = train_in_processes(
            fine_tune_bundle,
            config,
            bundle.module,
            key=key,
            dataset=dataset.path,
            models={"model": model.path},
            num_processes=config.num_processes,
        )

    changed = None
    if watched and bundle.task.general:
        changed = bundle.task.general.change(watched.answers, torch_answers(bundle, watched.rows))
    facts = result_facts(history) | (changed.figures if changed else {})
    log_metrics(metrics, facts, data=prepared.description)
    metadata = {"stage": "fine_tune", **inputs, **(watched.to_metadata() if watched else {})}
    manifest = save_model(tuned.path, bundle, store, metadata)
    describe(tuned, manifest, store, **facts)
    describe(curves, publish_curves(curves.path, history, stage="fine_tune", store=store), store)
    general = changed.text if changed else ""
    write_tuning_page(page.path, history, config, general=general, data=prepared.description)
    checkpointer.clear()
