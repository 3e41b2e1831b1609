"""A release, laid out for Triton and KServe, served by real servers and asked by a real client, many at a time."""

import io
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import inference_servers
import numpy as np
import pytest
from inference_servers import SERVERS, Server, StartError, ask, serving
from PIL import Image
from small_releases import SIDE, classifier, segmenter

from components.core.bundles.release_folder import read_release
from components.core.runtime.released import Prediction, load_release
from components.core.runtime.sessions import open_session
from components.core.signing import verify_release
from components.core.store import open_store
from components.core.tasks.images.assets import softmax
from components.export import layouts
from components.export.layouts import inference_service, model_repository
from pipelines.cli.layout_command import lay_out

pytestmark = pytest.mark.serving

REQUESTS = CONCURRENCY = 200


@pytest.fixture(scope="session", autouse=True)
def servers() -> None:
    try:
        inference_servers.environment()
    except RuntimeError as error:
        pytest.fail(f"{error}\ndeselect with -m 'not serving'")


@pytest.fixture
def release(run_export: Callable[..., dict[str, Any]], tmp_path: Path) -> Path:
    """Files of an int8 release that the stage has verified; beside them `repository` and `folded`, its layouts."""
    uri = run_export(name="pets")["release"].metadata["uri"]
    store, _, path = uri.removeprefix("file://").partition("/releases/")
    verify_release(open_store(store), *path.split("/"), to=tmp_path / "files")
    for name, is_folded in (("repository", False), ("folded", True)):
        lay_out(path, to=tmp_path / name, uri="", name="", is_folded=is_folded, key="", store=store)
    return tmp_path / "files"


@pytest.fixture
def images(tmp_path: Path) -> list[Path]:
    """Encoded images of odd sizes and several modes."""
    rng = np.random.default_rng(0)
    paths = []
    for number in range(40):
        mode = ("RGB", "L", "RGBA", "CMYK")[number % 4]
        size = (int(rng.integers(1, 90)), int(rng.integers(1, 90)))
        pixels = rng.integers(0, 256, (size[1], size[0], len(Image.new(mode, (1, 1)).getbands())), dtype=np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(pixels.squeeze(2) if mode == "L" else pixels, mode).save(
            buffer, "TIFF" if mode == "CMYK" else "PNG"
        )
        paths.append(tmp_path / f"{number}.image")
        paths[-1].write_bytes(buffer.getvalue())
    return paths


def test_every_answer_under_load_is_the_reference_clients(release: Path, images: list[Path]) -> None:
    reference = load_release(release / "model.onnx")
    expected = reference([path.read_bytes() for path in images])
    assert len({one.label for one in expected}) > 1, "one answer for all images would prove little"
    for kind in SERVERS:
        with serving(kind, release.parent / "repository") as server:
            found = ask(server, "pets", images, release, requests=REQUESTS, concurrency=CONCURRENCY)
            said = readme_client(server, images[0], release) if kind == "triton" else expected[0].label
        assert said == expected[0].label
        for number, logits in enumerate(found["outputs"]):
            probabilities = softmax(np.array(logits, dtype=np.float32), reference.assets.temperature)
            check(probabilities, expected[number % len(images)])


def readme_client(server: Server, image: Path, release: Path) -> str:
    """What the program in the README of the stage prints."""
    readme = Path(layouts.__file__).with_name("README.md").read_text(encoding="utf-8")
    (program,) = (block for block in re.findall(r"```python\n(.*?)```", readme, re.DOTALL) if "tritonclient" in block)
    for written, here in (("localhost:8000", server.address), ("sorter", "pets"), ("image.jpg", str(image))):
        assert written in program
        program = program.replace(written, here)
    (release / "program.py").write_text(program)
    done = subprocess.run(
        [inference_servers.environment() / "bin" / "python", "program.py"], cwd=release, capture_output=True, text=True,
        check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def check(probabilities: np.ndarray, expected: Prediction) -> None:
    assert probabilities.argmax() == expected.index
    np.testing.assert_allclose(probabilities, expected.probabilities, atol=1e-5, rtol=0)


def repository(files: dict[str, bytes], folder: Path, name: str) -> Path:
    """The layout of a small release, in `folder`/repository; its files are in `folder`/NAME."""
    (folder / name).mkdir()
    for file, content in files.items():
        (folder / name / file).write_bytes(content)
    laid = folder / "repository"
    for path, content in model_repository(read_release(folder / name), name=name, release=f"{name}/01").items():
        (laid / path).parent.mkdir(parents=True, exist_ok=True)
        (laid / path).write_bytes(content)
    return laid


def test_triton_reads_each_field_of_the_configuration(tmp_path: Path) -> None:
    labels = ["cat", 'a "dög"\\', "'"]
    repository(classifier(labels), tmp_path, "pets")
    laid = repository(segmenter(), tmp_path, "poles")
    (laid / "inferenceservice.yaml").write_bytes(inference_service(name="pets", release="pets/01", uri="s3://a/b"))
    image = np.random.default_rng(0).random((1, 3, SIDE, SIDE), dtype=np.float32)
    with serving("triton", laid) as server:
        pets, poles = (server.get(f"/v2/models/{name}/config") for name in ("pets", "poles"))
        question = {"name": "images", "datatype": "FP32", "shape": [1, 3, 8, 8], "data": image.ravel().tolist()}
        best = {"name": "logits", "parameters": {"classification": 1}}
        answer = server.post("/v2/models/pets/infer", {"inputs": [question], "outputs": [best]})
        wide = {**question, "shape": [1, 3, 4, 16]}
        mask = server.post("/v2/models/poles/infer", {"inputs": [wide]})["outputs"][0]
    assert (pets["backend"], pets["max_batch_size"], poles["max_batch_size"]) == ("onnxruntime", 32, 8)
    assert "dynamic_batching" in pets
    assert [group["kind"] for group in pets["instance_group"]] == ["KIND_CPU"]
    assert [(one["name"], one["data_type"], one["dims"]) for one in (*pets["input"], *pets["output"])] == [
        ("images", "TYPE_FP32", [3, 8, 8]),
        ("logits", "TYPE_FP32", [len(labels)]),
    ]
    assert [one["dims"] for one in (*poles["input"], *poles["output"])] == [[3, -1, -1], [2, -1, -1]]
    session = open_session(tmp_path / "pets" / "model.onnx")
    facts = {**session.get_modelmeta().custom_metadata_map, "trimtab.release": '"pets/01"'}
    assert {name: value["string_value"] for name, value in pets["parameters"].items()} == facts
    # Triton's classification extension: value:index:label.
    (logits,) = session.run(None, {"images": image})[0]
    value, index, label = answer["outputs"][0]["data"][0].split(":", 2)
    assert (float(value), int(index), label) == (pytest.approx(logits.max()), logits.argmax(), labels[logits.argmax()])
    (expected,) = open_session(tmp_path / "poles" / "model.onnx").run(None, {"images": image.reshape(1, 3, 4, 16)})
    np.testing.assert_allclose(np.reshape(mask["data"], mask["shape"]), expected, atol=1e-5)


def test_folded_preprocessing_gives_the_references_answers_and_triton_batches(
    release: Path, images: list[Path]
) -> None:
    expected = load_release(release / "model.onnx")([path.read_bytes() for path in images])
    with serving("triton", release.parent / "folded") as server:
        found = ask(server, "pets", images, release, requests=REQUESTS, concurrency=CONCURRENCY, prepared=True)
        stats = server.get("/v2/models/pets/stats")["model_stats"][0]
    for number, probabilities in enumerate(found["outputs"]):
        check(np.array(probabilities), expected[number % len(images)])
    assert stats["inference_count"] == REQUESTS
    assert stats["execution_count"] < REQUESTS


def test_a_configuration_that_triton_does_not_read_starts_no_server(tmp_path: Path) -> None:
    laid = repository(classifier(["cat", "dog"]), tmp_path, "pets")
    path = laid / "pets" / "config.pbtxt"
    path.write_text(path.read_text().replace("TYPE_FP32", "TYPE_FLOAT"))
    with pytest.raises(StartError, match="TYPE_FLOAT"), serving("triton", laid):
        pass


KNOWN = """
import sys

import kserve
import yaml

def unknown(kind, value):
    model = getattr(kserve, kind, None)
    if not hasattr(model, "openapi_types") or not isinstance(value, dict):
        return []
    kinds = {model.attribute_map[name]: inner for name, inner in model.openapi_types.items()}
    here = [f"{kind}.{name}" for name in value if name not in kinds]
    return here + [one for name in value if name in kinds for one in unknown(kinds[name], value[name])]

for document in yaml.safe_load_all(sys.stdin):
    print(unknown("V1beta1InferenceService", document))
"""


def test_kserve_knows_each_field_of_the_service() -> None:
    manifest = inference_service(name="pets", release="pets/01", uri="s3://models/pets").decode()
    wrong = manifest.replace("storageUri", "storageURI").replace("predictor", "server")
    half = manifest.replace("storageUri", "storageURI")
    done = subprocess.run(
        [inference_servers.environment() / "bin" / "python", "-c", KNOWN],
        input="---\n".join([manifest, half, wrong]), capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.stdout.splitlines() == [
        "[]",
        "['V1beta1ModelSpec.storageURI']",
        "['V1beta1InferenceServiceSpec.server']",
    ], done.stderr
