"""The loss of distillation against numpy, written out."""

import numpy as np
import pytest
import torch

from components.distill.losses import mixed_loss, soft_target_loss


def logits(samples=6, classes=100):
    rng = np.random.default_rng(0)
    return rng.normal(size=(samples, classes)) * 3, rng.normal(size=(samples, classes)) * 3


def softmax(values):
    exponentials = np.exp(values - values.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


def reference(student, teacher, temperature):
    p, q = softmax(teacher / temperature), softmax(student / temperature)
    return temperature**2 * (p * (np.log(p) - np.log(q))).sum()


@pytest.mark.parametrize("temperature", [1.0, 4.0, 20.0])
def test_soft_targets_are_t_squared_times_the_divergence_summed_over_classes_and_samples(temperature):
    student, teacher = logits()
    actual = soft_target_loss(torch.tensor(student), torch.tensor(teacher), temperature=temperature)
    assert float(actual) == pytest.approx(reference(student, teacher, temperature), rel=1e-9)


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_the_loss_mixes_labels_and_teacher_by_alpha(alpha):
    student, teacher = logits()
    soft = soft_target_loss(torch.tensor(student), torch.tensor(teacher), temperature=4.0)
    actual = mixed_loss(torch.tensor(2.5), soft, alpha=alpha)
    assert float(actual) == pytest.approx((1 - alpha) * 2.5 + alpha * reference(student, teacher, 4.0), rel=1e-6)


def test_a_student_that_answers_as_its_teacher_has_no_soft_loss():
    student, _ = logits()
    assert float(soft_target_loss(torch.tensor(student), torch.tensor(student), temperature=4.0)) == pytest.approx(0)


def test_gradients_reach_the_student_only():
    student, teacher = (torch.tensor(values, requires_grad=True) for values in logits())
    soft_target_loss(student, teacher, temperature=2.0).backward()
    assert student.grad is not None
    assert teacher.grad is None


def test_the_gradient_keeps_its_size_when_the_temperature_is_high():
    student, teacher = logits()
    sizes = []
    for temperature in (20.0, 40.0):
        values = torch.tensor(student, requires_grad=True)
        soft_target_loss(values, torch.tensor(teacher), temperature=temperature).backward()
        sizes.append(float(values.grad.norm()))
    assert sizes[1] == pytest.approx(sizes[0], rel=0.1)
