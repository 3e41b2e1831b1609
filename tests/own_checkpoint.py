"""A network that a user has trained without trimtab, and a run that compresses it. Loaded by tests/conftest.py."""

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from finished_run import FinishedRun, run_trimtab
from PIL import Image
from torch import nn
from torchvision.models import resnet18

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
LABELS = ["rows", "columns"]
"""In the order of the outputs, which is not that of the alphabet."""

_COUNTS = {"train": 160, "test": 90}


@dataclass(frozen=True, kw_only=True)
class OwnNetwork:
    """Where the files are, the network's tensors, and how many of the test images it gets right, by its own script."""

    folder: Path
    state: dict[str, torch.Tensor]
    right: int
    total: int

    def parameters(self, **others: str) -> dict[str, str]:
        named = {"model": "ft.pth", "labels": "labels.txt", "dataset": "data"}
        return {name: str(self.folder / file) for name, file in named.items()} | {
            "architecture": "torchvision:resnet18", "image_size": "32", "resize": "squash", "mean": str(list(MEAN)),
            "std": str(list(STD)), "latency_rounds": "5", "calibration_images": "64", "batch_size": "16",
            "release_name": "own", **others,
        }  # fmt: skip


def _picture(rng: np.random.Generator, column: bool) -> bytes:
    """Stripes in much noise, so that a network trained for a moment gets some of them wrong."""
    pixels = rng.integers(0, 200, (32, 32, 3), dtype=np.uint8)
    pixels[::4] += np.uint8(rng.integers(0, 56))
    buffer = io.BytesIO()
    Image.fromarray(pixels.swapaxes(0, 1) if column else pixels).save(buffer, "PNG")
    return buffer.getvalue()


def _tensors(folder: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """A folder of classes as a training script reads it: nothing of trimtab."""
    images, labels = [], []
    for number, name in enumerate(LABELS):
        for path in sorted((folder / name).iterdir()):
            pixels = torch.from_numpy(np.array(Image.open(path).convert("RGB"))).permute(2, 0, 1).float() / 255
            images.append((pixels - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1))
            labels.append(number)
    return torch.stack(images), torch.tensor(labels)


@pytest.fixture(scope="session")
def own_network(tmp_path_factory: pytest.TempPathFactory) -> OwnNetwork:
    folder = tmp_path_factory.mktemp("own")
    rng = np.random.default_rng(0)
    for split, count in _COUNTS.items():
        for number in range(count):
            path = folder / "data" / split / LABELS[number % 2] / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(_picture(rng, bool(number % 2)))
    (folder / "labels.txt").write_text("".join(f"{name}\n" for name in LABELS))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = resnet18(num_classes=len(LABELS))
        images, labels = _tensors(folder / "data" / "train")
        optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
        for _ in range(4):
            for part in torch.randperm(len(images)).split(32):
                optimizer.zero_grad()
                nn.functional.cross_entropy(network(images[part]), labels[part]).backward()
                optimizer.step()
    network.eval()
    images, labels = _tensors(folder / "data" / "test")
    with torch.no_grad():
        right = int((network(images).argmax(dim=1) == labels).sum())
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    saved = {"epoch": 4, "state_dict": {f"module.{name}": tensor for name, tensor in state.items()}}
    torch.save(saved, folder / "ft.pth")
    return OwnNetwork(folder=folder, state=state, right=right, total=len(labels))


@pytest.fixture(scope="session")
def compressed_run(own_network: OwnNetwork, tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    """The network quantized and verified; nothing is trained and nothing pruned. The data are read in two parts."""
    parameters = own_network.parameters(prune_targets="1", distill_epochs="0", data_parts="2")
    run = run_trimtab(tmp_path_factory.mktemp("compressed"), "compress", parameters=parameters)
    assert run.code == 0, run.printed
    return run
