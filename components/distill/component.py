"""KFP face of distillation."""

from kfp import dsl
from kfp.dsl import HTML, Artifact, Dataset, Input, Metrics, Model, Output

from components.core.results.recall import recalled
from components.images import BASE_IMAGE, TRAIN_IMAGE


@dsl.component(base_image=BASE_IMAGE, target_image=TRAIN_IMAGE)
@recalled
def distill(
    dataset: Input[Dataset],
    teacher: Input[Model],
    student: Input[Model],
    distilled: Output[Model],
    curves: Output[Artifact],
    metrics: Output[Metrics],
    page: Output[HTML],
    recipe: dict,
    epochs: int = 3,
    batch_size: int = 64,
    optimizer: str = "adamw",
    learning_rate: float = 0.001,
    alpha: float = 0.9,
    temperature: float = 2.0,
    schedule: str = "polynomial",
    power: float = 1.0,
    step_epochs: int = 1,
    step_gamma: float = 0.5,
    warmup_fraction: float = 0.05,
    momentum: float = 0.9,
    weight_decay: float = 0.05,
    layer_decay: float = 0.9,
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
    batch_tokens: int = 0,
    settings: dict = {},  # noqa: B006
    distillation: dict = {},  # noqa: B006
):
    """Trains a smaller model to answer as its teacher does, on the labels and on the teacher's softened outputs.

    The loss is (1−α)·L₀ + α·T²·KL(teacher ‖ student). The weights of the epoch that is best on the validation split are
    kept. Progress is saved to the store; the same stage with the same inputs continues from it after a kill.

    Args:
        dataset: Prepared data set.
        teacher: The model to learn from; it is not changed.
        student: The model to train, for instance the pruned teacher.
        distilled: The trained student; its preprocessing has its new input size.
        curves: Learning curves (curves.json).
        metrics: Validation metric and loss of the kept epoch, and its number.
        page: Learning curves as a page.
        recipe: The recipe (core.recipe). This stage reads student_size, the side of the student's input, and
            distill_epochs, if given.
        epochs: Passes over the training split.
        batch_size: Images in an optimizer step.
        optimizer: adamw or sgd (with Nesterov momentum).
        learning_rate: Learning rate of the head at the end of warm-up.
        alpha: Weight of the teacher against the labels, 0 to 1.
        temperature: Temperature T of both softmaxes, above 0; higher shows more of how the teacher ranks wrong classes.
        schedule: polynomial, step, cosine, constant or inverse_sqrt; a function of the optimizer step.
        power: Exponent of the polynomial schedule, rate · (1 − t/T)^power.
        step_epochs: Epochs between two changes of the step schedule.
        step_gamma: Factor of each change of the step schedule, above 0.
        warmup_fraction: Fraction of all steps in which the rate rises linearly, 0 to below 1.
        momentum: Momentum of sgd, β₁ of adamw; 0 to below 1.
        weight_decay: Decay of weights; biases and normalisation parameters have none.
        layer_decay: Factor on the rate for each layer further from the head, above 0 to 1; 1 is the same everywhere.
        ema_decay: Decay of the weights' moving average per step, which is validated and kept; 0 is none.
        precision: auto (bfloat16 on CUDA, float32 on a CPU), float32, bfloat16 or float16.
        batch_norm: frozen (keeps the student's statistics) or train (each batch's own; for training from scratch).
        augment: Random horizontal flips and small shifts, the same for teacher and student.
        patience: Epochs without a better validation result before training stops; 0 never stops early.
        checkpoint_seconds: Seconds between two resumable checkpoints; 0 saves one after every step.
        seed: Order of images, augmentation and dropout.
        num_processes: Processes that share each batch (on CUDA one per device); it must divide
            batch_size, which batches of batch_tokens do without.
        accumulation_steps: Parts in which a process computes its share of a batch, to save memory.
        max_gradient_norm: Norm of the gradient over all weights above which it is scaled down to it; -1 is no limit.
        batch_tokens: Target elements in an optimizer step, padding included, at most; 0 takes batch_size rows.
        settings: The task's own loss options, by name.
        distillation: The task's own options for the loss against the teacher, by name.
    """
    asked = dict(locals())

    import time
    from dataclasses import replace
    from itertools import pairwise
    from statistics import median

    from components.core.artifacts.manifest import describe, read_manifest
    from components.core.bundles.model_bundle import load_model, save_model
    from components.core.data.dataset import open_dataset
    from components.core.parameters import DECLARED
    from components.core.recipe import Recipe
    from components.core.report.metrics import log_metrics
    from components.core.store import store_from_environment
    from components.core.training.checkpoint import Checkpointer, checkpoint_key
    from components.core.training.curves import publish_curves, result_facts
    from components.core.training.launch import train_in_processes
    from components.distill.distillation import DistillConfig, distill_bundle
    from components.distill.page import write_distillation_page

    others = {
        "dataset",
        "teacher",
        "student",
        "distilled",
        "curves",
        "metrics",
        "page",
        "recipe",
        "settings",
        "distillation",
    }
    made = Recipe.from_json(recipe)
    asked["epochs"] = DECLARED["distill_epochs"].check(made.more.get("distill_epochs", epochs), called="epochs")
    config = DistillConfig(
        student_size=made.student_size,
        settings={**settings, **distillation},
        **{name: value for name, value in asked.items() if name not in others},
    )

    store = store_from_environment()
    prepared = open_dataset(dataset.path, store)
    sources = {name: read_manifest(asked[name].path, kind="model") for name in ("teacher", "student")}
    bundles = {name: load_model(source, store) for name, source in sources.items()}

    inputs = {"dataset": prepared.manifest.digest} | {name: source.digest for name, source in sources.items()}
    key = checkpoint_key("distill", parameters=vars(config), inputs=inputs)
    checkpointer = Checkpointer(store, key, seconds=config.checkpoint_seconds)
    teacher_bundle, bundle = bundles["teacher"], bundles["student"]
    told: list[float] = []

    def tell(line: str) -> None:
        told.append(time.perf_counter())
        print(line)

    if config.num_processes == 1:
        bundle, history = distill_bundle(
            teacher_bundle, bundle, prepared, config, checkpointer=checkpointer, report=tell
        )
    else:
        assets = bundle.task.student_assets(teacher_bundle.assets, bundle.assets, config.student_size)
        bundle = replace(bundle, assets=assets)
        history = train_in_processes(
            distill_bundle,
            config,
            bundle.module,
            key=key,
            dataset=dataset.path,
            models={"teacher": teacher.path, "student": student.path},
            num_processes=config.num_processes,
        )

    facts = result_facts(history)
    log_metrics(metrics, facts, recipe=made.name, data=prepared.description)
    manifest = save_model(distilled.path, bundle, store, {"stage": "distill", **inputs})
    describe(distilled, manifest, store, **bundle.assets.describe(), **facts)
    # A line is told after each epoch. Times are beside the curves and not in them: equal runs have equal curves.
    took = [after - before for before, after in pairwise(told)]
    timed = {"epoch_seconds": median(took)} if took else {}
    describe(curves, publish_curves(curves.path, history, stage="distill", store=store), store, **timed)
    write_distillation_page(page.path, history, config, bundle.assets, recipe=made.name, data=prepared.description)
    checkpointer.clear()
