"""From a Marian file to a network: which array is which parameter."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch

from components.core.errors import UserError
from components.core.tasks.translation.config import EncoderDecoderConfig
from components.core.tasks.translation.marian_binary import read_marian
from components.core.tasks.translation.marian_options import marian_config
from components.core.tasks.translation.networks import EncoderDecoder


def load_marian(path: Path, *, eos: int) -> EncoderDecoder:
    """The network of a Marian binary file; `eos` is the vocabulary's.

    Raises:
        UserError: not such a file, damaged, of an architecture that is not built here, or with an array that is
            missing, unknown or of another shape. One line that names the file.
    """
    try:
        file = read_marian(path.read_bytes())
        config = marian_config(file, eos=eos)
        _check_size(config, sum(array.size for array in file.arrays.values()))
        network = EncoderDecoder(config)
        network.load_state_dict(state_dict(file.arrays, network))
    except OSError as error:
        raise UserError(f"cannot read {path.name}: {(error.strerror or type(error).__name__).lower()}") from error
    except ValueError as error:
        raise UserError(f"{path.name}: {error}") from error
    return network.eval()


def _check_size(config: EncoderDecoderConfig, num_stored: int) -> None:
    """Options are text and can state any size; memory is taken only for what the file can fill."""
    if config.num_parameters > 2 * num_stored:
        raise ValueError(f"the options describe {config.num_parameters} parameters, and the file has {num_stored}")


def state_dict(arrays: Mapping[str, np.ndarray], network: EncoderDecoder) -> dict[str, torch.Tensor]:
    """Arrays under the network's names and in its shapes; ValueError naming one that is missing or unknown."""
    wanted = dict(marian_names(network.config))
    if missing := [name for name in wanted.values() if name not in arrays]:
        raise ValueError(f"array {missing[0]!r} is missing ({len(missing)} in all)")
    if unknown := sorted(set(arrays) - set(wanted.values())):
        raise ValueError(f"array {unknown[0]!r} has no place in this network ({len(unknown)} in all)")
    shapes = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    state = {}
    for name, stored in wanted.items():
        array = arrays[stored]
        if name.endswith(".weight") and "embedding" not in name and "norm" not in name:
            array = array.T
        if "norm" in name or name.endswith("bias"):
            array = array.reshape(-1)
        if array.shape != shapes[name]:
            raise ValueError(f"array {stored!r} has shape {arrays[stored].shape}; {name} needs {shapes[name]}")
        state[name] = torch.from_numpy(np.ascontiguousarray(array))
    return state


def marian_names(config: EncoderDecoderConfig) -> Iterator[tuple[str, str]]:
    """The network's names and Marian's."""
    yield "source_embedding.weight", "Wemb" if config.tied == "all" else "encoder_Wemb"
    if config.tied != "all":
        yield "target_embedding.weight", "decoder_Wemb"
    if config.tied == "none":
        yield "output.weight", "decoder_ff_logit_out_W"
    yield "output_bias", "decoder_ff_logit_out_b"
    suffix = "_pre" if config.norm == "pre" else ""
    for stack, count in (("encoder", config.encoder_layers), ("decoder", config.decoder_layers)):
        if config.norm == "pre":
            yield from _norm_names(f"{stack}_norm", f"{stack}_top", "")
        for number in range(count):
            ours, theirs = f"{stack}.{number}", f"{stack}_l{number + 1}"
            if stack == "encoder":
                yield from _attention_names(f"{ours}.attention", f"{theirs}_self", suffix)
            else:
                if config.decoder_cell == "attention":
                    yield from _attention_names(f"{ours}.past", f"{theirs}_self", suffix)
                else:
                    yield f"{ours}.past.forget.weight", f"{theirs}_rnn_Wf"
                    yield f"{ours}.past.forget.bias", f"{theirs}_rnn_bf"
                    yield f"{ours}.past.candidate.weight", f"{theirs}_rnn_W"
                    yield from _norm_names(f"{ours}.past_norm", f"{theirs}_rnn_ffn", suffix)
                yield from _attention_names(f"{ours}.cross", f"{theirs}_context", suffix)
            for part, digit in (("expand", 1), ("contract", 2)):
                yield f"{ours}.ffn.{part}.weight", f"{theirs}_ffn_W{digit}"
                yield f"{ours}.ffn.{part}.bias", f"{theirs}_ffn_b{digit}"
            yield from _norm_names(f"{ours}.ffn_norm", f"{theirs}_ffn_ffn", suffix)


def _attention_names(ours: str, theirs: str, suffix: str) -> Iterator[tuple[str, str]]:
    for part in ("query", "key", "value", "output"):
        yield f"{ours}.{part}.weight", f"{theirs}_W{part[0]}"
        yield f"{ours}.{part}.bias", f"{theirs}_b{part[0]}"
    yield from _norm_names(f"{ours}_norm", f"{theirs}_Wo", suffix)


def _norm_names(ours: str, theirs: str, suffix: str) -> Iterator[tuple[str, str]]:
    yield f"{ours}.weight", f"{theirs}_ln_scale{suffix}"
    yield f"{ours}.bias", f"{theirs}_ln_bias{suffix}"
