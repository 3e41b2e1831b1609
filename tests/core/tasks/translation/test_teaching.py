"""A teacher's translations: of its hypotheses the one nearest to the reference, and its loss of that one."""

import itertools
import math
from types import SimpleNamespace

import numpy as np
import pytest
from sacrebleu import sentence_chrf

from components.core.tasks.translation.teaching import answers_of, nearest

EOS, MOST = 0, 3
WORDS = {1: "casa", 2: "casas"}
SEED = 7


class Vocabulary:
    """A source is its number; a target is of two words."""

    eos, target_size = EOS, 3

    def encode(self, sentence: str) -> list[int]:
        return [int(sentence), EOS]

    def decode(self, pieces: tuple[int, ...]) -> str:
        return " ".join(WORDS[piece] for piece in pieces)


ASSETS = SimpleNamespace(vocabulary=Vocabulary(), length_penalty=1.0, never=())


class Teacher:
    """Probabilities that are a fixed random function of the source and of all pieces so far; three words at most."""

    eos, size = EOS, 3

    def __init__(self, *, ends: bool = True) -> None:
        self._ends = ends
        self.sizes: list[int] = []

    def log_probabilities(self, source: int, pieces: tuple[int, ...]) -> np.ndarray:
        logits = np.random.default_rng([SEED, source, *pieces]).standard_normal(3)
        logits[EOS] += (60 if len(pieces) == MOST else 0) if self._ends else -60
        return logits - np.log(np.exp(logits).sum())

    def begin(self, source: np.ndarray) -> tuple[list, list]:
        self.sizes.append(len(source))
        return [source[:, 0].copy()], [np.zeros((len(source), 0), dtype=np.int64)]

    def step(self, piece: np.ndarray, position: np.ndarray, fixed: list, past: list) -> tuple[np.ndarray, list]:
        pieces = past[0] if position[0] == 0 else np.concatenate([past[0], piece[:, None]], axis=1)
        found = [self.log_probabilities(int(n), tuple(row)) for n, row in zip(fixed[0], pieces.tolist(), strict=True)]
        return np.stack(found), [pieces]

    def select(self, arrays: list, rows: np.ndarray) -> list:
        return [array[rows] for array in arrays]


def every_translation(source: int) -> list[tuple[float, tuple[int, ...]]]:
    """All translations with the mean of their log-probabilities, best first."""
    found = []
    for length in range(MOST + 1):
        for pieces in itertools.product(WORDS, repeat=length):
            steps = [*pieces, EOS]
            total = sum(
                float(Teacher().log_probabilities(source, pieces[:place])[piece]) for place, piece in enumerate(steps)
            )
            found.append((total / len(steps), pieces))
    return sorted(found, reverse=True)


REFERENCES = ["casa", "casas casa", "casas", "casa casas casas", "as", "casas casa casa"]


@pytest.mark.parametrize("beam", [8, 12])
def test_the_kept_hypothesis_is_the_one_of_the_n_best_with_the_highest_chrf(beam: int) -> None:
    rows = [{"text": str(number), "translation": reference} for number, reference in enumerate(REFERENCES, 1)]
    answers = answers_of(Teacher(), ASSETS, beam=beam)(rows)
    others = 0
    for row, answer in zip(rows, answers, strict=True):
        best = [one for one in every_translation(int(row["text"]))[:beam] if one[1]]
        texts = [Vocabulary().decode(pieces) for _, pieces in best]
        scores = [sentence_chrf(text, [row["translation"]]).score for text in texts]
        wanted = scores.index(max(scores))
        assert answer.target == {"translation": texts[wanted]}
        assert answer.loss == pytest.approx(-best[wanted][0])
        others += wanted > 0
    assert others >= 2, "not always the teacher's own first choice"


def test_equal_ones_are_taken_in_the_teachers_order() -> None:
    assert nearest(["uma casa", "casa", "casa"], "casa") == 1


def test_rows_are_answered_in_their_order_some_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"text": str(number), "translation": "casas"} for number in (5, 1, 4, 2, 3)]
    whole = answers_of(Teacher(), ASSETS, beam=8)(rows)
    monkeypatch.setattr("components.core.tasks.translation.teaching.HYPOTHESES", 16)
    teacher = Teacher()
    assert answers_of(teacher, ASSETS, beam=8)(rows) == whole
    assert teacher.sizes == [2, 2, 1]


def test_a_translation_that_does_not_end_is_no_answer() -> None:
    [answer] = answers_of(Teacher(ends=False), ASSETS, beam=2)([{"text": "1", "translation": "casa"}])
    assert answer == ({"translation": "casa"}, math.inf)
