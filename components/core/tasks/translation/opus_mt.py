"""OPUS-MT's models as `transformers` saves them: config.json, model.safetensors, source.spm, target.spm, vocab.json."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from components.core.errors import UserError
from components.core.json_documents import parse_json
from components.core.tasks.translation.config import EncoderDecoderConfig
from components.core.tasks.translation.networks import EncoderDecoder
from components.core.tasks.translation.vocabulary import (
    NumberedVocabulary,
    Vocabulary,
    check_vocabulary,
    read_vocabulary,
)

CONFIG, WEIGHTS = "config.json", "model.safetensors"
_MAX_BYTES = 20_000_000
_ACTIVATIONS = {"swish": "swish", "silu": "swish", "relu": "relu"}
_POSITIONS = ("model.encoder.embed_positions.weight", "model.decoder.embed_positions.weight")
"""Sinusoids, which older files store; they are computed here."""


def load_opus_mt(folder: Path) -> tuple[EncoderDecoder, Vocabulary]:
    """Network and vocabulary of a folder.

    Raises:
        UserError: a file is missing or damaged, the architecture is another, a tensor is missing, unknown or of another
            shape, or the vocabulary does not belong to the weights. One line that names the file.
    """
    files = {name: _read(folder, name) for name in (CONFIG, *NumberedVocabulary.names)}
    try:
        document = parse_json(files[CONFIG])
        if not isinstance(document, dict):
            raise ValueError("not an object")
        config = opus_config(document)
    except ValueError as error:
        raise UserError(f"{CONFIG}: {error}") from error
    try:
        vocabulary = read_vocabulary(files)
        check_vocabulary(vocabulary, source_size=config.source_size, target_size=config.target_size)
        if vocabulary.eos != config.eos:
            raise ValueError(f"the vocabulary ends sentences with piece {vocabulary.eos}, the config with {config.eos}")
        network = _load(config, folder / WEIGHTS)
    except ValueError as error:
        raise UserError(str(error)) from error
    return network.eval(), vocabulary


def opus_config(document: dict[str, Any]) -> EncoderDecoderConfig:
    """The config that `config.json` states; ValueError naming what is missing or not built here."""
    if document.get("model_type") != "marian":
        raise ValueError(f"model_type must be 'marian', got {document.get('model_type')!r}")
    names = (
        "d_model", "vocab_size", "encoder_layers", "decoder_layers", "encoder_attention_heads",
        "decoder_attention_heads", "encoder_ffn_dim", "decoder_ffn_dim", "eos_token_id", "decoder_start_token_id",
        "pad_token_id",
    )  # fmt: skip
    for name in names:
        if type(document.get(name)) is not int:
            raise ValueError(f"{name} must be a whole number, got {document.get(name)!r}")
    if document["encoder_attention_heads"] != document["decoder_attention_heads"]:
        raise ValueError("encoder_attention_heads and decoder_attention_heads must be equal")
    activation = document.get("activation_function", "gelu")
    if activation not in _ACTIVATIONS:
        raise ValueError(f"activation_function is {activation!r}; built here: {', '.join(_ACTIVATIONS)}")
    for name in ("normalize_before", "normalize_embedding", "add_final_layer_norm"):
        if document.get(name):
            raise ValueError(f"{name} is {document[name]!r}, which transformers' Marian does not build either")
    shared = document.get("share_encoder_decoder_embeddings", True)
    decoder_size = document.get("decoder_vocab_size") or document["vocab_size"]
    output_tied = document.get("tie_word_embeddings", True)
    if shared and not output_tied:
        raise ValueError("shared embeddings with an untied output layer are not built here")
    return EncoderDecoderConfig(
        source_size=document["vocab_size"], target_size=document["vocab_size"] if shared else decoder_size,
        dim=document["d_model"], heads=document["encoder_attention_heads"],
        encoder_layers=document["encoder_layers"], decoder_layers=document["decoder_layers"],
        encoder_ffn=document["encoder_ffn_dim"], decoder_ffn=document["decoder_ffn_dim"], decoder_cell="attention",
        norm="post", activation=_ACTIVATIONS[activation], tied="all" if shared else "target" if output_tied else "none",
        timescales="transformers", epsilon=1e-5, scale_embedding=bool(document.get("scale_embedding", False)),
        eos=document["eos_token_id"], start=document["decoder_start_token_id"], never=(document["pad_token_id"],),
    )  # fmt: skip


def _read(folder: Path, name: str) -> bytes:
    path = folder / name
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise UserError(f"{name} has {path.stat().st_size} bytes; at most {_MAX_BYTES} are read")
        return path.read_bytes()
    except OSError as error:
        reason = (error.strerror or type(error).__name__).lower()
        raise UserError(f"cannot read {name} of the OPUS-MT folder: {reason}") from error


def _load(config: EncoderDecoderConfig, path: Path) -> EncoderDecoder:
    try:
        stored = load_file(path)
    except (OSError, SafetensorError) as error:
        raise ValueError(f"{path.name} cannot be read: {' '.join(str(error).split())[:200]}") from error
    num_stored = sum(tensor.numel() for tensor in stored.values())
    if config.num_parameters > 2 * num_stored:
        raise ValueError(f"{CONFIG} describes {config.num_parameters} parameters, and {path.name} has {num_stored}")
    network = EncoderDecoder(config)
    wanted = dict(_names(config, stored))
    state = {}
    for name, tensor in network.state_dict().items():
        if wanted[name] not in stored:
            raise ValueError(f"{path.name}: tensor {wanted[name]!r} is missing")
        found = stored[wanted[name]].float()
        found = found.reshape(-1) if name == "output_bias" else found
        if found.shape != tensor.shape:
            raise ValueError(
                f"{path.name}: {wanted[name]!r} has shape {tuple(found.shape)}; {name} needs {tuple(tensor.shape)}"
            )
        if not torch.isfinite(found).all():
            raise ValueError(f"{path.name}: {wanted[name]!r} holds values that are not finite")
        state[name] = found
    allowed = {*wanted.values(), *_copies(config), *_POSITIONS}
    if unknown := sorted(set(stored) - allowed):
        raise ValueError(f"{path.name}: tensor {unknown[0]!r} has no place in this network ({len(unknown)} in all)")
    network.load_state_dict(state)
    return network


def _copies(config: EncoderDecoderConfig) -> tuple[str, ...]:
    """Names under which some versions store a tied matrix once more."""
    if config.tied == "none":
        return ()
    tied = ("model.decoder.embed_tokens.weight", "lm_head.weight")
    return tied if config.tied == "target" else (*tied, "model.encoder.embed_tokens.weight", "model.shared.weight")


def _names(config: EncoderDecoderConfig, stored: dict[str, torch.Tensor]) -> Iterator[tuple[str, str]]:
    """The network's names and those of transformers."""
    if config.tied == "all":
        shared = ("model.shared.weight", "model.encoder.embed_tokens.weight", "lm_head.weight")
        yield "source_embedding.weight", next((name for name in shared if name in stored), shared[0])
    else:
        target = ("model.decoder.embed_tokens.weight", "lm_head.weight")
        found = next((name for name in target if name in stored), target[0])
        yield "source_embedding.weight", "model.encoder.embed_tokens.weight"
        yield "target_embedding.weight", target[0] if config.tied == "none" else found
    yield "output.weight", "lm_head.weight"
    yield "output_bias", "final_logits_bias"
    parts = {"query": "q_proj", "key": "k_proj", "value": "v_proj", "output": "out_proj"}
    for stack, count in (("encoder", config.encoder_layers), ("decoder", config.decoder_layers)):
        blocks = {"attention" if stack == "encoder" else "past": "self_attn"}
        if stack == "decoder":
            blocks["cross"] = "encoder_attn"
        for number in range(count):
            ours, theirs = f"{stack}.{number}", f"model.{stack}.layers.{number}"
            for kind in ("weight", "bias"):
                for block, their_block in blocks.items():
                    yield f"{ours}.{block}_norm.{kind}", f"{theirs}.{their_block}_layer_norm.{kind}"
                    for part, their_part in parts.items():
                        yield f"{ours}.{block}.{part}.{kind}", f"{theirs}.{their_block}.{their_part}.{kind}"
                yield f"{ours}.ffn.expand.{kind}", f"{theirs}.fc1.{kind}"
                yield f"{ours}.ffn.contract.{kind}", f"{theirs}.fc2.{kind}"
                yield f"{ours}.ffn_norm.{kind}", f"{theirs}.final_layer_norm.{kind}"
