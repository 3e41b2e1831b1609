"""The pages of a classifier: classes and confusions, right and wrong images, its part of the model card."""

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from components.core.data.batch import Batch
from components.core.evaluation.document import Evaluation, Sample
from components.core.numbers import interval, percent, points
from components.core.report.figures import confusion_matrix
from components.core.report.markdown import Raw, code, escape, markdown_table
from components.core.report.page import (
    Block,
    Cell,
    Columns,
    Details,
    Image,
    Images,
    Section,
    figure,
    table,
)
from components.core.tasks.card import CardText, pruned_words
from components.core.tasks.images.client import client_text
from components.core.tasks.images.levels import stated_levels
from components.core.tasks.images.thumbnails import embeddable

if TYPE_CHECKING:
    from components.core.data.dataset import Dataset
    from components.core.tasks.images.assets import ImageAssets

CLIENT = client_text(Path(__file__).with_name("client.py.txt"))
"""The program of the model card."""

_UNFOLDED_CLASSES = 20
_CARD_CLASSES = 100
_CARD_LABELS = 50
_VISIBLE_DROP = 3
"""Points of recall from which a class's loss stands out in the table."""


class ClassificationPages:
    """See `components.core.tasks.base.Pages`."""

    def sample(
        self, row: Mapping[str, Any], batch: Batch, predictions: Mapping[str, np.ndarray], dataset: "Dataset"
    ) -> dict[str, Any]:
        """The image, small, with the names of its class and of what each model took it for."""
        encoded, media_type = embeddable(row["image"], stated_levels(dataset))
        return {
            "label": dataset.classes[row["label"]],
            **{model: dataset.classes[int(predicted[0])] for model, predicted in predictions.items()},
            "image_base64": base64.b64encode(encoded).decode("ascii"),
            "media_type": media_type,
        }

    def said(self, predictions: np.ndarray, classes: Sequence[str]) -> str:
        """The class's name."""
        return classes[int(predictions[0])]

    def evaluation_sections(self, evaluation: Evaluation, *, candidate: str = "candidate") -> list[Section]:
        """Classes with confusions and calibration, and samples."""
        sections = [_class_section(evaluation, candidate)]
        if evaluation.samples:
            caption = (
                f"Bold: the true class; below it what a model took it for instead. Outlined: the {candidate} was wrong."
            )
            grid = Images(tuple(_picture(sample, candidate) for sample in evaluation.samples), caption)
            sections.append(Section("Samples", grid, note=f"Images of the {evaluation.split} split."))
        return sections

    def card_text(self, evaluation: Evaluation, assets: "ImageAssets", provenance: Mapping[str, Any]) -> CardText:
        """Classes, their figures, preprocessing, a program."""
        side = assets.preprocess.image_size
        pruned = pruned_words(provenance)
        labels = ", ".join(escape(label) for label in assets.labels[:_CARD_LABELS])
        more = f", … (see {code('labels.json')})" if len(assets.labels) > _CARD_LABELS else ""
        return CardText(
            intro=(
                f"An image classifier with {len(assets.labels)} classes: {escape(provenance['backbone'])}{pruned}, "
                f"{escape(provenance['scheme'])}, as ONNX (opset {provenance['opset']}). Input {code('images')}: "
                f"float32 (batch, 3, {side}, {side}), the batch size is free; output {code('logits')}: "
                f"(batch, {len(assets.labels)}).\n\nClasses: {labels}{more}."
            ),
            figures=_card_figures(evaluation),
            use=_card_use(assets),
            client=CLIENT,
            limits=("It knows the classes above and nothing else: any image gets one of them.", *_unscaled(provenance)),
        )

    def log_metrics(self, evaluation: Evaluation, visualization: Any) -> None:
        """The candidate's confusion matrix, into a KFP ClassificationMetrics."""
        details = evaluation.candidate.details
        visualization.log_confusion_matrix([row["class"] for row in details["per_class"]], details["confusion"])


def _class_section(evaluation: Evaluation, candidate: str) -> Section:
    after, before = evaluation.candidate.details, evaluation.baseline.details
    rows = [_class_row(*both) for both in zip(after["per_class"], before["per_class"], strict=True)]
    per_class: Block = table(["class", "images", "precision", "recall", "F1", "recall, change"], rows)
    names = [row["class"] for row in after["per_class"]]
    shown = figure(
        confusion_matrix(after["confusion"], names, title=f"Confusion matrix of the {candidate}"),
        "Images by true and predicted class; the shade is the root of the row's share.",
    )
    blocks: list[Block]
    if len(rows) > _UNFOLDED_CLASSES:
        blocks = [shown, Details(f"All {len(rows)} classes", (per_class,))]
    else:
        blocks = [Columns((per_class, shown))]
    now, was = (_calibration(side) for side in (after, before))
    note = f"On the {evaluation.split} split. Expected calibration error {now}, of the baseline {was}."
    return Section("Classes", blocks, note=note)


def _class_row(row: Mapping[str, Any], before: Mapping[str, Any]) -> list[Any]:
    change = 100 * (row["recall"] - before["recall"])
    return [
        row["class"],
        row["support"],
        *(percent(row[name], digits=1) for name in ("precision", "recall", "f1")),
        Cell(points(change, digits=1).removesuffix(" points"), tone="bad" if change <= -_VISIBLE_DROP else ""),
    ]


def _picture(sample: Sample, candidate: str) -> Image:
    shown = sample.shown
    label = str(shown["label"])
    said = ((candidate, str(shown["candidate"])), ("baseline", str(shown["baseline"])))
    return Image(
        title=label,
        base64=_image_base64(sample),
        media_type=str(shown["media_type"]),
        lines=tuple(f"{who}: {name}" for who, name in said if name != label),
        wrong=said[0][1] != label,
    )


def _image_base64(sample: Sample) -> str:
    """The picture; a small image is shown as it is, and then the row alone holds it."""
    if "image_base64" in sample.shown or sample.row is None:
        return str(sample.shown["image_base64"])
    return str(sample.row["image"]["base64"])


def _card_figures(evaluation: Evaluation) -> Raw:
    details = evaluation.candidate.details
    rows = [
        [row["class"], row["support"], *(percent(row[name]) for name in ("precision", "recall", "f1"))]
        for row in details["per_class"][:_CARD_CLASSES]
    ]
    classes = markdown_table(["class", "images", "precision", "recall", "F1"], rows)
    now, was = _calibration(details), _calibration(evaluation.baseline.details)
    bins = details["calibration"]["bins"]
    return Raw(
        f"{classes}\n\nExpected calibration error {now}, of the baseline {was}: how far the stated probabilities are "
        f"from the observed accuracy, over {bins} bins of equally many {evaluation.row_noun}."
    )


def _calibration(details: Mapping[str, Any]) -> str:
    """The error with its 95 % interval; with temperature scaling also the error before it."""
    said = _error(details["calibration"])
    if "temperature" not in details:
        return said
    before = _error(details["calibration_unscaled"])
    return f"{said} with logits divided by the temperature {details['temperature']:g} (without: {before})"


def _error(found: Mapping[str, Any]) -> str:
    return f"{percent(found['value'])} ({interval(found['low'], found['high'], digits=2)})"


def _unscaled(provenance: Mapping[str, Any]) -> tuple[str, ...]:
    """Of a release that was asked for temperature scaling and has none."""
    scaling = provenance.get("temperature")
    if not scaling or scaling["value"] is not None:
        return ()
    return (f"No temperature was fitted on {scaling['rows']} {scaling['split']} images: {scaling['why']}.",)


def _card_use(assets: "ImageAssets") -> Raw:
    prepare = assets.preprocess
    scaled = (
        f"Probabilities are softmax({code('logits')} / {assets.temperature:g}); this temperature was fitted on "
        f"validation images ({code('temperature.json')}, and inside the file).\n\n"
        if assets.temperature is not None
        else ""
    )
    mean, std = (", ".join(str(value) for value in values) for values in (prepare.mean, prepare.std))
    return Raw(
        "The program below is beside the model as client.py. "
        "Preprocessing and labels are also inside the file. Each image: upright RGB, resized to "
        f"{prepare.image_size} × {prepare.image_size} ({prepare.described}), then "
        f"(value / 255 − mean) / std with mean {mean} and std {std}.\n\n{scaled}"
        f"```python\n{CLIENT}```"
    )
