"""A teacher's translations in place of the references: sequence-level distillation.

A student that learns from many people's translations has to model all their ways to say a thing; from one teacher's it
has to model one. Of the n best hypotheses the one nearest to the reference is taken ("sequence-level interpolation"),
which keeps what the reference knows and the teacher does not. Kim and Rush 2016, arXiv:1606.07947.
"""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from components.core.tasks.base import Answer, TeacherAnswers
from components.core.tasks.translation.decoding import Hypothesis, StepDecoder
from components.core.tasks.translation.examples import TEXT, TRANSLATION
from components.core.tasks.translation.metrics import chrf, statistics
from components.core.tasks.translation.serving import n_best, padded

if TYPE_CHECKING:
    from components.core.tasks.translation.assets import TranslationAssets

HYPOTHESES = 128
"""Hypotheses that go through the decoder together: their logits take 16 MB with 32,000 pieces."""


def answers_of(decoder: StepDecoder, assets: "TranslationAssets", *, beam: int) -> TeacherAnswers:
    """Translates rows by `beam` hypotheses each, sentences of similar length together.

    A row's loss is that of the translation that is kept: `−log p / length`, eos included. Hypotheses that were cut, and
    empty ones, are no answers.
    """
    encode, eos = assets.vocabulary.encode, assets.vocabulary.eos

    def answers(rows: Sequence[Mapping[str, Any]]) -> list[Answer]:
        sources = [encode(row[TEXT]) for row in rows]
        order = sorted(range(len(rows)), key=lambda number: len(sources[number]))
        size = max(1, HYPOTHESES // beam)
        found: dict[int, Answer] = {}
        for start in range(0, len(rows), size):
            numbers = order[start : start + size]
            together = padded([sources[number] for number in numbers], eos)
            hypotheses = n_best(decoder, together, width=beam, length_penalty=assets.length_penalty, never=assets.never)
            for number, own in zip(numbers, hypotheses, strict=True):
                found[number] = _answer(own, rows[number][TRANSLATION], assets)
        return [found[number] for number in range(len(rows))]

    return answers


def _answer(hypotheses: Sequence[Hypothesis], reference: str, assets: "TranslationAssets") -> Answer:
    whole = [(assets.vocabulary.decode(one.pieces).strip(), one) for one in hypotheses if one.ended]
    said = [(text, one) for text, one in whole if text]
    if not said:
        return Answer(target={TRANSLATION: reference}, loss=math.inf)
    text, kept = said[nearest([text for text, _ in said], reference)]
    return Answer(target={TRANSLATION: text}, loss=-kept.score(1.0))


def nearest(hypotheses: Sequence[str], reference: str) -> int:
    """Which hypothesis has the highest chrF against the reference, the first of equal ones; there is at least one."""
    return int(np.argmax(chrf(statistics(hypotheses, [reference] * len(hypotheses)))))
