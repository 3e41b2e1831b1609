"""The exported file: dynamic batch, folded batch norms, no traces of the machine, the same bytes again, and parity."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from components.core.models.inputs import Graph, InputSpec, OutputSpec
from components.core.runtime import onnx_export
from components.core.runtime.onnx_export import ExportError, ParityError, export_onnx, parity
from components.core.runtime.sessions import open_session


def test_batch_is_a_named_free_dimension_and_sizes_are_fixed(toy_onnx):
    graph = onnx.load(toy_onnx).graph
    dims = graph.input[0].type.tensor_type.shape.dim
    assert [dim.dim_param or dim.dim_value for dim in dims] == ["batch", 3, 32, 32]
    assert (graph.input[0].name, graph.output[0].name) == ("images", "logits")
    session = open_session(toy_onnx)
    for batch in (1, 2, 7):
        images = np.zeros((batch, 3, 32, 32), np.float32)
        assert session.run(["logits"], {"images": images})[0].shape == (batch, 5)


def test_batch_norms_are_folded_into_convolutions(toy_onnx):
    operators = {node.op_type for node in onnx.load(toy_onnx).graph.node}
    assert "Conv" in operators
    assert "BatchNormalization" not in operators


def test_file_tells_nothing_of_the_machine_it_was_built_on(toy_onnx):
    stripped = onnx.load(toy_onnx)
    for tensor in stripped.graph.initializer:
        name = tensor.name
        tensor.Clear()
        tensor.name = name
    data = stripped.SerializeToString()
    for trace in (b"site-packages", b".py", b"/home", b"/tmp", b"/work", b"stack_trace", sys.prefix.encode()):
        assert trace not in data
    model = onnx.load(toy_onnx)
    assert not any(node.doc_string or node.metadata_props for node in model.graph.node)
    assert torch.__version__ not in (model.producer_version, model.producer_name)


def test_same_weights_give_the_same_bytes(toy_graph, toy_onnx, tmp_path):
    export_onnx(toy_graph, tmp_path / "again.onnx")
    assert (tmp_path / "again.onnx").read_bytes() == toy_onnx.read_bytes()


def test_same_weights_give_the_same_bytes_in_another_process(toy_onnx, tmp_path):
    script = f"""
import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})
from conftest import graph_of, make_toy
from components.core.runtime.onnx_export import export_onnx
export_onnx(graph_of(make_toy()), {str(tmp_path / "other.onnx")!r})
"""
    subprocess.run([sys.executable, "-c", script], check=True, env={"PYTHONHASHSEED": "7", "OMP_NUM_THREADS": "1"})
    assert (tmp_path / "other.onnx").read_bytes() == toy_onnx.read_bytes()


def test_export_leaves_the_module_as_it_was(toy, toy_graph, tmp_path):
    toy.train()
    try:
        export_onnx(toy_graph, tmp_path / "model.onnx")
        assert toy.training
        assert toy[2].inplace
    finally:
        toy.eval()


def test_legacy_exporter_passes_the_same_check(toy_graph, tmp_path):
    result = export_onnx(toy_graph, tmp_path / "legacy.onnx", exporters=("legacy",))
    assert result.exporter == "legacy"
    assert result.parity["relative_difference"] < 1e-3


def test_falls_back_to_the_legacy_exporter_when_dynamo_fails(toy_graph, tmp_path, monkeypatch):
    def broken(*_):
        raise RuntimeError("cannot trace\nlong story")

    monkeypatch.setitem(onnx_export._WRITERS, "dynamo", broken)
    assert export_onnx(toy_graph, tmp_path / "model.onnx").exporter == "legacy"
    monkeypatch.setitem(onnx_export._WRITERS, "legacy", broken)
    with pytest.raises(ExportError, match="dynamo: RuntimeError: cannot trace; legacy"):
        export_onnx(toy_graph, tmp_path / "none.onnx")
    assert not (tmp_path / "none.onnx").exists()


def test_parity_states_difference_and_agreement(toy_graph, toy_onnx):
    figures = parity(toy_graph, toy_onnx)
    assert figures["argmax_agreement"] == 1.0
    assert 0 <= figures["relative_difference"] <= figures["tolerance"]
    assert figures["batch_sizes"] == [1, 3]


def test_parity_fails_when_one_weight_differs(toy, toy_graph, toy_onnx):
    with torch.no_grad():
        toy[8].bias[0] += 0.05
    try:
        with pytest.raises(ParityError, match="outputs differ"):
            parity(toy_graph, toy_onnx)
    finally:
        with torch.no_grad():
            toy[8].bias[0] -= 0.05


def test_network_that_depends_on_the_batch_is_refused(tmp_path):
    class CentersTheBatch(nn.Module):
        def forward(self, images):
            # The count of the example batch becomes a constant in a legacy trace.
            flat = images.flatten(1)[:, :4]
            return flat / float(images.shape[0])

    with pytest.raises(ParityError):
        export_onnx(
            Graph(
                module=CentersTheBatch(),
                inputs=(InputSpec(name="images", dtype="float32", shape=("batch", 3, 8, 8)),),
                outputs=(OutputSpec(name="logits", shape=("batch", 4)),),
            ),
            tmp_path / "model.onnx",
            exporters=("legacy",),
        )


class Translator(nn.Module):
    """Tokens and a state → logits per token, and the new state."""

    def __init__(self):
        super().__init__()
        self.embedding, self.head = nn.Embedding(11, 4), nn.Linear(4, 11)

    def forward(self, tokens, state):
        hidden = self.embedding(tokens) + state[:, None]
        return self.head(hidden), hidden.mean(dim=1)


@pytest.fixture
def translator():
    torch.manual_seed(0)
    return Graph(
        module=Translator().eval(),
        inputs=(
            InputSpec(name="tokens", dtype="int64", shape=("batch", "length"), high=11),
            InputSpec(name="state", dtype="float32", shape=("batch", 4)),
        ),
        outputs=(
            OutputSpec(name="logits", shape=("batch", "length", 11)),
            OutputSpec(name="next", shape=("batch", 4)),
        ),
        free=(("length", 6),),
    )


@pytest.mark.parametrize("exporter", ["dynamo", "legacy"])
def test_several_inputs_and_outputs_keep_their_names_and_free_dimensions(translator, tmp_path, exporter):
    result = export_onnx(translator, tmp_path / "step.onnx", exporters=(exporter,))
    assert result.exporter == exporter
    session = open_session(tmp_path / "step.onnx")
    assert [value.name for value in session.get_inputs()] == ["tokens", "state"]
    for batch, length in ((1, 6), (3, 2)):
        feed = {"tokens": np.full((batch, length), 7), "state": np.ones((batch, 4), np.float32)}
        logits, state = session.run(["logits", "next"], feed)
        with torch.inference_mode():
            expected = translator.module(*(torch.from_numpy(value) for value in feed.values()))
        np.testing.assert_allclose(logits, expected[0], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(state, expected[1], rtol=1e-5, atol=1e-6)


def test_parity_looks_at_every_output(translator, tmp_path):
    export_onnx(translator, tmp_path / "step.onnx", exporters=("legacy",))
    whole = translator.module.forward

    class Shifted(nn.Module):
        def forward(self, tokens, state):
            logits, following = whole(tokens, state)
            return logits, following + 0.1

    parity(translator, tmp_path / "step.onnx")
    with pytest.raises(ParityError, match=r"outputs differ by 0\.1"):
        parity(replace(translator, module=Shifted()), tmp_path / "step.onnx")
