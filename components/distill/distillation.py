"""Distillation: a smaller network, or one that sees smaller images, learns from the one it was made of."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from components.core.bundles.model_bundle import ModelBundle
from components.core.data.batch import Batch
from components.core.data.dataset import Dataset
from components.core.errors import UserError
from components.core.tasks import Task
from components.core.training.batchnorm import absorb_statistics, recalibrate_batchnorm
from components.core.training.checkpoint import Checkpointer
from components.core.training.config import TrainingConfig
from components.core.training.data import calibration_batches, training_data
from components.core.training.device import choose_device, deterministic, place, use_available_threads
from components.core.training.history import History
from components.core.training.loop import StepLoss, train
from components.core.training.ranks import ALONE, Ranks
from components.distill.losses import mixed_loss, soft_target_loss

CALIBRATION_ROWS = 1024
"""Training rows that batch norms are measured on when the student's input size changes."""


@dataclass(frozen=True, kw_only=True)
class DistillConfig(TrainingConfig):
    """`TrainingConfig`, and what only distillation has.

    student_size: side of the student's input in pixels; 0 is the teacher's. alpha: weight of the teacher, in [0, 1].
    temperature: of both softmaxes, positive. augment: random changes of training rows, the same for teacher and
    student. settings: what the task adds for its losses, by name; the pipeline's first task has checked it.
    """

    declared_as: ClassVar[Mapping[str, str]] = {"alpha": "distill_alpha", "temperature": "distill_temperature"}

    student_size: int
    alpha: float
    temperature: float
    augment: bool
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def distillation(self) -> str:
        """Which of the task's `soft_losses`; empty is Hinton's on what it has `comparable`."""
        return str(self.settings.get("distillation", ""))


def distill_bundle(
    teacher: ModelBundle,
    student: ModelBundle,
    dataset: Dataset,
    config: DistillConfig,
    *,
    checkpointer: Checkpointer | None = None,
    ranks: Ranks = ALONE,
    report: Callable[[str], None] = print,
) -> tuple[ModelBundle, History]:
    """Trains the student's module in place; returns its bundle at its new input size, and the learning curves.

    The module ends in eval mode, on the CPU, with the weights of the epoch that is best on validation data *at the
    student's size, prepared as they will be in service*. On a CPU the result depends on the inputs, the config and the
    number of threads only.
    """
    task, device = student.task, choose_device()
    for name, bundle in (("teacher", teacher), ("student", student)):
        task.check_classes(dataset, bundle.assets, model=name)
    taught, teacher_assets = task.teacher_of(teacher.module, teacher.assets, student.assets)
    assets = task.student_assets(teacher_assets, student.assets, config.student_size)
    use_available_threads()
    module = place(student.module, device)
    master = place(taught, device).eval().requires_grad_(False)
    data = training_data(
        task,
        dataset,
        assets=teacher_assets,
        validation_assets=assets,
        batch_size=config.batch_size,
        seed=config.seed,
        augment=config.augment,
        settings=config.settings,
        share=ranks.share,
        batch_tokens=config.batch_tokens,
        epochs=config.epochs,
    )
    with deterministic(config.seed):
        if task.inputs(assets) != student.inputs:
            _adapt_batchnorm(module, task, dataset, student.assets, assets)
        history = train(
            module,
            data=data,
            task=task,
            num_classes=len(dataset.classes),
            step_loss=_step_loss(master, task, (teacher_assets, assets), config, dataset),
            config=config,
            device=device,
            checkpointer=checkpointer,
            ranks=ranks,
            report=report,
        )
    module.cpu()
    return replace(student, assets=assets), history


def _step_loss(
    teacher: nn.Module, task: Task, assets: tuple[Any, Any], config: DistillConfig, dataset: Dataset
) -> StepLoss:
    """`assets`: the teacher's and the student's."""
    settings = task.training_settings(config.settings, dataset)
    if config.distillation and config.distillation not in task.soft_losses:
        known = f"known: {', '.join(task.soft_losses)}" if task.soft_losses else f"{task.title} has only the default"
        raise UserError(f"unknown distillation {config.distillation!r}; {known}")
    soft_loss = task.soft_losses[config.distillation] if config.distillation else None

    def step_loss(model: nn.Module, batch: Batch) -> Tensor:
        with torch.no_grad():
            taught = teacher(*batch.inputs.values())
        outputs = model(*task.student_inputs(batch.inputs, *assets).values())
        if soft_loss is None:
            compared = task.comparable(outputs, batch), task.comparable(taught, batch)
            soft = soft_target_loss(*compared, temperature=config.temperature)
        else:
            soft = soft_loss(outputs, taught, batch, config.temperature)
        return mixed_loss(task.loss(outputs, batch, settings=settings), soft, alpha=config.alpha)

    return step_loss


def _adapt_batchnorm(module: nn.Module, task: Task, dataset: Dataset, before: Any, after: Any) -> None:
    """Brings every norm's output at the new input size to the mean and variance it had at the old one."""
    device = next(module.parameters()).device

    def batches(assets: Any) -> Iterator[Batch]:
        return calibration_batches(task, dataset, assets, rows=CALIBRATION_ROWS)

    absorb_statistics(module, batches(before), device)
    recalibrate_batchnorm(module, batches(after), device)
