"""Shared by all methods by hand: images as tensors, and a training loop that stops after so many CPU seconds."""

import copy
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import timm
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, kl_div, log_softmax, pad, softmax

from components.core.models.inputs import BATCH, Graph, InputSpec, OutputSpec

BACKBONE = "tf_efficientnet_lite0"
BATCH_SIZE = 64
LEARNING_RATE = 1e-3
WEIGHT_DECAY = 0.05
ALPHA, TEMPERATURE = 0.9, 2.0
"""Of distillation, as trimtab's own defaults."""
SHIFT = 4
"""Most pixels that a training image is moved by, in each direction."""
RECALIBRATION_BATCHES = 16


@dataclass(frozen=True, kw_only=True)
class Images:
    """Images uint8 `(N, side, side, 3)` and labels int64 `(N,)` by split."""

    splits: dict[str, tuple[np.ndarray, np.ndarray]]

    @classmethod
    def read(cls, path: Path) -> "Images":
        with np.load(path) as file:
            return cls(splits={name: (file[name], file[f"{name}_labels"]) for name in ("train", "validation", "test")})

    @property
    def side(self) -> int:
        return self.splits["train"][0].shape[1]

    @property
    def classes(self) -> int:
        return int(self.splits["train"][1].max()) + 1

    def batches(self, split: str, size: int = BATCH_SIZE) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """In order, as the network takes them."""
        images, labels = self.splits[split]
        for first in range(0, len(images), size):
            yield normalised(images[first : first + size]), labels[first : first + size]


@dataclass(frozen=True, kw_only=True)
class Trained:
    """The network with the best validation accuracy of its epochs, and what its training took, without validation."""

    module: nn.Module
    validation: float
    seconds: float
    steps: int


def normalised(images: np.ndarray) -> np.ndarray:
    """Float32 `(N, 3, side, side)` with mean and deviation 0.5, as EfficientNet-Lite was trained."""
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2), dtype=np.float32) / 127.5 - 1


def network(classes: int, state: dict[str, Tensor] | None = None) -> nn.Module:
    """EfficientNet-Lite0 with this many outputs; `state` may lack the last layer."""
    module = timm.create_model(BACKBONE, pretrained=False, num_classes=classes)
    if state is not None:
        module.load_state_dict(state, strict=False)
    return module


def graph_of(module: nn.Module, side: int, classes: int) -> Graph:
    images = InputSpec(name="images", dtype="float32", shape=(BATCH, 3, side, side))
    return Graph(module=module, inputs=(images,), outputs=(OutputSpec(name="logits", shape=(BATCH, classes)),))


def train(module: nn.Module, images: Images, *, seconds: float, seed: int, teacher: nn.Module | None = None) -> Trained:
    """AdamW with a cosine over the time; with a teacher `(1 − ALPHA)·cross-entropy + ALPHA·T²·KL`.

    The clock is the process's CPU time in training steps, so that other work on the machine costs no training.
    """
    generator = torch.Generator().manual_seed(seed)
    module = module.to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(module.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    best, best_state, spent, steps = -1.0, copy.deepcopy(module.state_dict()), 0.0, 0
    while spent < seconds or best < 0:
        module.train()
        for pictures, labels in _shuffled(images, generator):
            began = time.process_time()
            for group in optimizer.param_groups:
                group["lr"] = LEARNING_RATE * (1 + np.cos(np.pi * min(spent / seconds, 1))) / 2
            logits = module(pictures)
            loss = cross_entropy(logits, labels)
            if teacher is not None:
                loss = (1 - ALPHA) * loss + ALPHA * _soft_loss(logits, teacher, pictures)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            spent, steps = spent + time.process_time() - began, steps + 1
            if spent >= seconds:
                break
        found = accuracy(module, images, "validation")
        if found > best:
            best, best_state = found, copy.deepcopy(module.state_dict())
    module.load_state_dict(best_state)
    return Trained(module=module.eval(), validation=best, seconds=spent, steps=steps)


def _soft_loss(logits: Tensor, teacher: nn.Module, pictures: Tensor) -> Tensor:
    # Not inference mode, whose tensors no backward pass may keep.
    with torch.no_grad():
        target = softmax(teacher(pictures) / TEMPERATURE, dim=1)
    return TEMPERATURE**2 * kl_div(log_softmax(logits / TEMPERATURE, dim=1), target, reduction="batchmean")


def _shuffled(images: Images, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
    """An epoch: mirrored half of the time, and moved. A last batch of one is left out: batch norms need two."""
    pixels, labels = images.splits["train"]
    for chosen in torch.randperm(len(pixels), generator=generator).split(BATCH_SIZE):
        if len(chosen) < 2:
            continue
        picked = chosen.numpy()
        pictures = torch.from_numpy(normalised(pixels[picked]))
        mirrored = torch.rand(len(chosen), generator=generator) < 0.5
        pictures[mirrored] = pictures[mirrored].flip(3)
        padded = pad(pictures, (SHIFT,) * 4, mode="replicate")
        moves = torch.randint(0, 2 * SHIFT + 1, (len(chosen), 2), generator=generator).tolist()
        side = images.side
        moved = [one[:, top : top + side, left : left + side] for one, (top, left) in zip(padded, moves, strict=True)]
        yield torch.stack(moved).contiguous(memory_format=torch.channels_last), torch.from_numpy(labels[picked])


def recalibrate(module: nn.Module, images: Images) -> None:
    """Measures the batch norms' statistics again on training images: pruning has changed them."""
    for one in module.modules():
        if isinstance(one, nn.BatchNorm2d):
            one.reset_running_stats()
            one.momentum = None
    module.train()
    with torch.no_grad():
        for number, (pictures, _) in enumerate(images.batches("train")):
            if number == RECALIBRATION_BATCHES:
                break
            module(torch.from_numpy(pictures))
    for one in module.modules():
        if isinstance(one, nn.BatchNorm2d):
            one.momentum = 0.1
    module.eval()


def accuracy(module: nn.Module, images: Images, split: str) -> float:
    module.eval()
    right = 0
    with torch.inference_mode():
        for pictures, labels in images.batches(split):
            right += int((module(torch.from_numpy(pictures)).argmax(1).numpy() == labels).sum())
    return right / len(images.splits[split][1])
