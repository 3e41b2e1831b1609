"""Text of a model repository and of an InferenceService; `test_serving.py` has a real Triton read them."""

from pathlib import Path

import pytest
import yaml
from small_releases import classifier, segmenter

from components.core.bundles.onnx_bundle import OnnxBundle
from components.core.bundles.release_folder import read_release
from components.core.errors import UserError
from components.export.layouts import inference_service, model_repository


def bundle_of(files: dict[str, bytes], folder: Path) -> OnnxBundle:
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return read_release(folder)


def test_a_classifier_is_one_model_with_its_labels_and_what_its_clients_need(tmp_path):
    files = classifier(["cat", 'a "dog"'])
    repository = model_repository(bundle_of(files, tmp_path), name="pets", release="sorter/0123")
    assert set(repository) == {"pets/config.pbtxt", "pets/1/model.onnx", "pets/labels.txt"}
    assert repository["pets/1/model.onnx"] == files["model.onnx"]
    assert repository["pets/labels.txt"] == b'cat\na "dog"\n'
    config = repository["pets/config.pbtxt"].decode()
    assert config.startswith(
        'name: "pets"\n'
        'backend: "onnxruntime"\n'
        "max_batch_size: 32\n"
        'input [\n  {\n    name: "images"\n    data_type: TYPE_FP32\n    dims: [ 3, 8, 8 ]\n  }\n]\n'
        'output [\n  {\n    name: "logits"\n    data_type: TYPE_FP32\n    dims: [ 2 ]\n'
        '    label_filename: "labels.txt"\n  }\n]\n'
        "dynamic_batching { }\n"
        "instance_group [ { kind: KIND_CPU } ]\n"
        'parameters {\n  key: "trimtab.release"\n  value { string_value: "\\"sorter/0123\\"" }\n}\n'
    )
    assert '{\n  key: "trimtab.temperature"\n  value { string_value: "1.5" }\n}' in config
    assert r'value { string_value: "[\"cat\",\"a \\\"dog\\\"\"]" }' in config


def test_a_segmenter_of_any_size_has_free_dimensions_and_no_file_of_labels(tmp_path):
    repository = model_repository(bundle_of(segmenter(), tmp_path), name="poles", release="poles/0123")
    assert set(repository) == {"poles/config.pbtxt", "poles/1/model.onnx"}
    config = repository["poles/config.pbtxt"].decode()
    assert "max_batch_size: 8\n" in config
    assert "dims: [ 3, -1, -1 ]" in config
    assert "dims: [ 2, -1, -1 ]" in config
    assert "label_filename" not in config


def test_texts_are_escaped_byte_by_byte(tmp_path):
    repository = model_repository(bundle_of(classifier(["ü", "z"]), tmp_path), name="m", release="m/0")
    assert repository["m/config.pbtxt"].isascii()
    assert rb'value { string_value: "[\"\303\274\",\"z\"]" }' in repository["m/config.pbtxt"]


def test_a_model_of_several_graphs_is_refused_by_name(tmp_path):
    bundle = OnnxBundle(
        graphs={"decoder": tmp_path / "decoder.onnx", "encoder": tmp_path / "encoder.onnx"},
        assets=None,
        provenance={"task": "translation"},
    )
    with pytest.raises(UserError, match=r"fr/01 has 2 graphs \(decoder, encoder\) .* one graph in one call"):
        model_repository(bundle, name="fr", release="fr/01")


def test_an_inference_service_asks_for_triton_and_protocol_v2():
    manifest = inference_service(name="pets", release="sorter/0123", uri="s3://models/pets")
    assert yaml.safe_load(manifest) == {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": "pets", "annotations": {"trimtab/release": "sorter/0123"}},
        "spec": {
            "predictor": {
                "model": {
                    "modelFormat": {"name": "onnx"},
                    "protocolVersion": "v2",
                    "runtime": "kserve-tritonserver",
                    "storageUri": "s3://models/pets",
                }
            }
        },
    }


@pytest.mark.parametrize("name", ["Pets", "1pet", "my_pets", "pets-", "a.b", "x" * 54, ""])
def test_a_name_that_kubernetes_refuses_is_refused(name):
    with pytest.raises(UserError, match="an InferenceService cannot be called"):
        inference_service(name=name, release="sorter/0123", uri="s3://models/pets")


@pytest.mark.parametrize("uri", ["models/pets", "s3:/x", "s3://", "s3://a b"])
def test_a_place_that_kserve_cannot_fetch_from_is_refused(uri):
    with pytest.raises(UserError, match="--uri must be where KServe fetches from"):
        inference_service(name="pets", release="sorter/0123", uri=uri)
