"""The pages of segmentation: IoU of each class, confusions, masks over their images, its part of the card."""

import base64
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image as Picture

from components.core.data.batch import Batch
from components.core.evaluation.document import Evaluation, Sample
from components.core.numbers import count, percent, points
from components.core.report.figures import bars, confusion_matrix
from components.core.report.markdown import Raw, code, escape, markdown_table
from components.core.report.page import Block, Cell, Columns, Details, Image, Images, Section, figure, table, text
from components.core.tasks.card import CardText, pruned_words
from components.core.tasks.images.client import client_text
from components.core.tasks.images.levels import stated_levels
from components.core.tasks.images.stored_pictures import open_stored
from components.core.tasks.segmentation import figures
from components.core.tasks.segmentation.assets import palette_of
from components.core.tasks.segmentation.masks import IGNORED, resized
from components.core.tasks.segmentation.parameters import INFERENCES
from components.core.tasks.segmentation.serving import overlay

if TYPE_CHECKING:
    from components.core.data.dataset import Dataset
    from components.core.tasks.segmentation.assets import SegmentationAssets

CLIENTS = {
    mode: client_text(Path(__file__).with_name("client.py.txt" if mode == "resize" else f"client_{mode}.py.txt"))
    for mode in INFERENCES
}
"""The program beside a release, by how images of other sizes are taken."""

_UNFOLDED_CLASSES = 20
_CARD_CLASSES = 100
_CARD_LABELS = 50
_SIDE = 160
"""Longest side of a picture of a sample, pixels."""

_VISIBLE_DROP = 3
"""Points of IoU from which a class's loss stands out in the table."""

_KINDS = {"worst": "The worst", "typical": "Typical ones", "best": "The best"}


class SegmentationPages:
    """See `components.core.tasks.base.Pages`."""

    def sample(
        self, row: Mapping[str, Any], batch: Batch, predictions: Mapping[str, Sequence[np.ndarray]], dataset: "Dataset"
    ) -> dict[str, Any]:
        """Small JPEGs of the image, the truth and both predictions over it, and the mIoU of each prediction."""
        truth = np.asarray(batch.targets[0])
        palette = palette_of(dataset)
        image, small_truth = _small(open_stored(row, stated_levels(dataset)), truth)
        shown = {"image": _jpeg(image), "truth": _drawn(image, small_truth, palette)}
        scores: dict[str, float | None] = {}
        for model, masks in predictions.items():
            mask = resized(masks[0], *small_truth.shape)
            shown[model] = _drawn(image, mask, palette, truth=small_truth)
            value = figures.METRICS[0].value(figures.statistics(masks, [truth], len(dataset.classes)))
            scores[model] = None if np.isnan(value) else value
        present = [dataset.classes[number] for number in np.unique(truth) if number != IGNORED]
        return {"pictures": shown, "scores": scores, "classes": present}

    def said(self, predictions: Sequence[np.ndarray], classes: Sequence[str]) -> None:
        """A mask is no text."""
        return

    def evaluation_sections(self, evaluation: Evaluation, *, candidate: str = "candidate") -> list[Section]:
        """Classes with confusions over pixels, and the worst, typical and best images."""
        sections = [_class_section(evaluation, candidate)]
        blocks: list[Block] = []
        for kind, title in _KINDS.items():
            samples = [sample for sample in evaluation.samples if sample.kind == kind]
            if samples:
                pictures = tuple(picture for sample in samples for picture in _pictures(sample, candidate))
                blocks += [text(f"{title}, by the {candidate}'s mIoU of the image alone."), Images(pictures, per_row=4)]
        if blocks:
            note = (
                f"Images of the {evaluation.split} split, each with its truth and both predictions. Magenta hatching: "
                "another class than the truth. Background and ignored pixels stay as they are."
            )
            sections.append(Section("Samples", blocks, note=note))
        return sections

    def card_text(
        self, evaluation: Evaluation, assets: "SegmentationAssets", provenance: Mapping[str, Any]
    ) -> CardText:
        """Classes, their IoU, preprocessing, a program."""
        number, inference = len(assets.labels), assets.inference
        size, free = f"{assets.preprocess.image_size}, {assets.preprocess.image_size}", "the batch size is free"
        if inference.mode == "whole":
            size, free = "height, width", f"the sizes are free, height and width in multiples of {inference.divisor}"
        pruned = pruned_words(provenance)
        head = (provenance.get("options") or {}).get("head")
        network = escape(provenance["backbone"]) + (f" with the head {escape(head)}" if head else "")
        labels = ", ".join(escape(label) for label in assets.labels[:_CARD_LABELS])
        more = f", … (see {code('labels.json')})" if number > _CARD_LABELS else ""
        return CardText(
            intro=(
                f"Semantic segmentation with {number} classes: {network}{pruned}, {escape(provenance['scheme'])}, as "
                f"ONNX (opset {provenance['opset']}). Input {code('images')}: float32 (batch, 3, {size}), {free}; "
                f"output {code('logits')}: float32 (batch, {number}, height, width).\n\n"
                f"Classes: {labels}{more}. Their colours are in {code('palette.json')}."
            ),
            figures=_card_figures(evaluation),
            use=_card_use(assets),
            client=CLIENTS[assets.inference.mode],
            limits=(
                "It knows the classes above and nothing else: every pixel gets one of them.",
                _size_limit(evaluation, assets),
            ),
        )

    def log_metrics(self, evaluation: Evaluation, visualization: Any) -> None:
        """The candidate's confusion matrix over pixels, into a KFP ClassificationMetrics."""
        details = evaluation.candidate.details
        visualization.log_confusion_matrix([row["class"] for row in details["per_class"]], details["confusion"])


def _class_section(evaluation: Evaluation, candidate: str) -> Section:
    after, before = evaluation.candidate.details["per_class"], evaluation.baseline.details["per_class"]
    total = sum(row["pixels"] for row in after) or 1
    rows = [_class_row(*both, total) for both in zip(after, before, strict=True)]
    per_class: Block = table(["class", "images", "pixels", "IoU, baseline", f"IoU, {candidate}", "change"], rows)
    names = [row["class"] for row in after]
    shown = figure(
        confusion_matrix(
            _percentages(evaluation.candidate.details["confusion"]), names, title=f"Confusions of the {candidate}"
        ),
        "Per cent of the pixels of each true class, by predicted class; the shade is the root of the share.",
    )
    iou = {row["class"]: row["iou"] for row in after if row["iou"] is not None}
    blocks: list[Block]
    if len(rows) > _UNFOLDED_CLASSES:
        blocks = [shown, Details(f"All {len(rows)} classes", (per_class,))]
    else:
        beside = (figure(bars(iou, title=f"IoU of the {candidate}", percent=True)),) if iou else ()
        blocks = [per_class, Columns((*beside, shown))]
    note = f"On the {evaluation.split} split, from one confusion matrix over all labelled pixels."
    return Section("Classes", blocks, note=note)


def _class_row(row: Mapping[str, Any], before: Mapping[str, Any], total: int) -> list[Any]:
    both = row["iou"] is not None and before["iou"] is not None
    change = 100 * (row["iou"] - before["iou"]) if both else None
    return [
        row["class"],
        row["images"],
        Cell(percent(row["pixels"] / total, digits=1), count(row["pixels"])),
        percent(before["iou"], digits=1),
        percent(row["iou"], digits=1),
        Cell(points(change, digits=1), tone="bad" if change is not None and change <= -_VISIBLE_DROP else ""),
    ]


def _percentages(matrix: Sequence[Sequence[int]]) -> list[list[float]]:
    return [[100 * value / max(1, sum(row)) for value in row] for row in matrix]


def _pictures(sample: Sample, candidate: str) -> Iterator[Image]:
    pictures, scores = sample.shown["pictures"], sample.shown["scores"]
    titles = (("image", "image"), ("truth", "truth"), ("baseline", "baseline"), ("candidate", candidate))
    for key, title in titles:
        lines = (", ".join(sample.shown["classes"]),) if key == "truth" else ()
        if key in scores:
            lines = (f"mIoU {percent(scores[key], digits=1)}",)
        yield Image(title=title, base64=pictures[key], media_type="image/jpeg", lines=lines)


def _card_figures(evaluation: Evaluation) -> Raw:
    after, before = evaluation.candidate.details["per_class"], evaluation.baseline.details["per_class"]
    total = sum(row["pixels"] for row in after) or 1
    rows = [
        [row["class"], row["images"], percent(row["pixels"] / total), percent(was["iou"]), percent(row["iou"])]
        for row, was in zip(after[:_CARD_CLASSES], before[:_CARD_CLASSES], strict=True)
    ]
    columns = ["class", "images", "share of the pixels", "IoU, baseline", "IoU, this release"]
    return Raw(
        f"{markdown_table(columns, rows)}\n\nmIoU is the mean of these, each from one confusion matrix over the pixels "
        "of all images."
    )


def _card_use(assets: "SegmentationAssets") -> Raw:
    prepare, inference = assets.preprocess, assets.inference
    mean, std = (", ".join(str(value) for value in values) for values in (prepare.mean, prepare.std))
    way = (
        f"shrunk to fit into {prepare.image_size} × {prepare.image_size} with its aspect ratio, "
        "in the upper left corner, the rest filled with the mean"
        if prepare.resize == "fit"
        else f"resized to {prepare.image_size} × {prepare.image_size} ({prepare.interpolation}, aspect ratio not kept)"
    )
    normalised = f"(value / 255 − mean) / std with mean {mean} and std {std}"
    ways = {
        "resize": f"{way}, then {normalised}. The logits of the image's part are resized to its own size (bilinear), "
        "then",
        "sliding": f"cut into windows of {prepare.image_size} × {prepare.image_size}, which begin at most "
        f"{inference.step} pixels apart; what an image does not fill is the mean. Each window: {normalised}. Where "
        "windows overlap the mean of their logits counts, each with the same weight;",
        "whole": f"{normalised}, then zeros below and to the right until height and width are multiples of "
        f"{inference.divisor}. Of the logits of the image's part",
    }
    return Raw(
        "The program below is beside the model as client.py. "
        "Preprocessing, labels and palette are also inside the file. Each image: upright RGB, "
        f"{ways[inference.mode]} the largest one gives the class of each pixel.\n\n"
        f"```python\n{CLIENTS[inference.mode]}```"
    )


def _size_limit(evaluation: Evaluation, assets: "SegmentationAssets") -> str:
    """Quality and latency by the size of the image."""
    side, inference = assets.preprocess.image_size, assets.inference
    if inference.mode == "sliding":
        calls = evaluation.candidate.details.get("calls_per_image")
        taken = f" The {evaluation.split} images took {calls:g} on average." if calls else ""
        return (
            f"Latency, budget and MACs are those of one window of {side} × {side} pixels; an image takes one call per "
            f"window.{taken} A window sees nothing of the image around it."
        )
    if inference.mode == "whole":
        return (
            f"Latency, budget and MACs are those of an image of {side} × {side} pixels. They and the memory grow with "
            f"the pixels of an image. It was trained on windows of {side} × {side} pixels."
        )
    return (
        f"An image is looked at with at most {side} pixels a side; what is smaller than a few pixels there is not "
        "found."
    )


def _small(image: Picture.Image, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both at the mask's aspect ratio, the longer side at most `_SIDE`."""
    height, width = mask.shape
    scale = min(1.0, _SIDE / max(height, width))
    size = (max(1, round(scale * width)), max(1, round(scale * height)))
    pixels = np.asarray(image.resize(size, Picture.Resampling.BILINEAR), dtype=np.uint8)
    return pixels, resized(mask, size[1], size[0])


def _drawn(
    image: np.ndarray, mask: np.ndarray, palette: Sequence[tuple[int, int, int]], truth: np.ndarray | None = None
) -> str:
    png = overlay(image, mask, palette, truth=truth)
    return _jpeg(np.asarray(Picture.open(io.BytesIO(png)).convert("RGB")))


def _jpeg(pixels: np.ndarray) -> str:
    buffer = io.BytesIO()
    Picture.fromarray(pixels).save(buffer, format="JPEG", quality=88)
    return base64.b64encode(buffer.getvalue()).decode("ascii")
