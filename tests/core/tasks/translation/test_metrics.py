import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sacrebleu.metrics import BLEU, CHRF

from components.core.tasks.translation.metrics import METRICS, SIZE, bleu, chrf, signatures, statistics

WORDS = ("the", "cat", "sat", "on", "a", "mat.", "Über", "3,5", "don't", "x", "", "猫 が", "http://a.b/c", "&amp;", "—")
SENTENCE = st.lists(st.sampled_from(WORDS), max_size=9).map(" ".join)


@settings(deadline=None, max_examples=150)
@given(st.lists(st.tuples(SENTENCE, SENTENCE), min_size=1, max_size=6))
def test_sums_of_statistics_give_sacrebleus_corpus_scores(pairs: list[tuple[str, str]]) -> None:
    hypotheses, references = [h for h, _ in pairs], [r for _, r in pairs]
    sums = statistics(hypotheses, references).sum(axis=0)
    if not any(hypotheses) and not any(references):
        return
    expected = BLEU().corpus_score(hypotheses, [references]).score
    np.testing.assert_allclose(np.nan_to_num(bleu(sums)), expected, atol=1e-9)
    expected = CHRF().corpus_score(hypotheses, [references]).score
    np.testing.assert_allclose(np.nan_to_num(chrf(sums)), expected, atol=1e-9)


def test_scores_of_longer_texts_equal_sacrebleus_too() -> None:
    rng = np.random.default_rng(0)
    references = [" ".join(rng.choice(WORDS, rng.integers(4, 40))) for _ in range(200)]
    hypotheses = [" ".join(word for word in line.split() if rng.random() > 0.2) for line in references]
    sums = statistics(hypotheses, references).sum(axis=0)
    assert 20 < bleu(sums) < 90
    np.testing.assert_allclose(bleu(sums), BLEU().corpus_score(hypotheses, [references]).score, rtol=1e-12)
    np.testing.assert_allclose(chrf(sums), CHRF().corpus_score(hypotheses, [references]).score, rtol=1e-12)


def test_many_sums_are_reduced_at_once_as_the_bootstrap_does() -> None:
    rows = statistics(["a b c d e", "x y", ""], ["a b c d f", "x z", "q"])
    assert rows.shape == (3, SIZE)
    drawn = np.random.default_rng(0).integers(0, 3, (7, 3))
    for metric in METRICS:
        together = metric.reduce(rows[drawn].sum(axis=1))
        alone = [metric.value(rows[chosen]) for chosen in drawn]
        np.testing.assert_array_equal(together, alone)


@pytest.mark.parametrize(
    ("hypothesis", "reference", "expected"),
    [("a b c d", "a b c d", 100), ("", "a b c d", 0), ("q r s t", "a b c d", 0)],
)
def test_the_ends_of_both_scales(hypothesis: str, reference: str, expected: float) -> None:
    rows = statistics([hypothesis], [reference])
    assert [metric.value(rows) for metric in METRICS] == pytest.approx([expected] * 2)


def test_no_sentence_has_no_score() -> None:
    rows = statistics([], [])
    assert rows.shape == (0, SIZE)
    assert all(np.isnan(metric.value(rows)) for metric in METRICS)
    assert [metric.write(metric.value(rows)) for metric in METRICS] == ["–", "–"]


def test_a_difference_is_stated_in_points_of_the_metric() -> None:
    assert [(metric.name, metric.points(1.5), metric.write(31.2)) for metric in METRICS] == [
        ("bleu", 1.5, "31.20"),
        ("chrf", 1.5, "31.20"),
    ]


def test_signatures_are_sacrebleus() -> None:
    found = signatures()
    assert found["bleu"].startswith("nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:")
    assert found["chrf"].startswith("nrefs:1|case:mixed|eff:yes|nc:6|nw:0|space:no|version:")
