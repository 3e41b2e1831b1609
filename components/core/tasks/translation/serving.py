"""Decoders for `decoding`: over two onnxruntime sessions, as a client runs them, and over the torch network itself."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from components.core.tasks.translation.decoding import Hypothesis, StepDecoder, beam_search, greedy

if TYPE_CHECKING:
    from components.core.tasks.translation.networks import EncoderDecoder

ENCODER, STEP = "encoder", "step"
_GIVEN = ("piece", "position")
_REMEMBERED = ("cell_", "past_")
"""How the names of a step's inputs begin that it gives back, as `next_…`."""


class OnnxDecoder:
    """A `decoding.StepDecoder` over the graphs of `graphs.py`; needs numpy and the sessions only.

    Everything about the states is read from the graphs: their names, and the sizes of what is empty at first.
    """

    def __init__(self, sessions: Mapping[str, Any], *, eos: int) -> None:
        self._encoder, self._step = sessions[ENCODER], sessions[STEP]
        self.eos, self.finite = eos, True
        inputs = {entry.name: entry.shape for entry in self._step.get_inputs()}
        self._fixed = [name for name in inputs if name not in _GIVEN and not name.startswith(_REMEMBERED)]
        self._past = {name: shape for name, shape in inputs.items() if name.startswith(_REMEMBERED)}
        self._outputs = ["logits", *(f"next_{name}" for name in self._past)]
        self.size = next(int(entry.shape[-1]) for entry in self._step.get_outputs() if entry.name == "logits")

    def begin(self, source: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray]]:
        fixed = self._encoder.run(self._fixed, {"source": source})
        # The first free size is the batch, a further one the pieces so far: none.
        past = [
            np.zeros((len(source), *(size if isinstance(size, int) else 0 for size in shape[1:])), dtype=np.float32)
            for shape in self._past.values()
        ]
        return fixed, past

    def step(
        self, piece: np.ndarray, position: np.ndarray, fixed: list[np.ndarray], past: list[np.ndarray]
    ) -> tuple[np.ndarray, list[np.ndarray]]:
        """See `StepDecoder.step`; `finite` says afterwards whether all logits so far were numbers."""
        feed = dict(zip(_GIVEN, (piece, position), strict=True))
        feed |= dict(zip(self._fixed, fixed, strict=True)) | dict(zip(self._past, past, strict=True))
        logits, *following = self._step.run(self._outputs, feed)
        self.finite = self.finite and bool(np.isfinite(logits.max(initial=0.0)))
        return logits, following

    def select(self, arrays: list[np.ndarray], rows: np.ndarray) -> list[np.ndarray]:
        return [array[rows] for array in arrays]


class TorchDecoder:
    """A `decoding.StepDecoder` over the network, on its device, in eval mode, without gradients."""

    def __init__(self, network: "EncoderDecoder") -> None:
        self._network = network.eval()
        self.eos, self.size = network.config.eos, network.config.target_size

    def _tensor(self, values: np.ndarray) -> Any:
        import torch

        return torch.from_numpy(values).to(self._network.output_bias.device)

    def begin(self, source: np.ndarray) -> tuple[list[Any], list[Any]]:
        import torch

        with torch.inference_mode():
            states, mask = self._network.encode(self._tensor(source))
            fixed = [mask, *self._network.source_keys_values(states)]
            return fixed, self._network.first_past(len(source))

    def step(
        self, piece: np.ndarray, position: np.ndarray, fixed: list[Any], past: list[Any]
    ) -> tuple[np.ndarray, list[Any]]:
        import torch

        with torch.inference_mode():
            logits, following = self._network.step(
                self._tensor(piece), self._tensor(position), fixed[0], fixed[1:], past
            )
        return logits.float().cpu().numpy(), following

    def select(self, arrays: list[Any], rows: np.ndarray) -> list[Any]:
        chosen = self._tensor(rows)
        return [array[chosen] for array in arrays]


def translate(
    decoder: StepDecoder, source: np.ndarray, *, beam_size: int, length_penalty: float, never: Sequence[int] = ()
) -> list[list[int]]:
    """Pieces of the translation of each source `(N, S)`, without eos: greedy with a beam of 1, else the beam's best."""
    if beam_size == 1:
        return greedy(decoder, source, forbidden=_forbidden(decoder, never))
    found = n_best(decoder, source, width=beam_size, length_penalty=length_penalty, never=never)
    return [list(hypotheses[0].pieces) if hypotheses else [] for hypotheses in found]


def n_best(
    decoder: StepDecoder, source: np.ndarray, *, width: int, length_penalty: float, never: Sequence[int] = ()
) -> list[list[Hypothesis]]:
    """The best `width` hypotheses of each source `(N, S)`, best first, without the pieces `never`."""
    forbidden = _forbidden(decoder, never)
    return beam_search(decoder, source, width=width, length_penalty=length_penalty, forbidden=forbidden)


def _forbidden(decoder: StepDecoder, never: Sequence[int]) -> np.ndarray | None:
    if not never:
        return None
    forbidden = np.zeros(decoder.size, dtype=bool)
    forbidden[list(never)] = True
    return forbidden


def padded(sentences: Sequence[Sequence[int]], eos: int) -> np.ndarray:
    """Piece numbers as int64 `(N, length of the longest)`, shorter rows padded with eos; at least one column."""
    width = max((len(pieces) for pieces in sentences), default=1)
    array = np.full((len(sentences), max(width, 1)), eos, dtype=np.int64)
    for row, pieces in zip(array, sentences, strict=True):
        row[: len(pieces)] = pieces
    return array
