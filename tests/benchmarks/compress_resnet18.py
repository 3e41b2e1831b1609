"""A ResNet-18 that a user has trained with plain torch, compressed; is the baseline's accuracy the user's own?

    OMP_NUM_THREADS=1 python tests/benchmarks/compress_resnet18.py --folder FOLDER [--seconds 60] [--image-size 32]

Trains torchvision's resnet18 from random weights on 4,000 images of the embedded demo, saves `ft.pth` and
`labels.txt`, and measures its top-1 on 1,000 other images with torch, torchvision and Pillow alone, prepared as
torchvision evaluates its own weights. Then two runs of `trimtab run compress` on these files: one that quantizes only,
and one with the defaults. Ends with exit code 1 unless the baseline of both reports has exactly that top-1 on exactly
those images, and `trimtab verify` accepts both releases. FOLDER must be new.
"""

import argparse
import io
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import torch
from PIL import Image
from torch import nn
from torchvision.models import ResNet18_Weights, resnet18
from torchvision.transforms import CenterCrop, Compose, Normalize, PILToTensor, Resize

from components.core.evaluation.document import Evaluation
from components.core.store import open_store
from components.core.tasks import get_task

_COUNTS = {"train": 4000, "test": 1000}
_BATCH = 64
_ONLY_QUANTIZED = {"prune_targets": "1", "distill_epochs": "0"}


def processor() -> str:
    """The name of the CPU, as Linux has it."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def write_images(folder: Path) -> list[str]:
    """`train/CLASS/` and `test/CLASS/` of distinct images of the demo; the class names in the order of the outputs."""
    table = pq.read_table(get_task("classification").rows.demo.file)
    features = json.loads(table.schema.metadata[b"huggingface"])["info"]["features"]
    names = [name.replace("/", "-") for name in features["label"]["names"]]
    distinct = {row["image"]["bytes"]: row["label"] for row in table.to_pylist()}
    rows = iter(enumerate(distinct.items()))
    for split, count in _COUNTS.items():
        for _ in range(count):
            number, (content, label) = next(rows)
            path = folder / split / names[label] / f"{number}.webp"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    return names


def prepared(folder: Path, names: list[str], image_size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Images `(n, 3, image_size, image_size)` as torchvision evaluates its own weights, and their labels `(n,)`."""
    usual = ResNet18_Weights.DEFAULT.transforms()
    resized = int(image_size * usual.resize_size[0] / usual.crop_size[0])
    prepare = Compose([Resize(resized, usual.interpolation), CenterCrop(image_size), PILToTensor()])
    normalize = Normalize(usual.mean, usual.std)
    images, labels = [], []
    for number, name in enumerate(names):
        for path in sorted((folder / name).iterdir()):
            pixels = prepare(Image.open(io.BytesIO(path.read_bytes())).convert("RGB"))
            images.append(normalize(pixels.float() / 255))
            labels.append(number)
    return torch.stack(images), torch.tensor(labels)


def trained(images: torch.Tensor, labels: torch.Tensor, classes: int, seconds: float) -> nn.Module:
    """A ResNet-18 from random weights, trained for `seconds` of CPU time; says how many epochs fitted."""
    torch.manual_seed(0)
    network = resnet18(num_classes=classes)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
    # Not by the clock on the wall: on a busy machine a minute of it may hold a single step.
    begun, started, steps = time.process_time(), time.perf_counter(), 0
    while time.process_time() - begun < seconds:
        for part in torch.randperm(len(images)).split(_BATCH):
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(images[part]), labels[part]).backward()
            optimizer.step()
            steps += 1
            if time.process_time() - begun >= seconds:
                break
    took = time.perf_counter() - started
    print(f"trained {steps * _BATCH / len(images):.1f} epochs in {seconds:g} s of CPU time, {took:.0f} s", flush=True)
    return network.eval()


def count_right(network: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> int:
    """How many images the network's largest output is right for."""
    with torch.no_grad():
        found = torch.cat([network(part).argmax(dim=1) for part in images.split(_BATCH)])
    return int((found == labels).sum())


def trimtab(folder: Path, *words: str) -> None:
    """Runs the command in the folder and says how long it took; ends the script where it fails."""
    begun = time.perf_counter()
    environment = {**os.environ, "TRIMTAB_HOME": str(folder / "out")}
    done = subprocess.run([sys.executable, "-m", "pipelines.cli", *words], cwd=folder, env=environment, check=False)
    took = time.perf_counter() - begun
    print(f"$ trimtab {' '.join(words)}: exit code {done.returncode}, {took:.0f} s", flush=True)
    if done.returncode:
        sys.exit(1)


def compressed(folder: Path, name: str, image_size: int, others: dict[str, str]) -> Evaluation:
    """The evaluation of the release that `trimtab run compress` makes of the user's files, which is verified."""
    given = {
        "model": "ft.pth", "architecture": "torchvision:resnet18", "labels": "labels.txt", "dataset": "data",
        "image_size": str(image_size), "release_name": name, **others,
    }  # fmt: skip
    words = [word for key, value in given.items() for word in ("-p", f"{key}={value}")]
    trimtab(folder, "run", "compress", *words, "--json", f"{name}.json")
    version = json.loads((folder / f"{name}.json").read_text())["outputs"]["release_version"]
    trimtab(folder, "verify", f"{name}/{version}")
    store = open_store(str(folder / "out" / "store"))
    return Evaluation.from_json(json.loads(store.releases.read(name, version, "evaluation.json")))


def main() -> None:
    """Trains, measures, compresses twice, compares."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--folder", type=Path, required=True)
    asked.add_argument("--seconds", type=float, default=60, help="CPU time of the training")
    asked.add_argument("--image-size", type=int, default=32)
    given = asked.parse_args()
    folder = given.folder.resolve()
    folder.mkdir(parents=True)
    print(f"CPU: {processor()}, {os.cpu_count()} logical; load {os.getloadavg()[0]:.1f}", flush=True)
    names = write_images(folder / "data")
    (folder / "labels.txt").write_text("".join(f"{name}\n" for name in names))
    network = trained(*prepared(folder / "data" / "train", names, given.image_size), len(names), given.seconds)
    torch.save(network.state_dict(), folder / "ft.pth")
    images, labels = prepared(folder / "data" / "test", names, given.image_size)
    right = count_right(network, images, labels)
    print(f"own script: {right} of {len(labels)} test images right, {right / len(labels):.2%}", flush=True)
    failed = False
    for name, others in (("quantized", _ONLY_QUANTIZED), ("compressed", {})):
        evaluation = compressed(folder, name, given.image_size, others)
        baseline, candidate = evaluation.primary.baseline.value, evaluation.primary.candidate.value
        same = (evaluation.rows, baseline) == (len(labels), right / len(labels))
        failed |= not same
        verdict = "equal to the script's" if same else f"NOT the script's {right / len(labels)!r}"
        print(f"{name}: baseline {baseline!r} on {evaluation.rows} images, {verdict}; release {candidate!r}")
    sys.exit(failed)


if __name__ == "__main__":
    main()
