"""From the options of a Marian file to a config. Knows no torch: a wrong file is refused before anything starts."""

from collections.abc import Mapping
from typing import Any

from components.core.errors import UserError
from components.core.tasks.translation.config import EncoderDecoderConfig
from components.core.tasks.translation.marian_binary import MarianFile
from components.core.yaml_documents import parse_documents

_MUST_BE: dict[str, tuple[Any, ...]] = {
    "type": ("transformer",),
    "transformer-ffn-depth": (2,),
    "transformer-postprocess-emb": ("", "d"),
    "transformer-tied-layers": ([],),
    "transformer-train-position-embeddings": (False,),
    "transformer-no-projection": (False,),
    "transformer-pool": (False,),
    "transformer-rnn-projection": (False,),
    "transformer-depth-scaling": (True, False),
    "output-omit-bias": (False,),
    "lemma-dim-emb": (0,),
    "right-left": (False,),
    "ulr": (False,),
}
"""Values that an option may have, if the file has it; dropout ("d") does nothing when a network is used."""

_NORMS = {("", "dan"): "post", ("", "an"): "post", ("n", "da"): "pre", ("n", "a"): "pre"}
"""`transformer-preprocess` and `-postprocess` → config.norm."""


def marian_config(file: MarianFile, *, eos: int) -> EncoderDecoderConfig:
    """The config that the options state; ValueError naming the first option that is not built here."""
    options = _options(file.options)
    for name, allowed in _MUST_BE.items():
        if name in options and options[name] not in allowed:
            known = " or ".join(repr(value) for value in allowed)
            raise ValueError(f"option {name} is {options[name]!r}; built here: {known}")
    layout = (options.get("transformer-preprocess", ""), options.get("transformer-postprocess", "dan"))
    if layout not in _NORMS:
        raise ValueError(f"transformer-preprocess and -postprocess are {layout!r}; built here: {list(_NORMS)}")
    norm = _NORMS[layout]
    top = options.get("transformer-postprocess-top", "")
    if (top == "n") != (norm == "pre") or top not in ("", "n"):
        raise ValueError(f"transformer-postprocess-top is {top!r}; built here: 'n' with norms first, else ''")
    recurrent = options.get("transformer-decoder-autoreg", "self-attention")
    if recurrent not in ("self-attention", "rnn") or (recurrent == "rnn" and options.get("dec-cell") != "ssru"):
        raise ValueError(
            f"the decoder is {recurrent!r} ({options.get('dec-cell')!r}); built here: self-attention, ssru"
        )
    sizes = options.get("dim-vocabs")
    if not (isinstance(sizes, list) and len(sizes) == 2 and all(type(size) is int for size in sizes)):
        raise ValueError(f"dim-vocabs must be two numbers, got {sizes!r}")
    width = options.get("transformer-dim-ffn")
    stated: dict[str, Any] = {
        "dim": options.get("dim-emb"), "heads": options.get("transformer-heads"),
        "encoder_layers": options.get("enc-depth"), "decoder_layers": options.get("dec-depth"),
        "encoder_ffn": width, "decoder_ffn": options.get("transformer-decoder-dim-ffn") or width,
        "activation": options.get("transformer-ffn-activation", "swish"),
    }  # fmt: skip
    return EncoderDecoderConfig(
        source_size=sizes[0], target_size=sizes[1], decoder_cell="ssru" if recurrent == "rnn" else "attention",
        norm=norm, tied=_tied(options), eos=eos, **stated,
    )  # fmt: skip


def _options(text: str) -> dict[str, Any]:
    try:
        documents = parse_documents(text, "the text", what="network's options")
    except UserError as error:
        raise ValueError(f"the options are not valid YAML: {error}") from error
    if len(documents) != 1 or not isinstance(documents[0], dict):
        raise ValueError("the options are no mapping")
    return documents[0]


def _tied(options: Mapping[str, Any]) -> str:
    if options.get("tied-embeddings-all"):
        return "all"
    if options.get("tied-embeddings-src"):
        raise ValueError("tied-embeddings-src without tied-embeddings-all is not built here")
    return "target" if options.get("tied-embeddings") else "none"
