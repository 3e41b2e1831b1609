"""Batch-norm statistics measured anew, for a network whose inputs or channels have changed."""

from collections.abc import Iterable

import torch
from torch import nn

from components.core.training.device import place_images


@torch.no_grad()
def recalibrate_batchnorm(module: nn.Module, batches: Iterable[torch.Tensor], device: torch.device) -> int:
    """Replaces running means and variances by the plain average over `batches`; returns the number of images seen.

    `momentum=None` makes torch average cumulatively: after k batches the statistics are the mean of the k batch
    statistics, and nothing of the old ones is left. Give *training* images with *evaluation* transforms, in batches
    large enough for a variance (tens of images). Everything but the batch norms stays in eval mode, so dropout and
    stochastic depth are off. The module comes back in eval mode, weights untouched. With no batches nothing changes.
    Li et al. 2016, arXiv:1603.04779; after pruning: EagleEye, arXiv:2007.02491.
    """
    module.eval()
    norms = [
        m for m in module.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.running_mean is not None
    ]
    momenta = [norm.momentum for norm in norms]
    images_seen = 0
    try:
        for images in batches:
            if images_seen == 0:
                for norm in norms:
                    norm.reset_running_stats()
                    norm.momentum = None
                    norm.train()
            module(place_images(images, device))
            images_seen += len(images)
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        module.eval()
    return images_seen
