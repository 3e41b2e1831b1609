import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import evaluation_documents as documents
import numpy as np
import pytest
import sacrebleu

from components.core.data.batch import Batch
from components.core.evaluation.document import Evaluation, Sample
from components.core.report.page import render_page
from components.core.tasks.translation.assets import TranslationAssets
from components.core.tasks.translation.details import ERRORS, TranslationDetails, errors_of
from components.core.tasks.translation.examples import Reference
from components.core.tasks.translation.lengths import LENGTHS, histogram, length_group
from components.core.tasks.translation.pages import TranslationPages
from components.core.tasks.translation.vocabulary import train_vocabulary

PAIRS = [
    ("Open the file", "Abra o arquivo", "Abra o arquivo"),
    ("Close", "Feche", ""),
    ("Show the window", "Mostre a janela", "Show  the window"),
    ("Delete %s and {name}", "Apague %s e {name}", "Apague %s e {nome}"),
    ("See https://a.org/x.", "Veja https://a.org/x.", "Veja https://a.org/y."),
    ("Take 1,000.5 of the 3 letters that are here now", "Pegue 1.000,5 das 3 cartas que estão aqui", "Pegue 4 cartas"),
    ("Wait", "Espere", "Espere " * 9),
    ("Firefox", "Firefox", "Firefox"),
    ("%s trees", "árvores", "tantas árvores"),
]
FOUND = [[], ["empty"], ["copied"], ["placeholders"], ["placeholders"], ["numbers"], ["too long"], [], []]


def batch_of(pairs: list[tuple[str, str, str]]) -> Batch:
    references = [Reference(target, source=source) for source, target, _ in pairs]
    return Batch(inputs={"source": np.zeros((len(pairs), 1))}, targets=references, digests=[""] * len(pairs))


@pytest.mark.parametrize(("pair", "wanted"), zip(PAIRS, FOUND, strict=True))
def test_an_error_is_what_the_reference_has_not(pair: tuple[str, str, str], wanted: list[str]) -> None:
    source, target, said = pair
    assert errors_of(said, Reference(target, source=source)) == wanted


def noted(translations: list[str], size: int = 4) -> dict[str, Any]:
    details = TranslationDetails()
    for start in range(0, len(PAIRS), size):
        details.add({}, translations[start : start + size], batch_of(PAIRS[start : start + size]))
    return details.finish()


def test_figures_by_length_are_sacrebleu_s_over_the_sentences_of_the_length() -> None:
    found = noted([said for _, _, said in PAIRS])
    assert json.loads(json.dumps(found)) == found
    assert found["errors"] == {"empty": 1, "copied": 1, "placeholders": 2, "numbers": 1, "too long": 1}
    assert list(found["errors"]) == list(ERRORS)
    assert [row["length"] for row in found["lengths"]] == list(LENGTHS)
    assert [row["rows"] for row in found["lengths"]] == histogram(source for source, _, _ in PAIRS) == [7, 1, 1, 0, 0]
    short = [(said, target) for source, target, said in PAIRS if length_group(source) == 0]
    said, targets = zip(*short, strict=True)
    assert found["lengths"][0]["bleu"] == pytest.approx(sacrebleu.corpus_bleu(said, [targets]).score)
    assert found["lengths"][0]["chrf"] == pytest.approx(sacrebleu.corpus_chrf(said, [targets]).score)
    assert (found["lengths"][4]["bleu"], found["lengths"][4]["chrf"]) == (None, None)
    assert found["words"]["references"] == sum(len(target.split()) for _, target, _ in PAIRS)
    assert noted([said for _, _, said in PAIRS], size=9) == found, "whatever the batches"


@pytest.fixture
def evaluation() -> Evaluation:
    """A release that says what `PAIRS` say, against a baseline that repeats the references."""
    pages, rows = TranslationPages(), []
    for number, (source, target, said) in enumerate(PAIRS[:6]):
        row: Mapping[str, Any] = {"text": source, "translation": target}
        shown = pages.sample(row, batch_of([PAIRS[number]]), {"candidate": [said], "baseline": [target]}, None)
        kind = ("worst", "typical", "best")[number // 2]
        rows.append(
            Sample(digest=f"{number:064x}", kind=kind, score=1.0, said=pages.said([said], []), row=None, shown=shown)
        )
    metric = documents.metric_result(31.0, 33.0, name="bleu", label="BLEU", percent=False, points_per_unit=1.0)
    return documents.evaluation(
        task="translation", row_noun="sentence pairs", metrics=(metric,), samples=tuple(rows), rows=len(PAIRS),
        candidate=documents.model(details=noted([said for _, _, said in PAIRS])),
        baseline=documents.model(digest="b" * 64, scheme="float32", details=noted([target for _, target, _ in PAIRS])),
    )  # fmt: skip


def test_the_page_shows_sentences_with_their_references_and_counts_errors(evaluation: Evaluation) -> None:
    sections = TranslationPages().evaluation_sections(evaluation, candidate="release")
    assert [section.title for section in sections] == ["Sentences by length", "Errors that need no reader", "Sentences"]
    page = render_page("t", sections)
    for source, target, _ in PAIRS[:6]:
        assert source in page
        assert target in page
    assert "Apague %s e {nome}" in page
    assert "(empty)" in page
    assert page.index("The worst") < page.index("Typical ones") < page.index("The best")
    lengths, errors = sections[0].blocks[0], sections[1].blocks[0]
    assert lengths.rows[0][:3] == ("1–3 words", "7", "100.00")
    assert lengths.rows[4][2:] == ("–",) * 5 or [str(getattr(c, "text", c)) for c in lengths.rows[4][2:]] == ["–"] * 5
    assert [(row[0], row[1], getattr(row[2], "text", row[2])) for row in errors.rows] == [
        ("empty", "0", "1"), ("copied", "0", "1"), ("placeholders", "0", "2"), ("numbers", "0", "1"),
        ("too long", "0", "1"),
    ]  # fmt: skip
    bare = replace(evaluation, samples=())
    assert len(TranslationPages().evaluation_sections(bare)) == 2


def test_page_and_card_say_how_far_both_have_moved_outside_of_the_domain(evaluation: Evaluation) -> None:
    moved = {}
    for side, chrf, same in (("baseline", 81.26, 0.25), ("candidate", 77.0, 0.125)):
        figures = {"general_chrf": chrf, "general_same_fraction": same, "rows": 64}
        model = getattr(evaluation, side)
        moved[side] = replace(model, details={**model.details, "general": figures})
    evaluation = replace(evaluation, **moved)
    section = TranslationPages().evaluation_sections(evaluation, candidate="release")[2]
    assert section.title == "Outside of the domain"
    assert [tuple(row) for row in section.blocks[0].rows] == [
        ("before tuning", "100.00", "100 %"),
        ("baseline (float32, tuned)", "81.26", "25 %"),
        ("release", "77.00", "12 %"),
    ]  # fmt: skip
    assert section.note.startswith(
        "64 sentences that are of no data set, translated by the network that training began"
    )
    vocabulary = train_vocabulary([f"{source} {target}" for source, target, _ in PAIRS] * 3, size=310)
    assets = TranslationAssets(vocabulary=vocabulary, source_language="en", target_language="pt-BR")
    card = TranslationPages().card_text(
        evaluation, assets, {"backbone": "tiny", "pruned": False, "scheme": "int8", "opset": 18}
    )
    assert "| this release | 77.00 | 12 % |" in card.figures
    assert "how far tuning has moved the network, not whether for the worse" in card.figures


def test_the_card_says_what_of_the_size_is_vocabulary(evaluation: Evaluation) -> None:
    sides = {
        side: replace(getattr(evaluation, side), size_bytes=graphs + beside, graphs={"encoder": graphs})
        for side, graphs, beside in (("baseline", 100_000_000, 810_000), ("candidate", 14_000_000, 450_000))
    }
    vocabulary = train_vocabulary([f"{source} {target}" for source, target, _ in PAIRS] * 3, size=310)
    assets = TranslationAssets(vocabulary=vocabulary, source_language="en", target_language="pt-BR")
    card = TranslationPages().card_text(
        replace(evaluation, **sides), assets, {"backbone": "tiny", "pruned": False, "scheme": "int8", "opset": 18}
    )
    assert "0.81 MB of the baseline's and 0.45 MB of this release's are the latter two" in card.figures


def test_the_card_says_languages_figures_and_how_to_use_the_files(evaluation: Evaluation) -> None:
    vocabulary = train_vocabulary([f"{source} {target}" for source, target, _ in PAIRS] * 3, size=310)
    assets = TranslationAssets(vocabulary=vocabulary, source_language="en", target_language="pt-BR", beam_size=4)
    provenance = {"backbone": "tiny", "pruned": True, "scheme": "int8", "opset": 18}
    text = TranslationPages().card_text(evaluation, assets, provenance)
    assert text.intro.startswith("A translator from en to pt-BR: tiny, pruned, int8")
    assert "beam of 4" in text.intro
    assert "| 1–3 words | 7 | 100.00 |" in text.figures
    assert "scores (nrefs:1\\|case:mixed" in text.figures
    assert "python client.py < texts.txt" in text.use
    assert "`vocab.spm`" in text.use
    assert text.client in text.use
    compile(text.client, "client.py", "exec")
    assert all(limit.endswith(".") for limit in text.limits)


def test_logging_a_confusion_matrix_is_left_out() -> None:
    TranslationPages().log_metrics(None, SimpleNamespace())


def test_the_client_is_one_file_without_a_word_of_this_project() -> None:
    program = Path("components/core/tasks/translation/client.py.txt").read_text()
    assert "trimtab" not in program
