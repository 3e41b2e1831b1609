"""Checks that need a GPU, in under six minutes: training with each precision, distillation, resuming after SIGTERM.

    tests/cuda/check.sh                 needs a CUDA device, and fails without one
    tests/cuda/check.sh --device cpu    the same checks on the CPU, small, to test this script

Every check prints one line; none is left out. The exit code is 0 only if all hold. Images per second are of whole
epochs after the first one, reading and validation included, and are printed beside those of this machine's CPU.
"""

import argparse
import io
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from components.core.bundles.model_bundle import ModelBundle
from components.core.data.dataset import Dataset, open_dataset, write_dataset
from components.core.models.architecture import Architecture
from components.core.store import open_store
from components.core.tasks import get_task
from components.core.tasks.images.assets import ImageAssets
from components.core.tasks.images.preprocess import Preprocess
from components.core.tasks.networks import fresh_network
from components.core.training.checkpoint import Checkpointer
from components.core.training.device import choose_device
from components.core.training.stopping import Stopped
from components.distill.distillation import DistillConfig, distill_bundle
from components.fine_tune.tuning import FineTuneConfig, fine_tune_bundle

CLASSES = ["rows", "columns", "plain"]
CUDA = {"rows": 6144, "side": 96, "batch_size": 256, "epochs": 4, "network": "timm:tf_efficientnet_lite0"}
SMALL = {"rows": 96, "side": 32, "batch_size": 16, "epochs": 3, "network": "timm:test_efficientnet"}
CPU_ROWS = 512
"""Of the same images, for the CPU's images per second beside the GPU's."""

LEAST_TOP1 = 0.9
KEY = "c" * 64


def stripes(count: int, side: int, seed: int) -> Iterator[dict[str, Any]]:
    """Images of noise with bright rows, bright columns or neither."""
    rng = np.random.default_rng(seed)
    for number in range(count):
        pixels = rng.integers(0, 120, (side, side, 3), dtype=np.uint8)
        if number % 3 < 2:
            pixels[::4] += 120
        if number % 3 == 1:
            pixels = np.ascontiguousarray(pixels.swapaxes(0, 1))
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "PNG", compress_level=1)
        image = buffer.getvalue()
        yield {"image": image, "label": number % 3, "digest": sha256(image).hexdigest(), "source": str(number)}


def make_data(folder: Path, size: dict[str, Any]) -> None:
    """The data set `folder/data` in the store `folder/store`."""
    store = open_store(str(folder / "store"))
    counts = {"train": size["rows"], "validation": size["rows"] // 8, "test": 4}
    splits = {
        split: sorted(stripes(count, size["side"], seed), key=lambda row: str(row["digest"]))
        for seed, (split, count) in enumerate(counts.items())
    }
    write_dataset(folder / "data", rows=get_task("classification").rows, classes=CLASSES, splits=splits, store=store)


def network(size: dict[str, Any], seed: int) -> ModelBundle:
    """A network with random weights."""
    architecture = Architecture(
        backbone="check", source=size["network"], num_outputs=len(CLASSES), task="classification"
    )
    preprocess = Preprocess(image_size=size["side"], mean=(0.5,) * 3, std=(0.25,) * 3)
    assets = ImageAssets(preprocess=preprocess, labels=list(CLASSES))
    return ModelBundle(module=fresh_network(architecture, seed=seed), architecture=architecture, assets=assets)


def settings(size: dict[str, Any], precision: str) -> dict[str, Any]:
    """The common settings of all trainings here; batch norms learn, since the weights are random."""
    return {
        "epochs": size["epochs"], "batch_size": size["batch_size"], "precision": precision, "optimizer": "adamw",
        "learning_rate": 0.003, "schedule": "cosine", "power": 1.0, "step_epochs": 1, "step_gamma": 0.5,
        "warmup_fraction": 0.1, "momentum": 0.9, "weight_decay": 0.01, "layer_decay": 1.0, "ema_decay": 0.0,
        "batch_norm": "train", "patience": 0, "checkpoint_seconds": 0, "seed": 0, "augment": False,
        "max_gradient_norm": 5.0,
    }  # fmt: skip


def tuned(size: dict[str, Any], dataset: Dataset, precision: str, **further: Any) -> dict[str, Any]:
    """One fine-tuning: top-1 before and after, images per second of the epochs after the first."""
    times: list[float] = []
    resumed = False

    def report(line: str) -> None:
        nonlocal resumed
        print(line, flush=True)
        if line.startswith("epoch "):
            times.append(time.monotonic())
        resumed = resumed or line.startswith("resumed in epoch")

    config = FineTuneConfig(**settings(size, precision), head_epochs=0, label_smoothing=0.0)
    bundle, history = fine_tune_bundle(network(size, 0), dataset, config, report=report, **further)
    assert all(bool(torch.isfinite(one).all()) for one in bundle.module.state_dict().values())
    return {
        "device": choose_device().type,
        "before": history.epochs[0]["validation_metric"],
        "top1": (history.best() or {})["validation_metric"],
        "steps": len(history.steps),
        "resumed": resumed,
        "rate": dataset.rows("train") * (len(times) - 2) / (times[-1] - times[1]) if len(times) > 2 else 0.0,
    }


def part(name: str, folder: Path, size: dict[str, Any], precision: str) -> dict[str, Any]:
    """One check, in a process of its own."""
    store = open_store(str(folder / "store"))
    dataset = open_dataset(folder / "data", store)
    if name == "tune":
        return tuned(size, dataset, precision)
    if name == "resume":
        return tuned(size, dataset, precision, checkpointer=Checkpointer(store, KEY, seconds=0))
    teacher = network(size, 0)
    fine_tune = FineTuneConfig(**settings(size, precision), head_epochs=0, label_smoothing=0.0)
    fine_tune_bundle(teacher, dataset, fine_tune, report=lambda _: None)
    config = DistillConfig(**settings(size, precision), student_size=0, alpha=0.9, temperature=2.0)
    _, history = distill_bundle(teacher, network(size, 1), dataset, config, report=print)
    return {
        "device": choose_device().type, "before": history.epochs[0]["validation_metric"],
        "top1": (history.best() or {})["validation_metric"], "steps": len(history.steps), "rate": 0.0,
    }  # fmt: skip


def child(name: str, folder: Path, size: dict[str, Any], precision: str, *, gpu: bool) -> "subprocess.Popen[str]":
    """The part in a process that sees the GPU, or none."""
    environment = {**os.environ, "TRIMTAB_CACHE": str(folder / "cache")}
    if not gpu:
        environment["CUDA_VISIBLE_DEVICES"] = ""
    words = ["--part", name, "--folder", str(folder), "--size", json.dumps(size), "--precision", precision]
    return subprocess.Popen(
        [sys.executable, __file__, *words], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def result(process: "subprocess.Popen[str]") -> dict[str, Any]:
    """The part's result; its output, if it fails."""
    said, _ = process.communicate()
    if process.returncode:
        raise RuntimeError(f"exit code {process.returncode}: {said[-3000:]}")
    found: dict[str, Any] = json.loads(said.strip().splitlines()[-1])
    return found


def stopped_once(folder: Path, size: dict[str, Any], *, gpu: bool) -> None:
    """Starts a training, and ends it with SIGTERM after its first epoch."""
    process = child("resume", folder, size, "auto", gpu=gpu)
    assert process.stdout is not None
    said = []
    for line in process.stdout:
        said.append(line)
        if line.startswith("epoch 1/"):
            process.send_signal(signal.SIGTERM)
    if process.wait() != 143:
        raise RuntimeError(
            f"a training that was asked to stop ended with {process.returncode}: {''.join(said)[-2000:]}"
        )


def checks(folder: Path, size: dict[str, Any], device: str) -> Iterator[tuple[str, bool, str]]:
    """Name, whether it holds, and what was seen."""
    gpu = device == "cuda"

    def judged(found: dict[str, Any]) -> tuple[bool, str]:
        good = found["top1"] >= LEAST_TOP1 and found["top1"] > found["before"] and found["device"] == device
        rate = f", {found['rate']:,.0f} images/s" if found["rate"] else ""
        return good, f"on {found['device']}: top-1 {found['before']:.2f} → {found['top1']:.2f}{rate}"

    whole = None
    for precision in ("float32", "bfloat16", "float16"):
        found = result(child("tune", folder, size, precision, gpu=gpu))
        yield (f"fine-tune, {precision}", *judged(found))
        whole = whole or found
    assert whole is not None
    yield ("distil, auto", *judged(result(child("distill", folder, size, "auto", gpu=gpu))))
    stopped_once(folder, size, gpu=gpu)
    resumed = result(child("resume", folder, size, "auto", gpu=gpu))
    good, said = judged(resumed)
    good = good and resumed["resumed"] and resumed["steps"] == whole["steps"]
    yield "resume after SIGTERM", good, f"{said}; {resumed['steps']} steps, as without a stop"
    if gpu:
        with tempfile.TemporaryDirectory() as other:
            fewer = {**size, "rows": CPU_ROWS, "batch_size": 64, "epochs": 2}
            make_data(Path(other), fewer)
            beside = result(child("tune", Path(other), fewer, "float32", gpu=False))
        yield (
            "the CPU beside it", beside["device"] == "cpu",
            f"{beside['rate']:,.0f} images/s with {torch.get_num_threads()} threads, float32",
        )  # fmt: skip


def main() -> int:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    asked.add_argument("--part", help=argparse.SUPPRESS)
    asked.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    asked.add_argument("--size", type=json.loads, help=argparse.SUPPRESS)
    asked.add_argument("--precision", help=argparse.SUPPRESS)
    given = asked.parse_args()
    if given.part:
        try:
            print(json.dumps(part(given.part, given.folder, given.size, given.precision)))
        except Stopped:
            return 143
        return 0
    if given.device == "cuda" and not torch.cuda.is_available():
        print("no CUDA device: nothing was checked; --device cpu tests this script")
        return 1
    size = CUDA if given.device == "cuda" else SMALL
    device = torch.cuda.get_device_name() if given.device == "cuda" else "CPU"
    print(f"torch {torch.__version__}, {device}; {size['network']}, {size['rows']} images of {size['side']} px")
    failed, began = [], time.monotonic()
    with tempfile.TemporaryDirectory(prefix="trimtab-cuda-") as folder:
        make_data(Path(folder), size)
        for name, good, said in checks(Path(folder), size, given.device):
            print(f"{'ok    ' if good else 'FAILED'} {name}: {said} ({time.monotonic() - began:.0f} s)", flush=True)
            if not good:
                failed.append(name)
    print("all hold" if not failed else f"failed: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
