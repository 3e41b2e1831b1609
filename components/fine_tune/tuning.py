"""Fine-tuning: the head on frozen features, then the whole network."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from components.core.bundles.model_bundle import ModelBundle
from components.core.data.dataset import Dataset
from components.core.models.zoo import split_features
from components.core.tasks import get_task
from components.core.training.checkpoint import Checkpointer
from components.core.training.config import TrainingConfig, require
from components.core.training.data import EVALUATION_BATCH_SIZE, check_labels, training_data
from components.core.training.device import choose_device, deterministic, place, use_available_threads
from components.core.training.head import MAX_FEATURE_ROWS, pooled_features, train_head
from components.core.training.history import History
from components.core.training.loop import train
from components.core.training.ranks import ALONE, Ranks

if TYPE_CHECKING:
    from components.core.tasks import Task


@dataclass(frozen=True, kw_only=True)
class FineTuneConfig(TrainingConfig):
    """`TrainingConfig`, and what only fine-tuning has.

    head_epochs: passes over the cached features before the network is trained; 0 continues with the head as it is.
    label_smoothing: ε of the task's loss, in [0, 1). augment: random flips and shifts of training images.
    """

    head_epochs: int
    label_smoothing: float
    augment: bool

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.head_epochs >= 0, "head_epochs", self.head_epochs, "at least 0")
        require(0 <= self.label_smoothing < 1, "label_smoothing", self.label_smoothing, "in [0, 1)")


def fine_tune_bundle(
    bundle: ModelBundle,
    dataset: Dataset,
    config: FineTuneConfig,
    *,
    checkpointer: Checkpointer | None = None,
    ranks: Ranks = ALONE,
    report: Callable[[str], None] = print,
) -> History:
    """Trains the bundle's module in place and leaves it in eval mode, on the CPU, with its best weights.

    On a CPU the result depends on the data, the config and the number of threads, and on nothing else.
    """
    check_labels(dataset, bundle.labels)
    task, device = get_task(dataset.task), choose_device()
    use_available_threads()
    module = place(bundle.module, device)
    data = training_data(
        task,
        dataset,
        preprocess=bundle.preprocess,
        batch_size=config.batch_size,
        seed=config.seed,
        augment=config.augment,
        share=ranks.share,
    )

    def step_loss(model: nn.Module, images: Tensor, targets: Any) -> Tensor:
        return task.loss(model(images), targets, label_smoothing=config.label_smoothing)

    with deterministic(config.seed):
        phases = (
            [_train_head(bundle, dataset, task, config, report if ranks.leads else _silent)]
            if config.head_epochs
            else []
        )
        history = train(
            module,
            data=data,
            task=task,
            step_loss=step_loss,
            config=config,
            device=device,
            checkpointer=checkpointer,
            phases=phases,
            ranks=ranks,
            report=report,
        )
    module.cpu()
    return history


def _silent(_: str) -> None:
    """What a process says that does not lead."""


def _train_head(
    bundle: ModelBundle, dataset: Dataset, task: "Task", config: FineTuneConfig, report: Callable[[str], None]
) -> dict[str, Any]:
    """The head-first phase; cheap enough to be repeated when a run is resumed, and in every process."""
    device = next(bundle.module.parameters()).device
    bundle.module.eval()
    compute, head = split_features(bundle.module)
    limit = MAX_FEATURE_ROWS if dataset.rows("train") > MAX_FEATURE_ROWS else None
    batches = task.batches(dataset, "train", bundle.preprocess, batch_size=EVALUATION_BATCH_SIZE, limit=limit)
    features, targets = pooled_features(compute, batches, device=device, precision=config.precision)
    losses = train_head(
        head,
        features,
        targets,
        task=task,
        epochs=config.head_epochs,
        seed=config.seed,
        label_smoothing=config.label_smoothing,
    )
    report(f"head on frozen features of {len(features)} images: loss {losses[0]:.4f} → {losses[-1]:.4f}")
    return {"name": "head", "epochs": config.head_epochs, "losses": losses, "images": len(features)}
