import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.core.tasks.translation.decoding import Hypothesis, beam_search, greedy, log_sum_exp, longest

EOS = 0


class Toy:
    """Logits that are a fixed random function of the row's source and of all pieces so far."""

    eos = EOS

    def __init__(self, size: int, seed: int) -> None:
        self.size, self._seed = size, seed
        self.rows_per_step: list[int] = []

    def logits(self, number: int, pieces: tuple[int, ...]) -> np.ndarray:
        return 2 * np.random.default_rng([self._seed, number, *pieces]).standard_normal(self.size)

    def begin(self, source: np.ndarray) -> tuple[list, list]:
        return [source[:, 0].copy()], [np.zeros((len(source), 0), dtype=np.int64)]

    def step(self, piece: np.ndarray, position: np.ndarray, fixed: list, past: list) -> tuple[np.ndarray, list]:
        assert len(piece) == len(position) == len(fixed[0]) == len(past[0])
        self.rows_per_step.append(len(piece))
        pieces = past[0] if position[0] == 0 else np.concatenate([past[0], piece[:, None]], axis=1)
        rows = [self.logits(int(n), tuple(row)) for n, row in zip(fixed[0], pieces.tolist(), strict=True)]
        return np.stack(rows), [pieces]

    def select(self, arrays: list, rows: np.ndarray) -> list:
        return [array[rows] for array in arrays]


def sources(count: int) -> np.ndarray:
    return np.array([[number + 1, EOS] for number in range(count)], dtype=np.int64)


def every_hypothesis(toy: Toy, number: int, limit: int, allowed: Callable[[int], bool]) -> list[Hypothesis]:
    """All that end within the limit, and all that are cut at it."""
    found = []
    pieces = [piece for piece in range(toy.size) if piece != EOS and allowed(piece)]
    barred = np.array([not allowed(piece) for piece in range(toy.size)])
    for length in range(limit + 1):
        for chosen in itertools.product(pieces, repeat=length):
            total = 0.0
            for place in range(length + (length < limit)):
                logits = np.where(barred, -np.inf, toy.logits(number, chosen[:place]))
                total += math.log(np.exp(logits)[chosen[place] if place < length else EOS] / np.exp(logits).sum())
            found.append(Hypothesis(pieces=chosen, log_probability=total, ended=length < limit))
    return found


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10**6), st.sampled_from([0.0, 0.6, 1.0]))
def test_beam_4_finds_the_best_of_all_translations_of_a_toy_vocabulary(seed: int, penalty: float) -> None:
    # Two pieces and eos: 2, then 4 unfinished hypotheses, so that four are all there are.
    toy = Toy(3, seed)
    results = beam_search(toy, sources(3), width=4, length_penalty=penalty, limit=np.array([3, 1, 2]))
    for number, (result, limit) in enumerate(zip(results, (3, 1, 2), strict=True), 1):
        everything = every_hypothesis(toy, number, limit, lambda piece: True)
        best = sorted((hypothesis.score(penalty) for hypothesis in everything), reverse=True)[:4]
        np.testing.assert_allclose([hypothesis.score(penalty) for hypothesis in result], best)
        top = max(everything, key=lambda hypothesis: hypothesis.score(penalty))
        assert (result[0].pieces, result[0].ended) == (top.pieces, top.ended)


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 10**6))
def test_a_wide_beam_finds_the_best_translation_without_forbidden_pieces(seed: int) -> None:
    toy, forbidden = Toy(5, seed), np.array([False, False, True, False, False])
    [result] = beam_search(toy, sources(1), width=30, forbidden=forbidden, limit=np.array([4]))
    top = max(every_hypothesis(toy, 1, 4, lambda piece: piece != 2), key=lambda hypothesis: hypothesis.score(1))
    assert result[0].pieces == top.pieces
    assert not any(2 in hypothesis.pieces for hypothesis in result)


class LateWinner(Toy):
    """To end at once has probability 0.6; else four certain pieces and a certain end."""

    def logits(self, number: int, pieces: tuple[int, ...]) -> np.ndarray:
        probabilities = [0.6, 0.4] if not pieces else [1e-9, 1.0] if len(pieces) < 4 else [1.0, 1e-9]
        return np.log(probabilities)


def test_the_search_goes_on_while_a_longer_translation_can_still_win() -> None:
    [[mean]] = beam_search(LateWinner(2, 0), sources(1), width=1, length_penalty=1.0, limit=np.array([8]))
    [[plain]] = beam_search(LateWinner(2, 0), sources(1), width=1, length_penalty=0.0, limit=np.array([8]))
    assert (mean.pieces, plain.pieces) == ((1, 1, 1, 1), ())
    assert mean.log_probability == pytest.approx(math.log(0.4), abs=1e-6)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10**6), st.integers(1, 5))
def test_rows_are_translated_alike_alone_and_together(seed: int, width: int) -> None:
    limit = np.array([6, 3, 9, 1])
    together = beam_search(Toy(6, seed), sources(4), width=width, limit=limit)
    pieces = greedy(Toy(6, seed), sources(4), limit=limit)
    for row in range(4):
        own, bound = sources(4)[row : row + 1], limit[row : row + 1]
        assert [together[row]] == beam_search(Toy(6, seed), own, width=width, limit=bound)
        assert [pieces[row]] == greedy(Toy(6, seed), own, limit=bound)


def test_greedy_takes_the_most_probable_piece_until_eos_or_the_limit() -> None:
    toy = Toy(6, 3)
    limit = np.array([5, 12, 12])
    results = greedy(toy, sources(3), limit=limit)
    for number, (pieces, bound) in enumerate(zip(results, limit, strict=True), 1):
        for place, piece in enumerate(pieces):
            assert piece == toy.logits(number, tuple(pieces[:place])).argmax()
        assert len(pieces) == bound or toy.logits(number, tuple(pieces)).argmax() == EOS
    assert toy.rows_per_step[0] == 3
    assert toy.rows_per_step == sorted(toy.rows_per_step, reverse=True), "finished rows are not computed on"


def test_a_forbidden_piece_of_one_row_is_allowed_in_another() -> None:
    free = greedy(Toy(6, 3), sources(2), limit=np.array([4, 4]))
    forbidden = np.zeros((2, 6), dtype=bool)
    forbidden[0, free[0][0]] = True
    barred = greedy(Toy(6, 3), sources(2), limit=np.array([4, 4]), forbidden=forbidden)
    assert free[0][0] not in barred[0]
    assert barred[1] == free[1]


def test_a_translation_may_be_longer_than_its_source_and_short_sources_may_be_long() -> None:
    source = np.array([[5, EOS, EOS, EOS], [5] * 3 + [EOS]])
    assert longest(source, EOS).tolist() == [16, 16]
    assert longest(np.array([[5] * 19 + [EOS]]), EOS).tolist() == [50]


def test_the_sum_of_all_probabilities_is_exact_in_float32_whatever_their_size() -> None:
    logits = np.random.default_rng(0).normal(0, 8, (3, 32_000)).astype(np.float32) + np.float32([[0], [900], [-900]])
    logits[0, 5:] = -np.inf
    largest = [float(row.max()) for row in logits]
    exact = [
        most + math.log(math.fsum(math.exp(float(x) - most) for x in row))
        for row, most in zip(logits, largest, strict=True)
    ]
    np.testing.assert_allclose(log_sum_exp(logits), exact, rtol=0, atol=3e-7)


def by_all_log_probabilities(toy: Toy, number: int, width: int, limit: int) -> list[tuple[tuple[int, ...], float]]:
    """The definition: a float64 log-softmax of every hypothesis, all sums sorted."""
    unfinished: list[tuple[tuple[int, ...], float]] = [((), 0.0)]
    found: list[tuple[tuple[int, ...], float, int]] = []
    for place in range(limit):
        offered = []
        for pieces, total in unfinished:
            logits = toy.logits(number, pieces).astype(np.float64)
            values = total + logits - np.log(np.exp(logits).sum())
            found.append((pieces, float(values[EOS]), len(pieces) + 1))
            offered += [((*pieces, p), float(v)) for p, v in enumerate(values) if p != EOS]
        unfinished = sorted(offered, key=lambda one: -one[1])[:width]
        if place + 1 == limit:
            found += [(pieces, total, len(pieces)) for pieces, total in unfinished]
    best = sorted(found, key=lambda one: -one[1] / one[2])[:width]
    return [(pieces, total) for pieces, total, _ in best]


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10**6), st.integers(1, 6), st.integers(2, 40))
def test_a_few_sums_decide_as_all_would(seed: int, width: int, size: int) -> None:
    [result] = beam_search(Toy(size, seed), sources(1), width=width, limit=np.array([5]))
    wanted = by_all_log_probabilities(Toy(size, seed), 1, width, 5)
    assert [hypothesis.pieces for hypothesis in result] == [pieces for pieces, _ in wanted]
    np.testing.assert_allclose([hypothesis.log_probability for hypothesis in result], [total for _, total in wanted])


def test_no_sentences_give_no_translations() -> None:
    empty = np.zeros((0, 1), dtype=np.int64)
    assert greedy(Toy(3, 0), empty) == beam_search(Toy(3, 0), empty) == []


@pytest.mark.parametrize("wrong", [{"width": 0}, {"length_penalty": -1.0}])
def test_a_width_or_penalty_that_cannot_be_is_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match="width must be at least 1 and length_penalty at least 0"):
        beam_search(Toy(3, 0), sources(1), **wrong)
