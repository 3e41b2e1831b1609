"""Losses of distillation: pure functions of logits."""

from torch import Tensor
from torch.nn import functional as F


def soft_target_loss(student_logits: Tensor, teacher_logits: Tensor, *, temperature: float) -> Tensor:
    """`T² · KL(softmax(t/T) ‖ softmax(s/T))`, summed over classes and over samples; a scalar ≥ 0.

    Logits (samples, classes); `temperature` > 0. Flatten per-pixel or per-token logits to samples first, without
    those that carry no target. Gradients reach the student only.
    Hinton, Vinyals, Dean 2015, arXiv:1503.02531.
    """
    student = F.log_softmax(student_logits / temperature, dim=1)
    teacher = F.log_softmax(teacher_logits.detach() / temperature, dim=1)
    # Whoever steps divides by the number of samples; kl_div's default "mean" would divide by the classes too.
    divergence = F.kl_div(student, teacher, reduction="sum", log_target=True)
    # Soft-target gradients shrink as 1/T²; without this factor alpha would mean something else at each T.
    return temperature**2 * divergence


def mixed_loss(hard_loss: Tensor, soft_loss: Tensor, *, alpha: float) -> Tensor:
    """`(1 − α) · L₀ + α · L_KD`, a scalar.

    hard_loss: L₀, the task's loss of the student on the labels; soft_loss: L_KD, against the teacher; both summed over
    the same samples. `alpha` in [0, 1]: 0 is training on labels alone, 1 on the teacher alone. Hinton, Vinyals, Dean
    2015, arXiv:1503.02531.
    """
    return (1.0 - alpha) * hard_loss + alpha * soft_loss
