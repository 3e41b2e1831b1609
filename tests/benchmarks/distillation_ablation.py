"""The gain of other losses and of mixed images in distillation: validation top-1, each way with the same seeds.

    nice python tests/benchmarks/distillation_ablation.py --store trimtab-out/store --seeds 3
    nice python tests/benchmarks/distillation_ablation.py --store trimtab-out/store --seeds 3 --ways default dkd dist

The store is of a finished `trimtab run`, of the embedded demo or of images of one's own. Its baseline teaches its
largest pruned student for `--epochs` epochs, everything else as declared. Ways take turns seed by seed, and each line
is printed as it is known. Differences are paired by seed: they began with the same student and saw the same batches. No
way reads test data.
"""

import argparse
import copy
import json
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from components.core.artifacts.manifest import Manifest, parse_manifest
from components.core.bundles.model_bundle import ModelBundle, load_model
from components.core.data.batch import Batch
from components.core.data.dataset import Dataset
from components.core.parameters import DECLARED
from components.core.runtime.host import describe_host
from components.core.store import Store, open_store
from components.core.tasks import Task
from components.distill import distillation
from components.distill.distillation import DistillConfig, distill_bundle
from components.distill.losses import mixed_loss, soft_target_loss

DKD_BETA = 2.0
"""Weight of the classes that are not the target; the authors use 0.5 to 8."""

WAYS: dict[str, dict[str, Any]] = {
    "default": {},
    "mixup": {"mixing": "mixup"},
    "mixup, half of the batches": {"mixing": "mixup", "part": 0.5},
    "cutmix, half of the batches": {"mixing": "cutmix", "part": 0.5},
    "dkd": {"soft": "dkd"},
    "dist": {"soft": "dist", "temperature": 1.0},
    "labels not used": {"alpha": 1.0},
    "temperature 4": {"temperature": 4.0},
    "averaged weights": {"ema_decay": 0.99},
    "batch statistics": {"batch_norm": "train"},
    "one rate for all layers": {"layer_decay": 1.0},
    "twice the learning rate": {"times_learning_rate": 2.0},
    "twice the epochs": {"times_epochs": 2},
}
OF_LOSS = ("mixing", "part", "soft", "times_learning_rate", "times_epochs")


def mixup(images: Tensor, order: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Each image and its partner, added with weights λ and 1 − λ, λ ≥ ½ uniform; the images and λ `(N,)`.

    Zhang et al. 2018, arXiv:1710.09412; uniform as in Beyer et al. 2022, arXiv:2106.05237.
    """
    share = torch.from_numpy(1 - rng.random(len(images), dtype=np.float32) / 2)
    weight = share.reshape(-1, 1, 1, 1)
    return weight * images + (1 - weight) * images[order], share


def cutmix(images: Tensor, order: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """One rectangle of each image is its partner's; the images and the part λ `(N,)` that is its own.

    Yun et al. 2019, arXiv:1905.04899, the rectangle kept within the image.
    """
    height, width = images.shape[2:]
    side = rng.random() ** 0.5
    tall, wide = int(height * side), int(width * side)
    top, left = rng.integers(0, height - tall + 1), rng.integers(0, width - wide + 1)
    mixed = images.clone()
    mixed[:, :, top : top + tall, left : left + wide] = images[order][:, :, top : top + tall, left : left + wide]
    return mixed, torch.full((len(images),), 1 - tall * wide / (height * width))


def dkd(student: Tensor, teacher: Tensor, targets: Tensor, temperature: float) -> Tensor:
    """`T² · (KL of target against the rest + β · KL among the rest)`, summed over rows; logits `(N, C)`.

    Zhao et al. 2022, arXiv:2203.08679, eq. 7, with α = 1.
    """
    target = F.one_hot(targets, student.shape[1]).bool()
    ours, theirs = (F.log_softmax(logits / temperature, dim=1) for logits in (student, teacher))

    def against_rest(logarithms: Tensor) -> Tensor:
        rest = torch.logsumexp(logarithms.masked_fill(target, -torch.inf), dim=1)
        return torch.stack([logarithms[target], rest], dim=1)

    def among_rest(logits: Tensor) -> Tensor:
        return F.log_softmax((logits / temperature)[~target].reshape(len(logits), -1), dim=1)

    first = F.kl_div(against_rest(ours), against_rest(theirs), reduction="sum", log_target=True)
    second = F.kl_div(among_rest(student), among_rest(teacher), reduction="sum", log_target=True)
    return temperature**2 * (first + DKD_BETA * second)


def dist(student: Tensor, teacher: Tensor, targets: Tensor, temperature: float) -> Tensor:
    """`2 · N · T² · (2 − mean correlation of rows − mean correlation of classes)`, a scalar; logits `(N, C)`.

    Huang et al. 2022, arXiv:2205.10536, eq. 9 and 10 with β = γ = 2, times N because losses here are sums.
    """
    ours, theirs = (F.softmax(logits / temperature, dim=1) for logits in (student, teacher))

    def correlation(one: Tensor, other: Tensor) -> Tensor:
        return F.cosine_similarity(one - one.mean(1, keepdim=True), other - other.mean(1, keepdim=True), dim=1).mean()

    return 2 * len(student) * temperature**2 * (2 - correlation(ours, theirs) - correlation(ours.T, theirs.T))


def hinton(student: Tensor, teacher: Tensor, targets: Tensor, temperature: float) -> Tensor:
    return soft_target_loss(student, teacher, temperature=temperature)


SOFT = {"hinton": hinton, "dkd": dkd, "dist": dist}
MIXED = {"mixup": mixup, "cutmix": cutmix}


def step_loss_of(way: Mapping[str, Any], seed: int) -> Callable[..., Callable[[nn.Module, Batch], Tensor]]:
    """Stands in for the stage's own loss of a step."""
    rng = np.random.default_rng(seed)

    def made(teacher: nn.Module, task: Task, assets: Any, config: DistillConfig, dataset: Dataset) -> Any:
        settings = task.training_settings(config.settings, dataset)
        soft_loss = SOFT[way.get("soft", "hinton")]

        def step_loss(model: nn.Module, batch: Batch) -> Tensor:
            order = torch.arange(len(batch))
            share = torch.ones(len(batch))
            if "mixing" in way and rng.random() < way.get("part", 1.0):
                ((name, images),) = batch.inputs.items()
                order = torch.from_numpy(rng.permutation(len(batch)))
                images, share = MIXED[way["mixing"]](images, order, rng)
                batch = replace(batch, inputs={name: images})
            with torch.no_grad():
                taught = teacher(*batch.inputs.values())
            outputs = model(*task.student_inputs(batch.inputs, *assets).values())
            soft = soft_loss(outputs, taught, batch.targets, config.temperature)
            if bool((share == 1).all()):
                hard = task.loss(outputs, batch, settings=settings)
            else:
                terms = F.cross_entropy(outputs, batch.targets, reduction="none")
                others = F.cross_entropy(outputs, batch.targets[order], reduction="none")
                hard = (share * terms + (1 - share) * others).sum()
            return mixed_loss(hard, soft, alpha=config.alpha)

        return step_loss

    return made


def results(store: Store, folder: Path, stage: str, output: str) -> list[Manifest]:
    """Of a stage, the oldest first."""
    found = []
    for path in sorted((folder / "results" / stage).glob("*.json"), key=lambda path: path.stat().st_mtime):
        record = store.results.load(stage, path.stem)
        assert record is not None
        digest = record["output_artifacts"][output][0]["files"]["manifest.json"]
        found.append(parse_manifest(json.loads(store.blobs.get(digest))))
    return found


def trained(
    teacher: ModelBundle, student: ModelBundle, dataset: Dataset, way: Mapping[str, Any], **given: int
) -> float:
    """Validation top-1 of a copy of the student, in percent, of its best epoch."""
    names = {field.name: DistillConfig.declared_as.get(field.name, field.name) for field in fields(DistillConfig)}
    values = {own: DECLARED[name].default for own, name in names.items() if name in DECLARED}
    values |= {**given, "patience": 0, "augment": True} | {k: v for k, v in way.items() if k not in OF_LOSS}
    values["epochs"] *= way.get("times_epochs", 1)
    values["learning_rate"] *= way.get("times_learning_rate", 1.0)
    distillation._step_loss = step_loss_of(way, given["seed"])  # type: ignore[assignment]
    copied = replace(student, module=copy.deepcopy(student.module))
    _, history = distill_bundle(teacher, copied, dataset, DistillConfig(**values), report=lambda _: None)
    best = history.best()
    assert best is not None
    return 100 * float(best["validation_metric"])


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--store", type=Path, required=True)
    asked.add_argument("--seeds", type=int, default=3)
    asked.add_argument("--epochs", type=int, default=DECLARED["distill_epochs"].default)
    asked.add_argument("--ways", nargs="+", choices=list(WAYS), default=list(WAYS))
    given = asked.parse_args()
    store = open_store(str(given.store))
    teacher = load_model(results(store, given.store, "fine_tune", "tuned")[-1], store)
    students = [load_model(one, store) for one in results(store, given.store, "prune", "pruned")]
    student = max(students, key=lambda one: sum(weights.numel() for weights in one.module.parameters()))
    dataset = Dataset(results(store, given.store, "data_prep", "prepared")[-1], store)
    print(f"{dataset.rows('train')} training, {dataset.rows('validation')} validation images; "
          f"{describe_host()['processor']}, {torch.get_num_threads()} threads")  # fmt: skip

    found: dict[str, list[float]] = {way: [] for way in given.ways}
    for seed in range(given.seeds):
        for way in given.ways:
            began = time.perf_counter()
            found[way].append(trained(teacher, student, dataset, WAYS[way], epochs=given.epochs, seed=seed))
            print(f"seed {seed}, {way}: {found[way][-1]:.2f} ({time.perf_counter() - began:.0f} s)", flush=True)
    first = given.ways[0]
    print(f"\n| way | validation top-1 | against {first}, paired |\n|---|---|---|")
    for way, values in found.items():
        paired = [one - other for one, other in zip(values, found[first], strict=True)]
        several = len(values) > 1
        spread = f" ± {statistics.stdev(values):.2f}" if several else ""
        error = f" ± {statistics.stdev(paired) / len(paired) ** 0.5:.2f}" if several and way != first else ""
        print(f"| {way} | {statistics.mean(values):.2f}{spread} | {statistics.mean(paired):+.2f}{error} |")


if __name__ == "__main__":
    main()
