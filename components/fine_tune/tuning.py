"""Fine-tuning: the head on frozen features, then the whole network."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from components.core.bundles.model_bundle import ModelBundle
from components.core.data.batch import Batch
from components.core.data.dataset import Dataset
from components.core.data.reading import read_batches
from components.core.training.checkpoint import Checkpointer
from components.core.training.config import TrainingConfig
from components.core.training.data import as_tensors, training_data
from components.core.training.device import choose_device, deterministic, place, use_available_threads
from components.core.training.head import frozen_features, max_feature_rows, train_head
from components.core.training.history import History
from components.core.training.loop import train
from components.core.training.ranks import ALONE, Ranks


@dataclass(frozen=True, kw_only=True)
class FineTuneConfig(TrainingConfig):
    """`TrainingConfig`, and what only fine-tuning has.

    head_epochs: passes over the cached features before the network is trained; 0 continues with the head as it is. A
    task whose networks begin with no fresh head has none to train.
    label_smoothing: ε of the task's loss, in [0, 1). augment: random flips and shifts of training images.
    settings: what the task adds for its loss, by name; the pipeline's first task has checked it.
    """

    head_epochs: int
    label_smoothing: float
    augment: bool
    settings: Mapping[str, Any] = field(default_factory=dict)


def fine_tune_bundle(
    bundle: ModelBundle,
    dataset: Dataset,
    config: FineTuneConfig,
    *,
    checkpointer: Checkpointer | None = None,
    ranks: Ranks = ALONE,
    report: Callable[[str], None] = print,
) -> tuple[ModelBundle, History]:
    """Trains the bundle's module in place, and leaves it in eval mode, on the CPU, with its best weights.

    Returns the bundle and its learning curves. On a CPU they depend on the data, the config and the number of threads,
    and on nothing else.
    """
    task, device = bundle.task, choose_device()
    task.check_classes(dataset, bundle.assets)
    use_available_threads()
    place(bundle.module, device)
    data = training_data(
        task,
        dataset,
        assets=bundle.assets,
        batch_size=config.batch_size,
        seed=config.seed,
        augment=config.augment,
        settings=config.settings,
        share=ranks.share,
        batch_tokens=config.batch_tokens,
        epochs=config.epochs,
    )
    settings = task.training_settings({**vars(config), **config.settings}, dataset)

    def step_loss(model: nn.Module, batch: Batch) -> Tensor:
        return task.loss(model(*batch.inputs.values()), batch, settings=settings)

    with deterministic(config.seed):
        phases = []
        if config.head_epochs and (parts := task.split(bundle.module.eval())):
            phases.append(_train_head(bundle, parts, dataset, config, settings, report if ranks.leads else _silent))
        history = train(
            task.training_module(bundle.module, settings),
            data=data,
            task=task,
            num_classes=len(dataset.classes),
            step_loss=step_loss,
            config=config,
            device=device,
            checkpointer=checkpointer,
            phases=phases,
            ranks=ranks,
            report=report,
        )
    bundle.module.cpu().eval()
    return bundle, history


def _silent(_: str) -> None:
    """Log messages of a process that does not lead."""


def _train_head(
    bundle: ModelBundle,
    parts: tuple[Callable[..., tuple[Tensor, ...]], nn.Module],
    dataset: Dataset,
    config: FineTuneConfig,
    settings: Mapping[str, Any],
    report: Callable[[str], None],
) -> dict[str, Any]:
    """The head-first phase; cheap enough to be repeated when a run is resumed, and in every process."""
    task, device = bundle.task, next(bundle.module.parameters()).device
    compute, head = parts
    limit = max_feature_rows(compute, bundle.inputs, device)
    transform = task.transform(bundle.assets)
    batches = read_batches(dataset, "train", transform, batch_size=task.validation_batch, limit=limit)
    features = frozen_features(compute, as_tensors(batches), device=device, precision=config.precision)
    losses = train_head(head, features, task=task, epochs=config.head_epochs, seed=config.seed, settings=settings)
    report(f"head on frozen features of {len(features)} {task.row_noun}: loss {losses[0]:.4f} → {losses[-1]:.4f}")
    return {"name": "head", "epochs": config.head_epochs, "losses": losses, "rows": len(features)}
