"""Makes a translator smaller: vocabulary, then layers, then attention heads, then neurons, down to a share of its work.

The vocabulary comes first: on a small translator it gives most and costs least. What comes after it is measured on the
network with its new vocabulary.
"""

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from components.core.data.batch import Batch
from components.core.errors import UserError
from components.core.models.complexity import count_macs
from components.core.tasks.slimmed import Slimmed
from components.core.tasks.translation.assets import TYPICAL_LENGTH, TranslationAssets
from components.core.tasks.translation.examples import TEXT, TRANSLATION, SentencePairs
from components.core.tasks.translation.losses import token_cross_entropy_sum
from components.core.tasks.translation.networks import EncoderDecoder
from components.core.tasks.translation.pruning import (
    HEADS,
    WIDTHS,
    choose_units,
    drop_layers,
    prune_units,
    taylor_importance,
)
from components.core.tasks.translation.trimming import (
    KeptPieces,
    choose_pieces,
    count_pieces,
    pieces_of,
    trim_network,
    trim_vocabulary,
    vocabulary_loss,
)
from components.core.tasks.translation.vocabulary import Vocabulary

BATCH_ROWS = 8
LEAST_NEURONS = 0.15
"""Least share of all neurons that is left."""


@dataclass(frozen=True, kw_only=True)
class SlimConfig:
    """Sizes that a slimmed network keeps.

    Attributes:
        macs_fraction: share of the multiply-accumulates of the whole network, in (0, 1].
        vocabulary_coverage: share of the training text's pieces that the vocabulary keeps whole; 0 keeps all pieces.
        vocabulary_least: pieces of each side, at least: likely ones of the whole vocabulary fill it up.
        heads_fraction: share of the attention heads.
        encoder_layers, decoder_layers: layers of each stack; 0 keeps all.
        round_to: neurons left in a layer are a multiple of this.
    """

    macs_fraction: float
    vocabulary_coverage: float
    vocabulary_least: int
    heads_fraction: float
    encoder_layers: int
    decoder_layers: int
    round_to: int

    @classmethod
    def of(cls, recipe: Mapping[str, Any], *, macs_fraction: float, round_to: int) -> "SlimConfig":
        """Of what a recipe holds besides; what it lacks leaves the network as it is."""
        return cls(
            macs_fraction=macs_fraction,
            vocabulary_coverage=recipe.get("vocabulary_coverage", 0.0),
            vocabulary_least=recipe.get("vocabulary_least", 0),
            heads_fraction=recipe.get("heads_fraction", 1.0),
            encoder_layers=recipe.get("encoder_layers", 0),
            decoder_layers=recipe.get("decoder_layers", 0),
            round_to=round_to,
        )


def slim(
    network: EncoderDecoder,
    assets: TranslationAssets,
    config: SlimConfig,
    *,
    pairs: Iterable[tuple[str, str]],
    sample: Sequence[tuple[str, str]],
) -> Slimmed:
    """A smaller copy of the network.

    Args:
        network: in eval mode, on the CPU; left alone.
        assets: of the network.
        config: what to keep.
        pairs: all training sentences, whose pieces are counted.
        sample: some of them, on which losses and importance are measured.

    Raises:
        UserError: there is no training sentence.
    """
    network = copy.deepcopy(network)
    whole = count_macs(network, assets.inputs)
    notes: dict[str, str] = {}
    if not sample:
        raise UserError("pruning needs sentence pairs in the training split, which has none")
    if config.vocabulary_coverage:
        network, assets, notes = trimmed(
            network, assets, pairs, sample, coverage=config.vocabulary_coverage, least=config.vocabulary_least
        )
    batches = _batches(assets.vocabulary, sample)
    layers = network.config.encoder_layers, network.config.decoder_layers
    network = drop_layers(
        network,
        lambda candidate: float(sum(mean_loss(candidate, batch) for batch in batches)),
        encoder=min(config.encoder_layers or layers[0], layers[0]),
        decoder=min(config.decoder_layers or layers[1], layers[1]),
    )
    if (network.config.encoder_layers, network.config.decoder_layers) != layers:
        notes["layers of encoder and decoder"] = (
            f"{network.config.encoder_layers} of {layers[0]}, {network.config.decoder_layers} of {layers[1]}"
        )
    whole_sizes = _sizes(network)
    if config.heads_fraction < 1:
        network = _pruned(network, batches, HEADS, config.heads_fraction, round_to=1)
    neurons = _neurons_to_keep(network, assets, config.macs_fraction * whole)
    if neurons < 1:
        network = _pruned(network, batches, WIDTHS, neurons, round_to=config.round_to)
    left = _sizes(network)
    return Slimmed(
        module=network.eval(),
        options=network.config.to_json(),
        assets=assets,
        parts={name: (left[name], count) for name, count in whole_sizes.items()},
        notes=notes,
    )


def trimmed(
    network: EncoderDecoder,
    assets: TranslationAssets,
    pairs: Iterable[tuple[str, str]],
    sample: Sequence[tuple[str, str]],
    *,
    coverage: float,
    least: int,
) -> tuple[EncoderDecoder, TranslationAssets, dict[str, str]]:
    """The network with a trimmed vocabulary, its assets, and what was lost, for people."""
    before = assets.vocabulary
    kept = choose_pieces(before, *count_pieces(before, pairs), coverage=coverage, least=least)
    after = trim_vocabulary(before, kept)
    notes = {"pieces kept": f"{len(kept.source):,} of {before.source_size:,} (source), "
                            f"{len(kept.target):,} of {before.target_size:,} (target)"}  # fmt: skip
    for side, texts in (("source", [text for text, _ in sample]), ("target", [text for _, text in sample])):
        lost = vocabulary_loss(before, after, texts, side=side)
        notes[f"{side} sentences cut otherwise"] = (
            f"{lost.cut_otherwise:,} of {lost.sentences:,}, {lost.pieces_before:,} → {lost.pieces_after:,} pieces"
        )
    network = trim_network(network, kept)
    return network, replace(assets, vocabulary=after, never=network.config.never), notes


def with_vocabulary(network: EncoderDecoder, whole: Vocabulary, part: Vocabulary) -> EncoderDecoder:
    """The network with the pieces of `part` alone, in its numbering: a teacher whose logits a student can be held to.

    Raises:
        UserError: a piece that `whole` does not have.
    """
    if whole == part:
        return network
    sides = []
    for side in ("source", "target"):
        numbers = {piece.text: number for number, piece in enumerate(pieces_of(whole, side))}
        texts = [piece.text for piece in pieces_of(part, side)]
        if missing := [text for text in texts if text not in numbers]:
            raise UserError(f"the teacher's vocabulary lacks the student's piece {missing[0]!r}")
        sides.append(tuple(numbers[text] for text in texts))
    return trim_network(network, KeptPieces(source=sides[0], target=sides[1]))


def mean_loss(network: EncoderDecoder, batch: Batch) -> Tensor:
    """Cross-entropy per piece."""
    logits = network(*batch.inputs.values())
    return token_cross_entropy_sum(logits, batch.targets, batch.weight) / batch.count


def _pruned(
    network: EncoderDecoder, batches: Sequence[Batch], kinds: Sequence[str], fraction: float, *, round_to: int
) -> EncoderDecoder:
    with torch.enable_grad():
        scores = taylor_importance(network.requires_grad_(True), batches, mean_loss)
    chosen = {name: values for name, values in scores.items() if name.split(".")[0] in kinds}
    return prune_units(network, choose_units(chosen, fraction=fraction, round_to=round_to)).eval()


def _neurons_to_keep(network: EncoderDecoder, assets: TranslationAssets, target: float) -> float:
    """The share of the neurons at which the network needs `target` multiply-accumulates."""
    config = network.config
    neurons = sum(config.sizes("encoder_widths")) + sum(config.sizes("decoder_widths"))
    share = 1 - (count_macs(network, assets.inputs) - target) / (TYPICAL_LENGTH * 2 * config.dim * neurons)
    return min(1.0, max(LEAST_NEURONS, share))


def _sizes(network: EncoderDecoder) -> dict[str, int]:
    kinds = [kind for kind in (*HEADS, *WIDTHS) if kind != "past_heads" or network.config.decoder_cell == "attention"]
    return {f"{kind}.{number}": size for kind in kinds for number, size in enumerate(network.config.sizes(kind))}


def _batches(vocabulary: Vocabulary, sample: Sequence[tuple[str, str]]) -> list[Batch]:
    """Small ones: their signed sums do not vanish."""
    transform = SentencePairs(vocabulary=vocabulary)
    found = []
    for start in range(0, len(sample), BATCH_ROWS):
        part = sample[start : start + BATCH_ROWS]
        examples = [transform.decode({TEXT: text, TRANSLATION: translation}) for text, translation in part]
        batch = transform.collate(examples, [""] * len(part), None)
        found.append(
            replace(
                batch,
                inputs={name: torch.from_numpy(values) for name, values in batch.inputs.items()},
                targets=torch.from_numpy(batch.targets),
                weight=torch.from_numpy(batch.weight),
            )
        )
    return found
