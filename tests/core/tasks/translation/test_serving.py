from pathlib import Path

import numpy as np
import pytest
from toy_translators import VARIANTS, network, sentences

from components.core.runtime.onnx_export import export_onnx
from components.core.runtime.sessions import open_session
from components.core.tasks.translation.config import EncoderDecoderConfig
from components.core.tasks.translation.decoding import beam_search, greedy
from components.core.tasks.translation.graphs import graphs
from components.core.tasks.translation.serving import OnnxDecoder, TorchDecoder, padded


@pytest.mark.parametrize("config", VARIANTS[:2], ids=["ssru", "attention"])
def test_the_exported_graphs_translate_as_torch_does(config: EncoderDecoderConfig, tmp_path: Path) -> None:
    module = network(config)
    for name, graph in graphs(module).items():
        export = export_onnx(graph, tmp_path / f"{name}.onnx")
        assert export.exporter == "dynamo"
    sessions = {name: open_session(tmp_path / f"{name}.onnx") for name in ("encoder", "step")}
    in_onnx, in_torch = OnnxDecoder(sessions, eos=config.eos), TorchDecoder(module)
    assert (in_onnx.eos, in_onnx.size) == (in_torch.eos, in_torch.size) == (0, config.target_size)
    lengths = [2, 30, 7, 1, 12]
    together = sentences(lengths, config.source_size).numpy()
    translated = greedy(in_torch, together)
    assert len({tuple(pieces) for pieces in translated}) > 2, "the network says different things"
    assert greedy(in_onnx, together) == translated
    for row, length in enumerate(lengths):
        assert greedy(in_onnx, together[row : row + 1, :length]) == translated[row : row + 1], "at batch 1"
    wanted = [[found.pieces for found in row] for row in beam_search(in_torch, together, width=3)]
    assert [[found.pieces for found in row] for row in beam_search(in_onnx, together, width=3)] == wanted


def test_shorter_sentences_are_padded_with_eos() -> None:
    assert padded([[5, 6, 0], [0], [7, 0]], 0).tolist() == [[5, 6, 0], [0, 0, 0], [7, 0, 0]]
    assert padded([], 0).shape == (0, 1)
    assert padded([[5, 2]], 2).dtype == np.int64
