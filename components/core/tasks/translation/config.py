"""The sizes and kinds of layers of an encoder-decoder of the Marian family. Knows no torch."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

CELLS = ("attention", "ssru")
NORMS = ("post", "pre")
ACTIVATIONS = ("relu", "swish")
TIED = ("all", "target", "none")
TIMESCALES = ("marian", "transformers")
_PER_LAYER = ("encoder_heads", "past_heads", "cross_heads", "encoder_widths", "decoder_widths")
_MAX_SIZE = 1_000_000
_MAX_LAYERS = 200


@dataclass(frozen=True, kw_only=True)
class EncoderDecoderConfig:
    """Sizes and variants of one network.

    Attributes:
        source_size, target_size: pieces of each vocabulary; equal where one embedding serves both (`tied` "all").
        dim: width of the residual stream; even.
        heads: attention heads of every layer before pruning; they divide `dim` into the width of one head.
        encoder_layers, decoder_layers: at least 1 each.
        encoder_ffn, decoder_ffn: inner width of the feed-forward layers.
        encoder_heads, past_heads, cross_heads: heads of each layer's attention, where pruning left fewer than `heads`
            somewhere; empty: `heads` everywhere. `past` is the decoder's look back, `cross` its look at the source.
        encoder_widths, decoder_widths: likewise of the feed-forward layers.
        decoder_cell: what looks back in the decoder: "attention", or "ssru" (Kim et al. 2019, D19-5632).
        norm: "post", `LN(x + f(x))`, or "pre", `x + f(LN(x))` with one more LN on top of each stack.
        activation: of the feed-forward layers.
        tied: which matrices are one: "all" three embeddings; "target" (the decoder's and the output layer's); "none".
        timescales: the sinusoids' wavelengths: `10000^(i/(dim/2 − 1))` ("marian") or `10000^(i/(dim/2))`
            ("transformers"), i = 0 … dim/2 − 1.
        epsilon: of every LN.
        scale_embedding: whether embeddings are multiplied by `√dim`.
        eos: number of the piece that ends source and target; source and target are also padded with it.
        start: piece that the decoder begins with; None: it begins with a vector of zeros.
        never: pieces that decoding may not choose (a padding piece).

    Raises:
        ValueError: a value out of range; names it.
    """

    source_size: int
    target_size: int
    dim: int = 256
    heads: int = 8
    encoder_layers: int = 6
    decoder_layers: int = 2
    encoder_ffn: int = 1536
    decoder_ffn: int = 1536
    decoder_cell: str = "ssru"
    norm: str = "post"
    activation: str = "relu"
    tied: str = "all"
    timescales: str = "marian"
    epsilon: float = 1e-9
    scale_embedding: bool = True
    eos: int = 0
    start: int | None = None
    never: tuple[int, ...] = ()
    encoder_heads: tuple[int, ...] = ()
    past_heads: tuple[int, ...] = ()
    cross_heads: tuple[int, ...] = ()
    encoder_widths: tuple[int, ...] = ()
    decoder_widths: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        choices = {
            "decoder_cell": CELLS, "norm": NORMS, "activation": ACTIVATIONS, "tied": TIED, "timescales": TIMESCALES
        }  # fmt: skip
        for name, known in choices.items():
            if getattr(self, name) not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}; got {getattr(self, name)!r}")
        for name in ("source_size", "target_size", "dim", "heads", "encoder_ffn", "decoder_ffn"):
            self._check(name, 2 if name.endswith("_size") else 1, _MAX_SIZE)
        for name in ("encoder_layers", "decoder_layers"):
            self._check(name, 1, _MAX_LAYERS)
        if self.dim < 4 or self.dim % 2 or self.dim % self.heads:
            raise ValueError(f"dim must be even, at least 4, and a multiple of heads ({self.heads}); got {self.dim}")
        if self.tied == "all" and self.source_size != self.target_size:
            raise ValueError(
                f"one embedding needs one vocabulary; source_size is {self.source_size}, target_size {self.target_size}"
            )
        if not 0 < self.epsilon < 1:
            raise ValueError(f"epsilon must be in (0, 1), got {self.epsilon!r}")
        self._check_layers()
        smallest = min(self.source_size, self.target_size)
        for name, piece in (("eos", self.eos), *(("never", piece) for piece in self.never)):
            if not 0 <= piece < (smallest if name == "eos" else self.target_size):
                raise ValueError(f"{name} is piece {piece}, and the vocabulary has {smallest}")
        if self.start is not None and not 0 <= self.start < self.target_size:
            raise ValueError(f"start is piece {self.start}, and the vocabulary has {self.target_size}")

    def _check(self, name: str, low: int, high: int) -> None:
        value = getattr(self, name)
        if type(value) is not int or not low <= value <= high:
            raise ValueError(f"{name} must be a whole number in {low}..{high}, got {value!r}")

    def _check_layers(self) -> None:
        if self.past_heads and self.decoder_cell != "attention":
            raise ValueError(f"past_heads is for decoders with attention; the decoder's cell is {self.decoder_cell!r}")
        for name in _PER_LAYER:
            values, layers = getattr(self, name), self._layers(name)
            high = self.heads if name.endswith("_heads") else _MAX_SIZE
            if values and len(values) != layers:
                raise ValueError(f"{name} must have a number per layer ({layers}), got {len(values)}")
            for value in values:
                if type(value) is not int or not 1 <= value <= high:
                    raise ValueError(f"{name} must be whole numbers in 1..{high}, got {value!r}")

    def _layers(self, name: str) -> int:
        return self.encoder_layers if name.startswith("encoder") else self.decoder_layers

    def sizes(self, name: str) -> tuple[int, ...]:
        """Of each layer: "encoder_heads", "past_heads", "cross_heads", "encoder_widths" or "decoder_widths"."""
        usual = {"encoder_widths": self.encoder_ffn, "decoder_widths": self.decoder_ffn}.get(name, self.heads)
        values: tuple[int, ...] = getattr(self, name)
        return values or (usual,) * self._layers(name)

    @property
    def head_dim(self) -> int:
        """Width of one head."""
        return self.dim // self.heads

    @property
    def num_parameters(self) -> int:
        """Parameters of the network, each tied matrix counted once."""
        norm = 2 * self.dim
        attention = sum(self._attention(heads) for heads in (*self.sizes("encoder_heads"), *self.sizes("cross_heads")))
        if self.decoder_cell == "attention":
            past = sum(self._attention(heads) for heads in self.sizes("past_heads"))
        else:
            past = self.decoder_layers * (2 * self.dim * self.dim + self.dim)
        widths = (*self.sizes("encoder_widths"), *self.sizes("decoder_widths"))
        ffn = sum(2 * self.dim * width + width + self.dim for width in widths)
        norms = (2 * self.encoder_layers + 3 * self.decoder_layers + (2 if self.norm == "pre" else 0)) * norm
        matrices = self.source_size + (0 if self.tied == "all" else self.target_size * (1 + (self.tied == "none")))
        return matrices * self.dim + self.target_size + attention + past + ffn + norms

    def _attention(self, heads: int) -> int:
        width = heads * self.head_dim
        return 4 * self.dim * width + 3 * width + self.dim

    def to_json(self) -> dict[str, Any]:
        """JSON-able; the inverse is `from_json`."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "EncoderDecoderConfig":
        """ValueError naming an unknown field, a missing one, or a value out of range."""
        known = [field.name for field in fields(cls)]
        for name in document:
            if name not in known:
                raise ValueError(f"unknown field {name!r} of a translation network; known: {', '.join(known)}")
        for name in ("source_size", "target_size"):
            if name not in document:
                raise ValueError(f"{name} is missing")
        lists = {}
        for name in ("never", *_PER_LAYER):
            values = document.get(name, ())
            if not isinstance(values, list | tuple) or not all(type(value) is int for value in values):
                raise ValueError(f"{name} must be a list of whole numbers, got {values!r}")
            lists[name] = tuple(values)
        return cls(**{**document, **lists})
