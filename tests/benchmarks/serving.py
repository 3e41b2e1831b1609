"""A release behind real servers, and its client alone: requests per second, latency and memory, bytes in, label out.

    nice python tests/benchmarks/serving.py --size 224 --requests 2000

An int8 classifier (EfficientNet-Lite0, random weights, calibrated on random images: speed only), laid out with and
without folded preprocessing, and photographs of 640 × 480 pixels as JPEG.

    alone    one process and one thread, without a server: decode, resize, normalise, network, softmax
    server   Triton and KServe's Python server of `tests/inference_servers`, one thread of onnxruntime per instance;
             `tritonclient` on the same machine, which takes CPU time from them. "end to end" is with decoding and
             resizing in the client, "request" without

Closed loop: each of so many clients sends its next request when its last one is answered. The first requests warm up
and do not count. CPU time, of server and client, is what a busy machine disturbs least. Memory: resident, of the server
with its children; what they share counts for each.
"""

import argparse
import io
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))

from inference_servers import SERVERS, Server, ask, serving
from small_releases import release_files

from components.core.bundles.model_bundle import ModelBundle, save_model
from components.core.bundles.onnx_bundle import OnnxBundle
from components.core.bundles.release_folder import read_release
from components.core.data.dataset import open_dataset, write_dataset
from components.core.models.architecture import Architecture
from components.core.runtime.conversion import float32_of
from components.core.runtime.host import describe_host
from components.core.runtime.sessions import open_session
from components.core.store import open_store
from components.core.tasks import get_task
from components.core.tasks.classification.pages import CLIENT
from components.core.tasks.images.assets import ImageAssets, softmax
from components.core.tasks.images.preprocess import Preprocess
from components.core.tasks.networks import build
from components.export.layouts import model_repository
from components.quantize.calibration import QuantizeConfig
from components.quantize.quantization import convert

CLASSES = [f"class {number}" for number in range(10)]
PHOTOS = 32


def photograph(seed: int, size: tuple[int, int] = (640, 480)) -> bytes:
    """A JPEG that takes as long to decode as a photograph of this size: smooth, with some noise."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)).resize(size, Image.Resampling.BICUBIC)
    pixels = np.asarray(coarse).astype(np.int16) + rng.integers(-12, 13, (size[1], size[0], 1))
    buffer = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=88)
    return buffer.getvalue()


def release(folder: Path, size: int) -> OnnxBundle:
    """An int8 classifier's files in `folder`, as a release has them."""
    store = open_store(str(folder.parent / "store"))
    rows = []
    for number in range(60):
        image = photograph(number, (size, size))
        label = number % len(CLASSES)
        rows.append({"image": image, "label": label, "digest": sha256(image).hexdigest(), "source": str(number)})
    splits = {"train": sorted(rows, key=lambda row: row["digest"])}
    write_dataset(
        folder.parent / "data", rows=get_task("classification").rows, classes=CLASSES, splits=splits, store=store
    )
    torch.manual_seed(0)
    architecture = Architecture(
        backbone="efficientnet_lite0",
        source="timm:tf_efficientnet_lite0",
        num_outputs=len(CLASSES),
        task="classification",
    )
    preprocess = Preprocess(image_size=size, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    module = build(architecture)
    images = torch.from_numpy(np.stack([preprocess(row["image"]) for row in rows[:24]]))
    for part in module.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            part.momentum = None
    with torch.no_grad():
        module.train()(images)
    assets = ImageAssets(preprocess=preprocess, labels=CLASSES, temperature=1.3)
    network = ModelBundle(module=module.eval(), architecture=architecture, assets=assets)
    source = save_model(folder.parent / "model", network, store, {"dataset": "7a" * 32})
    config = QuantizeConfig(scheme="int8", method="minmax", images=20, seed=0)
    (folder.parent / "converted").mkdir()
    dataset = open_dataset(folder.parent / "data", store)
    int8 = convert(float32_of(source, store), dataset, config, folder.parent / "converted", threads=1)
    folder.mkdir()
    graphs = {name: onnx.load(path) for name, path in int8.graphs.items()}
    for name, content in {**release_files(graphs, assets, task="classification"), "client.py": CLIENT.encode()}.items():
        (folder / name).write_bytes(content)
    return read_release(folder)


def client_module(folder: Path) -> ModuleType:
    """The release's own client."""
    module = ModuleType("client")
    exec(compile((folder / "client.py").read_text(), "client.py", "exec"), module.__dict__)
    return module


def milliseconds(call: Callable[[bytes], object], photos: list[bytes]) -> float:
    """Median CPU milliseconds per photograph."""
    for photo in photos[:8]:
        call(photo)
    times = []
    for photo in photos * 4:
        start = time.process_time()
        call(photo)
        times.append(time.process_time() - start)
    return 1000 * statistics.median(times)


def alone(folder: Path, bundle: OnnxBundle, plain: bytes, folded: bytes, photos: list[bytes]) -> None:
    """The client without a server, part by part: with folded preprocessing and without, in turn."""
    client = client_module(folder)
    prepare, temperature = bundle.assets.preprocess.to_json(), bundle.assets.temperature
    networks = {"float32 in": open_session(plain), "uint8 in": open_session(folded)}

    def by_client(photo: bytes) -> str:
        image = client.network_input(client.upright_rgb(photo), prepare)
        logits = networks["float32 in"].run(None, {"images": image[None]})[0]
        return CLASSES[softmax(logits, temperature)[0].argmax()]

    def by_graph(photo: bytes) -> str:
        pixels = client.network_pixels(client.upright_rgb(photo), prepare)
        return CLASSES[networks["uint8 in"].run(None, {"pixels": pixels[None]})[0][0].argmax()]

    images = {photo: client.upright_rgb(photo) for photo in photos}
    parts: dict[str, Callable[[bytes], object]] = {
        "decode": client.upright_rgb,
        "decode and resize": lambda photo: client.network_pixels(client.upright_rgb(photo), prepare),
        "resize": lambda photo: client.network_pixels(images[photo], prepare),
        "resize and normalise": lambda photo: client.network_input(images[photo], prepare),
        "all, by the client": by_client,
        "all, folded": by_graph,
    }
    assert [by_client(photo) for photo in photos] == [by_graph(photo) for photo in photos]
    found: dict[str, list[float]] = {name: [] for name in parts}
    for _ in range(3):
        for name, call in parts.items():
            found[name].append(milliseconds(call, photos))
    print("\nalone, one thread, CPU ms per photograph (median of three medians)")
    for name, values in found.items():
        print(f"  {name:24} {statistics.median(values):8.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=224, help="pixels of the network's input")
    parser.add_argument("--requests", type=int, default=1000, help="per measurement")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 32], help="how many ask at a time")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="serving-") as name:
        work = Path(name)
        bundle = release(work / "release", given.size)
        layouts = {  # no blanks: Triton's Python backend splits a path at them
            "float32-in": model_repository(bundle, name="model", release="model/0"),
            "uint8-in": model_repository(bundle, name="model", release="model/0", is_folded=True),
        }
        for form, files in layouts.items():
            for path, content in files.items():
                (work / form / path).parent.mkdir(parents=True, exist_ok=True)
                (work / form / path).write_bytes(content)
        photos = [photograph(seed) for seed in range(PHOTOS)]
        paths = [work / f"{number}.jpg" for number in range(PHOTOS)]
        for path, photo in zip(paths, photos, strict=True):
            path.write_bytes(photo)
        host = describe_host()
        print(f"{host['processor']}, {host['cores']} cores, onnxruntime {host['versions']['onnxruntime']}")
        print(f"EfficientNet-Lite0 int8, {given.size} px; JPEGs of {sum(map(len, photos)) / PHOTOS / 1000:.0f} kB")
        models = [files["model/1/model.onnx"] for files in layouts.values()]
        alone(work / "release", bundle, models[0], models[1], photos)
        heads = (
            "server",
            "form",
            "clients",
            "what",
            "per s",
            "p50 ms",
            "p99 ms",
            "server CPU ms",
            "client CPU ms",
            "MB",
        )
        print("\n" + " | ".join(heads))
        for kind in SERVERS:
            for form in layouts:
                with serving(kind, work / form) as server:
                    ask(server, "model", paths, work / "release", requests=100, concurrency=8, prepared=True)
                    for clients in given.clients:
                        for prepared in (True, False):
                            figures = measured(server, paths, work / "release", given.requests, clients, prepared)
                            what = "request" if prepared else "end to end"
                            print(" | ".join((kind, form, str(clients), what, *figures)), flush=True)


def measured(
    server: Server, paths: list[Path], release: Path, requests: int, clients: int, prepared: bool
) -> tuple[str, ...]:
    """Requests per second, p50 and p99, CPU time per request of server and client, memory of the server."""
    before = server.cpu_seconds
    found = ask(server, "model", paths, release, requests=requests, concurrency=clients, prepared=prepared)
    each = 1000 / requests
    p50, p99 = np.percentile(found["seconds"], [50, 99]) * 1000
    return (
        f"{requests / found['wall']:.0f}", f"{p50:.2f}", f"{p99:.2f}", f"{each * (server.cpu_seconds - before):.2f}",
        f"{each * found['cpu']:.2f}", f"{server.resident_bytes / 1e6:.0f}",
    )  # fmt: skip


if __name__ == "__main__":
    main()
