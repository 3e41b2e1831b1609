"""A translator's pages: figures by length, errors, sentences with their references, its part of the card."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.core.data.batch import Batch
from components.core.evaluation.document import Evaluation, Sample
from components.core.numbers import count, figure_of_merit, megabytes, percent, points
from components.core.report.markdown import Raw, code, escape, markdown_table
from components.core.report.page import Block, Cell, Section, table, text
from components.core.tasks.card import CardText, pruned_words
from components.core.tasks.translation.details import ERRORS
from components.core.tasks.translation.examples import TEXT, TRANSLATION
from components.core.tasks.translation.metrics import METRICS, statistics

if TYPE_CHECKING:
    from components.core.data.dataset import Dataset
    from components.core.tasks.translation.assets import TranslationAssets

CLIENT = Path(__file__).with_name("client.py.txt").read_text(encoding="utf-8")
"""The program beside a release."""

_VISIBLE_DROP = 2
"""BLEU points from which the loss of a length stands out in the table."""
_SHOWN_CHARACTERS = 600

_GENERAL_COLUMNS = ["network", "chrF against the network before tuning", "translations that are the same"]
_KINDS = {"worst": "The worst", "typical": "Typical ones", "best": "The best"}


class TranslationPages:
    """See `components.core.tasks.base.Pages`."""

    def sample(
        self, row: Mapping[str, Any], batch: Batch, predictions: Mapping[str, Sequence[str]], dataset: "Dataset"
    ) -> dict[str, Any]:
        """The sentence, its reference, both translations, and the chrF of each."""
        reference = row[TRANSLATION]
        chrf = next(metric for metric in METRICS if metric.name == "chrf")
        return {
            "source": row[TEXT],
            "reference": reference,
            "translations": {model: said[0] for model, said in predictions.items()},
            "chrf": {model: chrf.value(statistics([said[0]], [reference])) for model, said in predictions.items()},
        }

    def said(self, predictions: Sequence[str], classes: Sequence[str]) -> str:
        """The translation."""
        return predictions[0]

    def evaluation_sections(self, evaluation: Evaluation, *, candidate: str = "candidate") -> list[Section]:
        """Figures by length, errors, and the worst, typical and best sentences."""
        sections = [
            Section(
                "Sentences by length",
                table(
                    ["source sentence", "sentences", *_both(candidate, "BLEU"), "change", *_both(candidate, "chrF")],
                    [_length_row(*rows) for rows in _side_by_side(evaluation, "lengths")],
                ),
                note=f"Of the {evaluation.split} split; each figure is of all sentences of the length together. "
                f"sacrebleu: {', '.join(evaluation.candidate.details['signatures'].values())}.",
            ),
            Section(
                "Errors that need no reader",
                table(["error", "baseline", candidate, "meaning"], _error_rows(evaluation)),
                note=f"Sentences of {count(evaluation.rows)}; {_length_ratio(evaluation)}.",
            ),
        ]
        if rows := _general_rows(evaluation, candidate):
            sections.append(
                Section("Outside of the domain", table(_GENERAL_COLUMNS, rows), note=_general_note(evaluation))
            )
        blocks: list[Block] = []
        for kind, title in _KINDS.items():
            samples = [sample for sample in evaluation.samples if sample.kind == kind]
            if samples:
                columns = ["source", "reference", "baseline", candidate]
                blocks += [
                    text(f"{title}, by the {candidate}'s {evaluation.primary.label} of the sentence alone."),
                    table(columns, [_sample_row(sample) for sample in samples]),
                ]
        if blocks:
            note = f"Sentences of the {evaluation.split} split, with the chrF of each translation."
            sections.append(Section("Sentences", blocks, note=note))
        return sections

    def card_text(self, evaluation: Evaluation, assets: "TranslationAssets", provenance: Mapping[str, Any]) -> CardText:
        """Languages, files, figures by length and errors, a program."""
        source, target = escape(assets.source_language), escape(assets.target_language)
        pruned = pruned_words(provenance)
        files = " and ".join(code(f"{name}.onnx") for name in evaluation.candidate.graphs)
        described = assets.describe()
        return CardText(
            intro=(
                f"A translator from {source} to {target}: {escape(provenance['backbone'])}{pruned}, "
                f"{escape(provenance['scheme'])}, as ONNX (opset {provenance['opset']}): {files}, with "
                f"{escape(described['vocabulary'])} of its vocabulary beside them. Decoding: "
                f"{escape(described['decoding'])}."
            ),
            figures=_card_figures(evaluation),
            use=_card_use(assets),
            client=CLIENT,
            limits=(
                f"It translates sentences from {source} to {target}. Text in another language gives an answer too.",
                "Figures are of whole rows of the data; the program splits texts into sentences unless told not to.",
                "A translation is cut at "
                f"{assets.to_json()['length_factor']:g} pieces per piece of the source, a source at "
                f"{assets.to_json()['max_source_pieces']:,} pieces.",
                "It can change numbers, placeholders and names; the table above says how often it did.",
            ),
        )

    def log_metrics(self, evaluation: Evaluation, visualization: Any) -> None:
        """Nothing: there is no confusion matrix."""


def _both(candidate: str, label: str) -> list[str]:
    return [f"{label}, baseline", f"{label}, {candidate}"]


def _side_by_side(evaluation: Evaluation, name: str) -> list[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    return list(zip(evaluation.candidate.details[name], evaluation.baseline.details[name], strict=True))


def _merit(value: float | None) -> str:
    return figure_of_merit(value, percent=False)


def _length_row(after: Mapping[str, Any], before: Mapping[str, Any]) -> list[Any]:
    change = None if after["bleu"] is None else after["bleu"] - before["bleu"]
    return [
        after["length"],
        after["rows"],
        _merit(before["bleu"]),
        _merit(after["bleu"]),
        Cell(points(change, digits=1), tone="bad" if change is not None and change <= -_VISIBLE_DROP else ""),
        _merit(before["chrf"]),
        _merit(after["chrf"]),
    ]


def _error_rows(evaluation: Evaluation) -> list[list[Any]]:
    after, before = (side.details["errors"] for side in (evaluation.candidate, evaluation.baseline))
    return [
        [kind, before[kind], Cell(str(after[kind]), tone="bad" if after[kind] > before[kind] else ""), meaning]
        for kind, meaning in ERRORS.items()
    ]


def _general_rows(evaluation: Evaluation, candidate: str) -> list[list[str]]:
    """How far both have moved on general sentences; empty where none were watched."""
    sides = {f"baseline ({evaluation.baseline.scheme}, tuned)": evaluation.baseline, candidate: evaluation.candidate}
    found = {name: side.details.get("general") for name, side in sides.items()}
    if not all(found.values()):
        return []
    return [
        ["before tuning", _merit(100.0), percent(1.0, digits=0)],
        *(
            [name, _merit(figures["general_chrf"]), percent(figures["general_same_fraction"], digits=0)]
            for name, figures in found.items()
            if figures
        ),
    ]


def _general_note(evaluation: Evaluation) -> str:
    rows = count(evaluation.candidate.details["general"]["rows"])
    return (
        f"{rows} sentences that are of no data set, translated by the network that training began with and by these, "
        "each decoded as a release decodes. chrF is against the former translations, which are no references: it says "
        "how far tuning has moved the network, not whether for the worse."
    )


def _length_ratio(evaluation: Evaluation) -> str:
    words = evaluation.candidate.details["words"]
    ratio = words["translations"] / max(1, words["references"])
    return f"its translations have {percent(ratio, digits=1)} of the references' words"


def _sample_row(sample: Sample) -> list[Any]:
    shown = sample.shown
    return [
        _cut(shown["source"]),
        _cut(shown["reference"]),
        *(
            Cell(_cut(shown["translations"][model]) or "(empty)", f"chrF {_merit(shown['chrf'][model])}")
            for model in ("baseline", "candidate")
        ),
    ]


def _cut(sentence: str) -> str:
    return sentence if len(sentence) <= _SHOWN_CHARACTERS else f"{sentence[:_SHOWN_CHARACTERS]}…"


def _card_figures(evaluation: Evaluation) -> Raw:
    lengths = [
        [after["length"], after["rows"], *(_merit(side[name]) for name in ("bleu", "chrf") for side in (before, after))]
        for after, before in _side_by_side(evaluation, "lengths")
    ]
    columns = ["source sentence", "sentences", *_both("this release", "BLEU"), *_both("this release", "chrF")]
    after, before = (side.details["errors"] for side in (evaluation.candidate, evaluation.baseline))
    errors = [[kind, meaning, before[kind], after[kind]] for kind, meaning in ERRORS.items()]
    signatures = ", ".join(map(escape, evaluation.candidate.details["signatures"].values()))
    return Raw(
        f"{_card_size(evaluation)}\n\n{markdown_table(columns, lengths)}\n\nBLEU and chrF are sacrebleu's corpus "
        f"scores ({signatures}). Errors that need no reader, in sentences:\n\n"
        f"{markdown_table(['error', 'meaning', 'baseline', 'this release'], errors)}{_card_general(evaluation)}"
    )


def _card_size(evaluation: Evaluation) -> str:
    sizes = " and ".join(
        f"{megabytes(side.beside_bytes)} of {name}"
        for name, side in (("the baseline's", evaluation.baseline), ("this release's", evaluation.candidate))
    )
    return (
        "The size above counts the graphs, the vocabulary and translation.json, without which no client translates: "
        f"{sizes} are the latter two."
    )


def _card_general(evaluation: Evaluation) -> str:
    rows = _general_rows(evaluation, "this release")
    if not rows:
        return ""
    return f"\n\nOutside of the domain:\n\n{markdown_table(_GENERAL_COLUMNS, rows)}\n\n{_general_note(evaluation)}"


def _card_use(assets: "TranslationAssets") -> Raw:
    vocabulary = ", ".join(code(name) for name in assets.vocabulary.to_files())
    return Raw(
        "The program below is beside the model as client.py. It needs numpy, onnxruntime and sentencepiece: "
        f"{code('python client.py < texts.txt')} translates line by line. It reads {code('translation.json')}, "
        f"{vocabulary} and the graphs. Text is cut into sentences, each becomes pieces that end with piece "
        f"{assets.vocabulary.eos}; the encoder runs once per batch, the decoder once per piece.\n\n"
        f"```python\n{CLIENT}```"
    )
