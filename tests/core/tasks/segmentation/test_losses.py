import math

import pytest
import torch
from torch import Tensor

from components.core.data.batch import Batch
from components.core.tasks import get_task
from components.core.tasks.segmentation.losses import (
    channel_distillation_sum,
    cross_entropy_sum,
    dice_sum,
    segmentation_loss,
)
from components.distill.losses import soft_target_loss

IMAGES, CLASSES, HEIGHT, WIDTH = 2, 3, 4, 5


@pytest.fixture
def batch() -> tuple[Tensor, Tensor, Tensor]:
    """Logits (float64), targets with 255 where nothing counts, and what counts; the images count unequal numbers."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(IMAGES, CLASSES, HEIGHT, WIDTH, generator=generator, dtype=torch.float64)
    targets = torch.randint(0, CLASSES, (IMAGES, HEIGHT, WIDTH), generator=generator)
    weight = torch.rand(IMAGES, HEIGHT, WIDTH, generator=generator) < 0.7
    weight[1, 2:] = False
    return logits, torch.where(weight, targets, 255), weight


def pixels(weight: Tensor) -> list[tuple[int, int, int]]:
    return [
        (n, y, x) for n in range(IMAGES) for y in range(HEIGHT) for x in range(WIDTH) if weight[n, y, x]
    ]  # fmt: skip


def gradient(loss: Tensor, logits: Tensor) -> Tensor:
    return torch.autograd.grad(loss, logits)[0]


def test_cross_entropy_is_the_sum_over_a_loop_of_counted_pixels(batch: tuple[Tensor, Tensor, Tensor]) -> None:
    logits, targets, weight = batch
    per_class = torch.tensor([0.5, 2.0, 1.0], dtype=torch.float64)
    expected = 0.0
    for n, y, x in pixels(weight):
        label = int(targets[n, y, x])
        values = [float(logits[n, c, y, x]) for c in range(CLASSES)]
        expected += float(per_class[label]) * (math.log(sum(map(math.exp, values))) - values[label])
    assert float(cross_entropy_sum(logits, targets, weight, class_weight=per_class)) == pytest.approx(expected)


def test_sums_over_the_images_are_the_sum_over_the_batch(batch: tuple[Tensor, Tensor, Tensor]) -> None:
    logits, targets, weight = batch
    for kind in ("cross_entropy", "dice", "cross_entropy+dice"):
        whole = segmentation_loss(logits, targets, weight, kind=kind)
        parts = [
            segmentation_loss(logits[n : n + 1], targets[n : n + 1], weight[n : n + 1], kind=kind)
            for n in range(IMAGES)
        ]
        torch.testing.assert_close(sum(parts), whole)


def test_dice_is_one_minus_the_mean_over_shown_classes_times_counted_pixels(
    batch: tuple[Tensor, Tensor, Tensor],
) -> None:
    logits, targets, weight = batch
    expected = 0.0
    for n in range(IMAGES):
        counted = [(y, x) for m, y, x in pixels(weight) if m == n]
        scores = []
        for c in range(CLASSES):
            chance = [float(torch.softmax(logits[n, :, y, x], 0)[c]) for y, x in counted]
            truth = [1.0 if int(targets[n, y, x]) == c else 0.0 for y, x in counted]
            if not any(truth):
                continue
            overlap = sum(p * t for p, t in zip(chance, truth, strict=True))
            scores.append((2 * overlap + 1) / (sum(chance) + sum(truth) + 1))
        expected += len(counted) * (1 - sum(scores) / len(scores))
    assert float(dice_sum(logits, targets, weight)) == pytest.approx(expected)


@pytest.mark.parametrize("kind", ["cross_entropy", "dice", "cross_entropy+dice"])
def test_no_gradient_reaches_an_ignored_pixel_and_nothing_counted_is_a_zero(
    batch: tuple[Tensor, Tensor, Tensor], kind: str
) -> None:
    logits, targets, weight = batch
    logits.requires_grad_()
    grad = gradient(segmentation_loss(logits, targets, weight, kind=kind), logits)
    ignored = ~weight.unsqueeze(1).expand_as(grad)
    assert (grad[ignored] == 0).all()
    assert (grad[~ignored] != 0).all()
    nothing = segmentation_loss(logits, targets, torch.zeros_like(weight), kind=kind)
    assert nothing.item() == 0
    assert (gradient(nothing, logits) == 0).all()


def pixel_distillation(student: Tensor, teacher: Tensor, weight: Tensor, *, temperature: float) -> Tensor:
    """Hinton's loss on the logits of what counts, as distillation computes it of the task's `comparable`."""
    nothing = torch.zeros_like(weight, dtype=torch.int64)
    batch = Batch(inputs=(student,), targets=nothing, weight=weight, digests=[""] * len(weight))
    task = get_task("segmentation")
    compared = task.comparable(student, batch), task.comparable(teacher, batch)
    return soft_target_loss(*compared, temperature=temperature)


def pixel_loop(student: Tensor, teacher: Tensor, weight: Tensor, temperature: float) -> Tensor:
    total = torch.zeros((), dtype=student.dtype)
    for n, y, x in pixels(weight):
        t = torch.exp(teacher[n, :, y, x] / temperature)
        s = torch.exp(student[n, :, y, x] / temperature)
        p, q = t / t.sum(), s / s.sum()
        total = total + temperature**2 * (p * (p.log() - q.log())).sum()
    return total


def channel_loop(student: Tensor, teacher: Tensor, weight: Tensor, temperature: float) -> Tensor:
    total = torch.zeros((), dtype=student.dtype)
    for n in range(IMAGES):
        counted = [(y, x) for m, y, x in pixels(weight) if m == n]
        for c in range(CLASSES):
            t = torch.exp(torch.stack([teacher[n, c, y, x] for y, x in counted]) / temperature)
            s = torch.exp(torch.stack([student[n, c, y, x] for y, x in counted]) / temperature)
            p, q = t / t.sum(), s / s.sum()
            total = total + len(counted) * temperature**2 / CLASSES * (p * (p.log() - q.log())).sum()
    return total


@pytest.mark.parametrize(("loss", "loop"), [(pixel_distillation, pixel_loop), (channel_distillation_sum, channel_loop)])
@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_distillation_and_its_gradient_equal_a_loop(
    batch: tuple[Tensor, Tensor, Tensor], loss, loop, temperature: float
) -> None:
    student, _, weight = batch
    teacher = torch.randn(student.shape, generator=torch.Generator().manual_seed(1), dtype=student.dtype)
    student.requires_grad_()
    teacher.requires_grad_()
    actual = loss(student, teacher, weight, temperature=temperature)
    expected = loop(student, teacher.detach(), weight, temperature)
    torch.testing.assert_close(actual, expected)
    torch.testing.assert_close(gradient(actual, student), gradient(expected, student))
    assert not loss(student.detach(), teacher, weight, temperature=temperature).requires_grad


@pytest.mark.parametrize("loss", [pixel_distillation, channel_distillation_sum])
def test_distillation_of_equal_logits_or_of_no_pixel_is_zero(batch: tuple[Tensor, Tensor, Tensor], loss) -> None:
    student, _, weight = batch
    assert float(loss(student, student.clone(), weight, temperature=2.0)) == pytest.approx(0, abs=1e-12)
    nothing = loss(student.requires_grad_(), student.flip(0), torch.zeros_like(weight), temperature=2.0)
    assert nothing.item() == 0
    assert (gradient(nothing, student) == 0).all()
