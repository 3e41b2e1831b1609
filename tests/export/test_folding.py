"""Folded preprocessing computes what the client computes, image by image."""

import io
from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from PIL import Image
from small_releases import SIDE, classifier, segmenter

from components.core.bundles.onnx_bundle import OnnxBundle, load_onnx
from components.core.bundles.release_folder import read_release
from components.core.errors import UserError
from components.core.runtime.metadata import read_metadata
from components.core.runtime.released import load_release
from components.core.runtime.sessions import open_session
from components.core.tasks.classification.pages import CLIENT
from components.core.tasks.segmentation.inference import Inference
from components.export import folding
from components.export.folding import FoldingError, folded
from components.export.layouts import model_repository


def bundle_of(files: dict[str, bytes], folder: Path) -> OnnxBundle:
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return read_release(folder)


def encoded(number: int) -> bytes:
    """An image of odd size, one of several modes."""
    rng = np.random.default_rng(number)
    mode = ("RGB", "L", "RGBA", "CMYK", "P", "I;16", "1")[number % 7]
    width, height = (int(rng.integers(1, 120)) for _ in range(2))
    image = Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))
    if mode == "I;16":
        image = Image.fromarray(rng.integers(0, 65536, (height, width), dtype=np.uint16))
    elif mode == "RGBA":
        image.putalpha(Image.fromarray(rng.integers(0, 256, (height, width), dtype=np.uint8)))
    else:
        image = image.convert(mode)
    buffer = io.BytesIO()
    image.save(buffer, "TIFF")
    return buffer.getvalue()


def client() -> ModuleType:
    module = ModuleType("client")
    exec(compile(CLIENT, "client.py", "exec"), module.__dict__)
    return module


@pytest.mark.parametrize("which", ["int8 from the stages", "by hand"])
def test_the_client_with_uint8_gets_the_label_and_the_probabilities_of_the_reference(which, chain, tmp_path):
    if which == "by hand":
        bundle = bundle_of(classifier(["cat", "dog", "cow"]), tmp_path)
    else:
        bundle = load_onnx(chain.inputs["candidate"], chain.store)
    reference = load_release(bundle.graphs["model"])
    images = [encoded(number) for number in range(70)]
    expected = reference(images)
    program, prepare = client(), bundle.assets.preprocess.to_json()
    pixels = np.stack([program.network_pixels(program.upright_rgb(image), prepare) for image in images])
    assert pixels.dtype == np.uint8
    session = open_session(folded(bundle))
    for start, batch in ((0, 1), (1, 2), (3, 67)):
        (found,) = session.run(["probabilities"], {"pixels": pixels[start : start + batch]})
        for row, one in zip(found, expected[start:], strict=False):
            assert row.argmax() == one.index
            np.testing.assert_allclose(row, one.probabilities, atol=1e-5, rtol=0)
    assert read_metadata(session.get_modelmeta().custom_metadata_map) == reference.facts


def test_the_network_sees_the_very_bits_that_the_client_would_send(tmp_path):
    bundle = bundle_of(classifier(["cat", "dog"]), tmp_path)
    model = onnx.load_from_string(folded(bundle))
    model.graph.output.append(onnx.helper.make_tensor_value_info("images", onnx.TensorProto.FLOAT, None))
    every_value = np.resize(np.arange(256, dtype=np.uint8), (4, SIDE, SIDE, 3))
    every_value[..., 1] = every_value[..., 0]
    found = open_session(model.SerializeToString()).run(["images"], {"pixels": every_value})[0]
    np.testing.assert_array_equal(found, bundle.assets.preprocess.normalized(every_value))


def test_a_segmentation_network_still_gives_logits(tmp_path):
    bundle = bundle_of(segmenter(), tmp_path)
    object.__setattr__(bundle.assets, "inference", Inference())
    pixels = np.random.default_rng(0).integers(0, 256, (2, SIDE, SIDE, 3), dtype=np.uint8)
    (expected,) = open_session(bundle.graphs["model"]).run(
        None, {"images": bundle.assets.preprocess.normalized(pixels)}
    )
    (found,) = open_session(folded(bundle)).run(["logits"], {"pixels": pixels})
    np.testing.assert_array_equal(found, expected)


def test_what_cannot_be_folded_is_refused_by_name(tmp_path):
    with pytest.raises(UserError, match="images that are taken whole are padded with the mean colour"):
        folded(bundle_of(segmenter(), tmp_path))
    translation = OnnxBundle(graphs={"a": tmp_path, "b": tmp_path}, assets=None, provenance={"task": "translation"})
    with pytest.raises(UserError, match="translation has no preprocessing that could be folded"):
        folded(translation)


def test_a_graph_that_computes_something_else_is_not_written(tmp_path, monkeypatch):
    real = folding._with_pixels

    def wrong(model, assets):
        changed = real(model, assets)
        for constant in changed.graph.initializer:
            if constant.name == "pixels.scale":
                constant.CopyFrom(numpy_helper.from_array(np.asarray(np.float32(254)), constant.name))
        return changed

    monkeypatch.setattr(folding, "_with_pixels", wrong)
    with pytest.raises(FoldingError, match="the outputs differ by"):
        folded(bundle_of(classifier(["cat", "dog"]), tmp_path))


def test_the_layout_says_what_the_folded_graph_takes(tmp_path):
    bundle = bundle_of(classifier(["cat", "dog"]), tmp_path)
    files = model_repository(bundle, name="m", release="m/0", is_folded=True)
    config = files["m/config.pbtxt"].decode()
    assert 'name: "pixels"\n    data_type: TYPE_UINT8\n    dims: [ 8, 8, 3 ]' in config
    assert (
        'name: "probabilities"\n    data_type: TYPE_FP32\n    dims: [ 2 ]\n    label_filename: "labels.txt"' in config
    )
    assert files["m/1/model.onnx"] == folded(bundle)
