"""Distillation: a smaller network, or one that sees smaller images, learns from the one it was made of."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from components.core.bundles.model_bundle import ModelBundle
from components.core.data.dataset import Dataset
from components.core.errors import UserError
from components.core.tasks import Preprocess, Task, get_task
from components.core.training.batchnorm import absorb_statistics, recalibrate_batchnorm
from components.core.training.checkpoint import Checkpointer
from components.core.training.config import TrainingConfig, require
from components.core.training.data import calibration_batches, check_labels, training_data
from components.core.training.device import choose_device, deterministic, place, use_available_threads
from components.core.training.history import History
from components.core.training.loop import StepLoss, train
from components.core.training.ranks import ALONE, Ranks
from components.distill.losses import distillation_loss

CALIBRATION_IMAGES = 1024
"""Training images that batch norms are measured on when the student's input size changes."""


@dataclass(frozen=True, kw_only=True)
class DistillConfig(TrainingConfig):
    """`TrainingConfig`, and what only distillation has.

    student_size: side of the student's input in pixels; 0 is the teacher's. alpha: weight of the teacher, in [0, 1].
    temperature: of both softmaxes, positive. augment: random flips and shifts, the same for teacher and student.
    """

    student_size: int
    alpha: float
    temperature: float
    augment: bool

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.student_size >= 0, "student_size", self.student_size, "at least 0")
        require(0 <= self.alpha <= 1, "alpha", self.alpha, "in [0, 1]")
        require(self.temperature > 0, "temperature", self.temperature, "positive")


def student_preprocess(teacher: Preprocess, student: Preprocess, student_size: int) -> Preprocess:
    """The student's own normalisation at its new size. `UserError` when it would see larger images than its teacher."""
    size = student_size or teacher.image_size
    if size > teacher.image_size:
        raise UserError(f"student_size must be at most the teacher's {teacher.image_size} pixels, got {size}")
    return replace(student, image_size=size)


def student_view(images: Tensor, teacher: Preprocess, student: Preprocess) -> Tensor:
    """What the student sees of images prepared for the teacher: the same crop, smaller, normalised its own way.

    images (N, 3, H, W), normalised by `teacher`. Shrunk with the antialiased bilinear filter that `Preprocess` uses.
    """
    if student.image_size != teacher.image_size:
        size = (student.image_size, student.image_size)
        images = F.interpolate(images, size=size, mode="bilinear", antialias=True, align_corners=False)
    if (student.mean, student.std) != (teacher.mean, teacher.std):
        mean, std, new_mean, new_std = (
            torch.tensor(values, device=images.device).view(1, 3, 1, 1)
            for values in (teacher.mean, teacher.std, student.mean, student.std)
        )
        images = (images * std + mean - new_mean) / new_std
    return images


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

    The module ends in eval mode, on the CPU, with the weights of the epoch that is best on validation images *at the
    student's size, prepared as they will be in service*. On a CPU the result depends on the inputs, the config and the
    number of threads only.
    """
    check_labels(dataset, teacher.labels, model="teacher")
    check_labels(dataset, student.labels, model="student")
    preprocess = student_preprocess(teacher.preprocess, student.preprocess, config.student_size)
    task, device = get_task(dataset.task), choose_device()
    use_available_threads()
    module = place(student.module, device)
    master = place(teacher.module, device).eval().requires_grad_(False)
    data = training_data(
        task,
        dataset,
        preprocess=teacher.preprocess,
        validation_preprocess=preprocess,
        batch_size=config.batch_size,
        seed=config.seed,
        augment=config.augment,
        share=ranks.share,
    )
    with deterministic(config.seed):
        if preprocess.image_size != student.preprocess.image_size:
            _adapt_batchnorm(module, task, dataset, student.preprocess, preprocess)
        history = train(
            module,
            data=data,
            task=task,
            step_loss=_step_loss(master, task, teacher.preprocess, preprocess, config),
            config=config,
            device=device,
            checkpointer=checkpointer,
            ranks=ranks,
            report=report,
        )
    module.cpu()
    return replace(student, preprocess=preprocess), history


def _step_loss(
    teacher: nn.Module, task: Task, teacher_preprocess: Preprocess, preprocess: Preprocess, config: DistillConfig
) -> StepLoss:
    def step_loss(model: nn.Module, images: Tensor, targets: Any) -> Tensor:
        with torch.no_grad():
            taught = teacher(images)
        logits = model(student_view(images, teacher_preprocess, preprocess))
        return distillation_loss(
            task.loss(logits, targets),
            task.flatten_logits(logits, targets),
            task.flatten_logits(taught, targets),
            alpha=config.alpha,
            temperature=config.temperature,
        )

    return step_loss


def _adapt_batchnorm(module: nn.Module, task: Task, dataset: Dataset, before: Preprocess, after: Preprocess) -> None:
    """Brings every norm's output at the new input size to the mean and variance it had at the old one."""
    device = next(module.parameters()).device

    def images(preprocess: Preprocess) -> Iterator[Tensor]:
        batches = calibration_batches(task, dataset, preprocess, images=CALIBRATION_IMAGES)
        return (batch for batch, _, _ in batches)

    absorb_statistics(module, images(before), device)
    recalibrate_batchnorm(module, images(after), device)
