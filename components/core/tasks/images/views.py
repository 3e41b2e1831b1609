"""The student's view of images that were prepared for its teacher."""

import torch
from torch import Tensor
from torch.nn import functional as F

from components.core.tasks.images.preprocess import Preprocess


def student_view(images: Tensor, teacher: Preprocess, student: Preprocess) -> Tensor:
    """The same crop, smaller, normalised the student's way.

    images (N, 3, H, W), normalised by `teacher`. Shrunk with the antialiased filter of the student's `Preprocess`.
    """
    mean, std, new_mean, new_std = (
        torch.tensor(values, device=images.device).view(1, 3, 1, 1)
        for values in (teacher.mean, teacher.std, student.mean, student.std)
    )
    if student.image_size != teacher.image_size:
        size = (student.image_size, student.image_size)
        images = F.interpolate(images, size=size, mode=student.interpolation, antialias=True, align_corners=False)
        if student.interpolation == "bicubic":
            # It overshoots at edges, and the pixels of a decoded picture cannot.
            images = images.clamp(-mean / std, (1 - mean) / std)
    if (student.mean, student.std) != (teacher.mean, teacher.std):
        images = (images * std + mean - new_mean) / new_std
    return images
