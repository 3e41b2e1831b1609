"""Images of other sizes than the network's: in windows, and whole by a graph with free height and width."""

import io
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
import torch
from evaluation_documents import evaluation, metric_result, model
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from components.core.bundles.model_bundle import ModelBundle
from components.core.bundles.onnx_bundle import OnnxBundle
from components.core.data.batch import Batch
from components.core.errors import UserError
from components.core.models.architecture import Architecture
from components.core.models.inputs import BATCH, trials
from components.core.runtime.conversion import describe_file, float32_bundle
from components.core.runtime.fusion import integer_share
from components.core.runtime.serving import graph_calls, graph_inputs, graph_trials
from components.core.runtime.sessions import open_session
from components.core.tasks import get_task
from components.core.tasks.images.preprocess import Preprocess
from components.core.tasks.segmentation.assets import SegmentationAssets
from components.core.tasks.segmentation.details import SegmentationDetails
from components.core.tasks.segmentation.examples import MaskedImages
from components.core.tasks.segmentation.inference import Inference, find_mask, starts
from components.core.tasks.segmentation.masks import IGNORED, default_palette, encode
from components.core.tasks.segmentation.networks import SegmentationNetwork, build
from components.core.tasks.segmentation.pages import SegmentationPages
from components.core.tasks.segmentation.task import CALLS
from components.quantize.int8 import calibrate

SIDE = 32
CLASSES = ["background", "cup", "shoe"]
SOURCE = "timm:tf_mobilenetv3_small_minimal_100"
TASK = get_task("segmentation")


def assets(mode: str, side: int = SIDE) -> SegmentationAssets:
    return SegmentationAssets(
        preprocess=Preprocess(image_size=side, mean=(0.5, 0.4, 0.3), std=(0.2, 0.2, 0.25), resize="fit"),
        labels=CLASSES,
        palette=default_palette(len(CLASSES)),
        inference=Inference.of(mode, side),
    )


def scene(width: int, height: int, seed: int = 0) -> np.ndarray:
    """Smooth colours, so that neighbouring pixels are alike, as in a photograph."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8))
    return np.asarray(small.resize((width, height), Image.Resampling.BICUBIC))


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def mixing(images: np.ndarray) -> np.ndarray:
    """Logits that depend on the whole window, as a real network's do."""
    colours = images[:, :, ::-1, ::-1] + 0.5 * images.mean(axis=(2, 3), keepdims=True)
    return colours.astype(np.float32)


@given(length=st.integers(1, 400), window=st.integers(1, 100), data=st.data())
def test_windows_cover_every_pixel_evenly_and_lie_inside(length: int, window: int, data: st.DataObject) -> None:
    step = data.draw(st.integers(1, window))
    found = starts(length, window, step)
    assert found[0] == 0
    assert found[-1] == max(0, length - window)
    gaps = np.diff(found)
    assert (gaps >= 1).all()
    assert gaps.max(initial=0) <= step <= window
    assert gaps.max(initial=0) - gaps.min(initial=step) <= 1
    # No fewer would do.
    assert len(found) == 1 or (len(found) - 2) * step + window < length


@given(width=st.integers(1, 75), height=st.integers(1, 75), seed=st.integers(0, 9))
def test_a_mask_by_windows_is_that_of_a_loop_over_pixels_windows_and_means(width: int, height: int, seed: int) -> None:
    side, step, known = 24, 16, assets("sliding", 24)
    assert known.inference.step == step
    pixels = scene(width, height, seed)
    total, count = np.zeros((3, height, width), np.float64), np.zeros((height, width))
    calls = 0
    for top in starts(height, side, step):
        for left in starts(width, side, step):
            square = np.full((side, side, 3), [round(255 * value) for value in known.preprocess.mean], np.uint8)
            for y in range(top, min(top + side, height)):
                for x in range(left, min(left + side, width)):
                    square[y - top, x - left] = pixels[y, x]
            logits = mixing(known.preprocess.normalized(square)[None])[0]
            for y in range(top, min(top + side, height)):
                total[:, y, left : left + side] += logits[:, y - top, : min(side, width - left)]
                count[y, left : left + side] += 1
            calls += 1
    assert (count >= 1).all()
    mean = np.sort(total / count, axis=0)
    clear = mean[-1] - mean[-2] > 1e-4
    mask, taken = find_mask(pixels, mixing, known.preprocess, known.inference)
    assert (mask.dtype, mask.shape, taken) == (np.uint8, (height, width), calls)
    np.testing.assert_array_equal(mask[clear], (total / count).argmax(0)[clear])


def test_an_image_that_fits_takes_one_window_and_is_the_resized_one() -> None:
    pixels, network = scene(20, 30), SimpleNamespace(run=lambda names, feed: [mixing(feed["images"])])
    target = np.zeros(pixels.shape[:2], np.uint8)
    found = {}
    for mode in ("resize", "sliding"):
        known = assets(mode)
        transform = TASK.transform(known, full_size=True)
        batch = transform.collate([transform.decode({"image": png(pixels), "mask": encode(target)})], ["d"], None)
        found[mode] = TASK.predict(TASK.run({"model": network}, batch, known), batch, known)[0]
    np.testing.assert_array_equal(found["sliding"], found["resize"])


def test_an_answer_that_is_no_number_is_seen_though_the_mask_does_not_show_it() -> None:
    def run(names, feed):
        logits = mixing(feed["images"])
        logits[0, 0, 0, 0] = np.nan if feed["images"].mean() > 0 else -9
        return [logits]

    known, bright, dark = assets("sliding"), np.full((70, 40, 3), 250, np.uint8), np.zeros((40, 20, 3), np.uint8)
    batch = Batch(inputs={"images": [dark, bright]}, targets=[], digests=["a", "b"])
    outputs = TASK.run({"model": SimpleNamespace(run=run)}, batch, known)
    assert outputs["calls"].tolist() == [2, 6]
    assert np.isnan(outputs["largest_logits"]).tolist() == [False, True]
    assert {mask.dtype for mask in outputs["masks"]} == {np.dtype(np.uint8)}


def test_memory_of_the_windows_is_that_of_a_strip(monkeypatch: pytest.MonkeyPatch) -> None:
    largest = 0
    zeros = np.zeros

    def counted(*args, **options):
        nonlocal largest
        made = zeros(*args, **options)
        largest = max(largest, made.size)
        return made

    monkeypatch.setattr(np, "zeros", counted)
    find_mask(scene(40, 900), mixing, assets("sliding").preprocess, Inference.of("sliding", SIDE))
    assert largest == 3 * SIDE * 40


def test_an_image_taken_whole_is_padded_with_zeros_and_the_answer_is_cropped() -> None:
    seen = []

    def network(images: np.ndarray) -> np.ndarray:
        seen.append(images)
        return images

    known, pixels = assets("whole"), scene(123, 77)
    mask, calls = find_mask(pixels, network, known.preprocess, known.inference)
    (images,) = seen
    assert (images.shape, mask.shape, calls) == ((1, 3, 96, 128), (77, 123), 1)
    normalized = known.preprocess.normalized(pixels)
    np.testing.assert_array_equal(images[0, :, :77, :123], normalized)
    assert not images[0, :, 77:].any()
    assert not images[0, :, :, 123:].any()
    np.testing.assert_array_equal(mask, normalized.argmax(0))


@pytest.mark.parametrize("mode", ["sliding", "whole"])
def test_assets_come_back_from_files_and_from_metadata(mode: str) -> None:
    known = assets(mode)
    files, facts = known.to_files(), json.loads(json.dumps(known.to_metadata()))
    assert TASK.read_assets(files) == TASK.read_metadata(facts) == known
    assert "inference.json" in files
    assert known.describe()["images"]
    for wrong in ({"mode": "whale"}, {"mode": mode}, {"mode": mode, "stride": 3}, []):
        with pytest.raises(ValueError, match="inference"):
            TASK.read_metadata({**facts, "inference": wrong})


def test_a_resizing_network_has_the_files_that_it_had_before_there_were_other_ways() -> None:
    known = assets("resize")
    assert sorted(known.to_files()) == ["labels.json", "palette.json", "preprocess.json"]
    assert sorted(known.to_metadata()) == ["labels", "palette", "preprocess"]
    assert sorted(known.describe()) == ["classes", "input"]
    batch = Batch(inputs={}, targets=[np.zeros((2, 2), np.uint8)], digests=["d"])
    details = SegmentationDetails(CLASSES)
    details.add({"logits": np.zeros((1, 3, 2, 2))}, [np.zeros((2, 2), np.uint8)], batch)
    assert sorted(details.finish()) == ["confusion", "per_class"]


def test_what_cannot_be_is_refused_with_what_would_work() -> None:
    with pytest.raises(UserError, match=r"multiple of 32, got 100; take 96 or 128"):
        Inference.of("whole", 100)
    with pytest.raises(UserError, match="inference must be one of resize, sliding, whole; got 'slide'"):
        Inference.of("slide", 96)
    for mode in ("sliding", "whole"):
        with pytest.raises(UserError, match="student_size 24 needs inference resize"):
            TASK.student_assets(assets(mode), assets(mode), 24)
        assert TASK.student_assets(assets(mode), assets(mode), 0) == assets(mode)
    with pytest.raises(UserError, match="cannot be exported with dynamic height and width"):
        build("torchvision:squeezenet1_1", 3, head="fcn", seed=0, width=8).with_free_size()


def test_training_sees_windows_of_the_image_at_its_own_resolution() -> None:
    pixels, mask = scene(90, 60), np.zeros((60, 90), np.uint8)
    mask[20:40, 30:70] = 1
    row = {"image": png(pixels), "mask": encode(mask)}
    transform = TASK.transform(
        assets("sliding"), settings={"smallest_scale": 1, "largest_scale": 1, "colour_jitter": 0}
    )
    assert isinstance(transform, MaskedImages)
    example = transform.decode(row)
    plain = transform.collate([example, example], ["a", "b"], None)
    preprocess = assets("sliding").preprocess
    np.testing.assert_array_equal(plain.inputs["images"][0], preprocess.normalized(pixels[14:46, 29:61]))
    np.testing.assert_array_equal(plain.targets[0], mask[14:46, 29:61])
    draws = transform.draw(np.random.default_rng(0), 8)
    batch = transform.collate([example] * 8, list("abcdefgh"), {**draws, "flip": np.zeros(8)})
    for number in range(8):
        top, left = 28 * draws["top"][number], 58 * draws["left"][number]
        y, x = round(float(top)), round(float(left))
        shown = batch.targets[number]
        # Resampled at a fraction of a pixel: the edge of the class may lie one pixel aside.
        assert (shown != mask[y : y + SIDE, x : x + SIDE]).mean() < 0.1
        expected = preprocess.normalized(pixels[y : y + SIDE, x : x + SIDE])
        assert np.abs(batch.inputs["images"][number] - expected).mean() < 0.2


def test_a_small_image_in_training_is_not_enlarged() -> None:
    pixels, mask = scene(10, 60), np.ones((60, 10), np.uint8)
    transform = TASK.transform(assets("whole"), settings={"smallest_scale": 1, "largest_scale": 1})
    example = transform.decode({"image": png(pixels), "mask": encode(mask)})
    batch = transform.collate([example], ["a"], transform.draw(np.random.default_rng(0), 1))
    assert batch.targets.shape == (1, SIDE, SIDE)
    assert ((batch.targets == 1).sum(), batch.count) == (10 * SIDE, 10 * SIDE)
    assert (batch.targets == IGNORED).sum() == 22 * SIDE


@pytest.fixture(scope="module")
def network() -> SegmentationNetwork:
    """The strided layers of a "tf_" network are padded by size; classes differ from pixel to pixel."""
    made = build(SOURCE, len(CLASSES), head="lraspp", seed=0, width=16)
    for part in made.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            part.momentum = None
    rng = np.random.default_rng(1)
    images = assets("whole", 96).preprocess.normalized(np.stack([scene(96, 96, seed) for seed in range(8)]))
    with torch.no_grad():
        made.train()(torch.from_numpy(images))
        for name in made.output_layers:
            made.get_submodule(name).weight.normal_(generator=torch.Generator().manual_seed(int(rng.integers(99))))
    return made.eval()


@pytest.fixture(scope="module")
def whole(network: SegmentationNetwork, tmp_path_factory: pytest.TempPathFactory) -> OnnxBundle:
    architecture = Architecture(
        backbone="b",
        source=SOURCE,
        num_outputs=len(CLASSES),
        task="segmentation",
        options={"head": "lraspp", "width": 16},
    )
    bundle = ModelBundle(module=network, architecture=architecture, assets=assets("whole", 96))
    return float32_bundle(bundle, tmp_path_factory.mktemp("whole"), source_digest="0" * 64)


@pytest.fixture(scope="module")
def whole_int8(whole: OnnxBundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same as int8: calibrated on squares, as everything is that trains."""
    path = tmp_path_factory.mktemp("int8") / "model.onnx"
    images = whole.assets.preprocess.normalized(np.stack([scene(96, 96, seed) for seed in range(20)]))
    made = (
        calibrate(
            whole.graphs["model"], lambda: iter([{"images": images}]), method="percentile", stay_float=TASK.stay_float
        )
        .integers()
        .model
    )
    describe_file(made, whole)
    onnx.save(made, path)
    return path


def test_the_export_is_compared_at_a_second_size_of_other_proportions(whole: OnnxBundle) -> None:
    parity = whole.provenance["parity"]
    assert parity["sizes"] == [{"height": 96, "width": 96}, {"height": 128, "width": 160}]
    assert parity["relative_difference"] < 1e-4
    assert graph_trials(whole, "model") == parity["sizes"]
    ((spec,), free) = graph_inputs(whole, "model")
    assert (spec.shape, free) == ((BATCH, 3, "height", "width"), {"height": 96, "width": 96})
    graph_calls(whole, batch=2, threads=1)()
    assert trials({"length": 7}, {}) == [{"length": 7}]


def test_the_graph_enlarges_by_products_and_runs_as_integers_as_the_fixed_one(
    whole: OnnxBundle, whole_int8: Path
) -> None:
    kinds = [node.op_type for node in onnx.load(whole_int8).graph.node]
    assert kinds.count("MatMul") == 2
    assert kinds.count("Resize") == 1, "inside the head"
    share = integer_share(whole_int8)
    convolutions = [node for node in onnx.load(whole.graphs["model"]).graph.node if node.op_type == "Conv"]
    assert share.convolutions == share.convolutions_total == len(convolutions)
    # The matrices of the enlarging are made of shapes and constants: no work of the network.
    assert dict(share.floating_operators) == {"FusedMatMul": 1, "MatMul": 1, "ReduceMean": 1, "Resize": 1}
    assert share.operators / share.operators_total > 0.9


def test_a_quantized_graph_is_as_close_to_torch_at_other_sizes(network: SegmentationNetwork, whole_int8: Path) -> None:
    session = open_session(whole_int8)
    preprocess = assets("whole", 96).preprocess
    ratios = {}
    for width, height in ((96, 96), (128, 96), (64, 160)):
        images = preprocess.normalized(np.stack([scene(width, height, seed) for seed in (50, 51)]))
        with torch.no_grad():
            expected = network(torch.from_numpy(images)).numpy()
        error = session.run(None, {"images": images})[0] - expected
        ratios[width, height] = 10 * np.log10((expected**2).sum() / (error**2).sum())
    assert min(ratios.values()) > 0.7 * ratios[96, 96] > 7, ratios


_WITHOUT_TRIMTAB = """
import sys
class Refused:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"components", "onnx", "timm", "torch", "torchvision", "scipy"}:
            raise ImportError(name)
sys.meta_path.insert(0, Refused())
"""


def program_of(known: SegmentationAssets) -> str:
    document = evaluation(metrics=(metric_result(0.6, 0.6, name="miou", label="mIoU"),))
    side = {"per_class": [], "confusion": [], "calls_per_image": 4.5}
    document = evaluation(candidate=model(details=side), baseline=model(details=side))
    provenance = {"backbone": "b", "pruned": False, "scheme": "int8", "opset": 18}
    card = SegmentationPages().card_text(document, known, provenance)
    expected = {"sliding": "took 4.5 on average", "whole": f"those of an image of {known.preprocess.image_size} ×"}
    assert expected[known.inference.mode] in card.limits[1]
    assert ("multiples of 32" in card.intro) == (known.inference.mode == "whole")
    return card.use.split("```python\n")[1].split("```")[0]


def run_client(program: str, folder: Path, pixels: np.ndarray) -> np.ndarray:
    """The mask in colours; the image is stored as PNG, under the name that the program reads."""
    (folder / "image.jpg").write_bytes(png(pixels))
    code = _WITHOUT_TRIMTAB + program
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return np.asarray(Image.open(folder / "mask.png"))


@pytest.mark.parametrize("size", [(123, 77), (20, 30), (128, 64)])
def test_the_program_in_the_card_gives_torchs_mask_of_an_image_of_any_size(
    tmp_path: Path, network: SegmentationNetwork, whole: OnnxBundle, size: tuple[int, int]
) -> None:
    (tmp_path / "model.onnx").write_bytes(whole.graphs["model"].read_bytes())
    pixels = scene(*size)
    found = run_client(program_of(whole.assets), tmp_path, pixels)
    width, height = size
    assert found.shape == (height, width, 3)
    images = np.zeros((1, 3, -height % 32 + height, -width % 32 + width), np.float32)
    images[0, :, :height, :width] = whole.assets.preprocess.normalized(pixels)
    with torch.no_grad():
        logits = network(torch.from_numpy(images))[0, :, :height, :width]
    best, second = logits.topk(2, dim=0).values
    clear = (best - second > 1e-3 * logits.abs().max()).numpy()
    expected = np.array(whole.assets.palette, np.uint8)[logits.argmax(0).numpy()]
    np.testing.assert_array_equal(found[clear], expected[clear])
    assert clear.mean() > 0.95
    assert len(np.unique(expected.reshape(-1, 3), axis=0)) > 1 or min(size) < 32


def test_the_program_of_a_quantized_graph_gives_the_evaluations_mask(
    tmp_path: Path, whole: OnnxBundle, whole_int8: Path
) -> None:
    (tmp_path / "model.onnx").write_bytes(whole_int8.read_bytes())
    pixels = scene(123, 77)
    check_against_evaluation(tmp_path, whole.assets, pixels, calls=1)


@pytest.fixture(scope="module")
def sliding(tmp_path_factory: pytest.TempPathFactory) -> OnnxBundle:
    options = {"head": "fcn", "width": 8}
    architecture = Architecture(
        backbone="b", source="timm:lcnet_050", num_outputs=3, task="segmentation", options=options
    )
    module = build("timm:lcnet_050", 3, **options, seed=0).eval()
    bundle = ModelBundle(module=module, architecture=architecture, assets=assets("sliding"))
    return float32_bundle(bundle, tmp_path_factory.mktemp("sliding"), source_digest="0" * 64)


@pytest.mark.parametrize("size", [(123, 77), (20, 50), (32, 32)])
def test_the_program_with_windows_gives_the_evaluations_mask(
    tmp_path: Path, sliding: OnnxBundle, size: tuple[int, int]
) -> None:
    (tmp_path / "model.onnx").write_bytes(sliding.graphs["model"].read_bytes())
    calls = len(starts(size[0], 32, 21)) * len(starts(size[1], 32, 21))
    check_against_evaluation(tmp_path, sliding.assets, scene(*size), calls=calls)


def check_against_evaluation(folder: Path, known: SegmentationAssets, pixels: np.ndarray, *, calls: int) -> None:
    target = np.zeros(pixels.shape[:2], np.uint8)
    transform = TASK.transform(known, full_size=True)
    batch = transform.collate([transform.decode({"image": png(pixels), "mask": encode(target)})], ["d"], None)
    outputs = TASK.run({"model": open_session(folder / "model.onnx")}, batch, known)
    assert outputs[CALLS].tolist() == [calls]
    details = SegmentationDetails(CLASSES)
    (mask,) = predictions = TASK.predict(outputs, batch, known)
    details.add(outputs, predictions, batch)
    assert details.finish()["calls_per_image"] == calls
    found = run_client(program_of(known), folder, pixels)
    np.testing.assert_array_equal(found, np.array(known.palette, np.uint8)[mask])
