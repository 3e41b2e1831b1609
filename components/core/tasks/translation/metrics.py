"""BLEU and chrF from additive statistics per sentence: their sums over a corpus give sacrebleu's corpus scores.

BLEU: Papineni et al. 2002 (P02-1040), as sacrebleu computes it (Post 2018, arXiv:1804.08771): tokenizer 13a, mixed
case, exponential smoothing, one reference. chrF2: Popović 2015 (W15-3049): character 1- to 6-grams, β = 2.
"""

from collections import Counter
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from components.core.tasks.metric import Metric

BLEU_ORDER, CHAR_ORDER, BETA = 4, 6, 2
_BLEU = 2 * BLEU_ORDER + 2
SIZE = _BLEU + 3 * CHAR_ORDER
"""Statistics per sentence: n-gram matches (4) and totals (4), tokens of hypothesis and reference; then for chrF
n-grams of the hypothesis (6), of the reference (6), matches (6)."""


@cache
def _tokenizer() -> Any:
    from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a

    return Tokenizer13a()


def statistics(hypotheses: Sequence[str], references: Sequence[str]) -> np.ndarray:
    """Float64 `(N, SIZE)`, one row per sentence."""
    rows = [
        [*_bleu_counts(hypothesis, reference), *_character_counts(hypothesis, reference)]
        for hypothesis, reference in zip(hypotheses, references, strict=True)
    ]
    return np.array(rows, dtype=np.float64).reshape(-1, SIZE)


def _bleu_counts(hypothesis: str, reference: str) -> list[int]:
    ours = _tokenizer()(hypothesis.rstrip()).split()
    theirs = _tokenizer()(reference.rstrip()).split()
    matches, totals = [], []
    for order in range(1, BLEU_ORDER + 1):
        found, wanted = _grams(ours, order), _grams(theirs, order)
        matches.append((found & wanted).total())
        totals.append(found.total())
    return [*matches, *totals, len(ours), len(theirs)]


def _character_counts(hypothesis: str, reference: str) -> list[int]:
    ours, theirs = "".join(hypothesis.split()), "".join(reference.split())
    counts = []
    for order in range(1, CHAR_ORDER + 1):
        found, wanted = _grams(ours, order), _grams(theirs, order)
        counts.append((found.total() if wanted else 0, wanted.total(), (found & wanted).total()))
    return [number for column in zip(*counts, strict=True) for number in column]


def _grams(items: Sequence[str], order: int) -> Counter[Any]:
    return Counter(tuple(items[start : start + order]) for start in range(len(items) - order + 1))


def bleu(sums: np.ndarray) -> np.ndarray:
    """`100 · BP · exp(¼ Σ log p_n)` of sums `(…, SIZE)`; 0 without a matching word, nan without a sentence.

    Exponential smoothing: the k-th order without a match has `p_n = 1 / (2^k · total_n)`. As in sacrebleu, the orders
    from the first without any n-gram on have precision 0, and so has the score.
    """
    matches = sums[..., :BLEU_ORDER]
    totals = sums[..., BLEU_ORDER : 2 * BLEU_ORDER]
    hypothesis, reference = sums[..., 2 * BLEU_ORDER], sums[..., 2 * BLEU_ORDER + 1]
    missing = (matches == 0) & (totals > 0)
    smoothed = np.where(missing, 0.5 ** np.cumsum(missing, axis=-1), matches)
    precisions = smoothed / np.maximum(totals, 1)
    usable = (totals > 0).all(axis=-1) & (matches.sum(axis=-1) > 0)
    logs = np.log(np.where(precisions > 0, precisions, 1)).mean(axis=-1)
    brevity = np.where(hypothesis < reference, np.exp(1 - reference / np.maximum(hypothesis, 1e-9)), 1.0)
    values = np.where(usable, 100 * brevity * np.exp(logs), 0.0)
    return np.where((hypothesis == 0) & (reference == 0), np.nan, values)


def chrf(sums: np.ndarray) -> np.ndarray:
    """chrF2 of sums `(…, SIZE)`, 0…100: mean precision and recall over the orders that both have, then F with β = 2.

    nan without a sentence.
    """
    hypothesis, reference, matches = np.moveaxis(sums[..., _BLEU:].reshape(*sums.shape[:-1], 3, CHAR_ORDER), -2, 0)
    used = (hypothesis > 0) & (reference > 0)
    orders = np.maximum(used.sum(axis=-1), 1)
    precision = (np.where(used, matches / np.maximum(hypothesis, 1), 0)).sum(axis=-1) / orders
    recall = (np.where(used, matches / np.maximum(reference, 1), 0)).sum(axis=-1) / orders
    weighted = BETA**2 * precision + recall
    values = 100 * (1 + BETA**2) * precision * recall / np.where(weighted > 0, weighted, 1)
    return np.where(sums.sum(axis=-1) == 0, np.nan, values)


METRICS = (
    Metric(name="bleu", label="BLEU", reduce=bleu, points_per_unit=1.0, percent=False),
    Metric(name="chrf", label="chrF", reduce=chrf, points_per_unit=1.0, percent=False),
)


TRAINING_METRIC = Metric(
    name="piece_accuracy",
    label="pieces right",
    reduce=lambda sums: sums[..., 0] / np.where(sums[..., 1] > 0, sums[..., 1], np.nan),
)
"""Share of target pieces that are the most probable ones, given the reference's pieces before them."""


def training_statistics(guesses: np.ndarray, targets: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """`(right, counted)` of each row, float64 `(N, 2)`, for `TRAINING_METRIC`; all arguments `(N, T)`."""
    right = (guesses == targets) & weight
    return np.stack([right.sum(axis=1), weight.sum(axis=1)], axis=1).astype(np.float64)


@cache
def signatures() -> dict[str, str]:
    """sacrebleu's signature of each metric, by the metric's name: what must be equal for scores to be compared."""
    from sacrebleu.metrics import BLEU, CHRF

    found = {}
    for name, scorer in (("bleu", BLEU()), ("chrf", CHRF())):
        scorer.corpus_score(["a"], [["a"]])  # the signature counts the references of the last score
        found[name] = str(scorer.get_signature())
    return found
