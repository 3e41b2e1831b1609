"""mIoU and its company from additive statistics per row: sum any rows, then reduce.

A row of statistics is float64 `(3·C + 4,)`: pixels per class in the intersection, predicted, and true (C each), then
predicted boundary pixels that lie near a true one, predicted boundary pixels, true boundary pixels that lie near a
predicted one, true boundary pixels. All are counts, exact in float64 up to 2⁵³, so that the order of summation does
not matter. The figures take sums with any leading dimensions: `(…, 3·C + 4)` → `(…)`, for a jackknife over images.
Numpy only.
"""

import math

import numpy as np

BOUNDARY_TOLERANCE = 0.0075
"""How far a boundary pixel may lie from its match, as a fraction of the image's diagonal; at least 1 pixel."""

BOUNDARY_COLUMNS = 4


def statistics(predictions: np.ndarray, targets: np.ndarray, *, classes: int, ignore_index: int = 255) -> np.ndarray:
    """One row of statistics per image: float64 `(N, 3·classes + 4)`.

    `predictions` and `targets` are integer masks `(N, H, W)` with values in [0, classes); a pixel whose target is
    `ignore_index` counts nowhere, whatever its prediction. ValueError for shapes or values that do not fit.
    """
    rows = np.empty((len(targets), 3 * classes + BOUNDARY_COLUMNS))
    for row, prediction, target in zip(rows, predictions, targets, strict=True):
        matrix = confusion_matrix(prediction, target, classes=classes, ignore_index=ignore_index)
        row[:classes] = np.diagonal(matrix)
        row[classes : 2 * classes] = matrix.sum(axis=0)
        row[2 * classes : 3 * classes] = matrix.sum(axis=1)
        row[3 * classes :] = boundary_counts(prediction, target, ignore_index=ignore_index)
    return rows


def confusion_matrix(
    predictions: np.ndarray, targets: np.ndarray, *, classes: int, ignore_index: int = 255
) -> np.ndarray:
    """Counted pixels by true class (rows) and predicted class (columns): int64 `(classes, classes)`.

    Masks of any equal shape. Matrices of parts add up to the matrix of the whole.
    """
    if predictions.shape != targets.shape:
        raise ValueError(f"prediction has shape {predictions.shape}, target {targets.shape}")
    counted = targets != ignore_index
    truth, predicted = targets[counted].astype(np.int64), predictions[counted].astype(np.int64)
    for name, values in (("target", truth), ("prediction", predicted)):
        if values.size and not 0 <= values.min() <= values.max() < classes:
            raise ValueError(f"{name} must be in 0..{classes - 1}, got {values.min()}..{values.max()}")
    return np.bincount(truth * classes + predicted, minlength=classes**2).reshape(classes, classes)


def boundary_counts(
    prediction: np.ndarray, target: np.ndarray, *, ignore_index: int = 255
) -> tuple[int, int, int, int]:
    """Matched predicted, all predicted, matched true, all true boundary pixels of one image; masks `(H, W)`.

    A counted pixel lies on a boundary if the counted pixel to its right or below has another class: each edge is one
    pixel thick. A match is a boundary pixel of the other mask at a Euclidean distance of at most 0.75 % of the
    diagonal (at least 1 pixel), as in the BF score of Csurka et al. 2013 (What is a good evaluation measure for
    semantic segmentation?, BMVC), here over the boundaries of all classes together. Ignored pixels make none.
    """
    counted = target != ignore_index
    radius = max(1.0, BOUNDARY_TOLERANCE * math.hypot(*target.shape))
    predicted, true = _boundary(prediction, counted), _boundary(target, counted)
    return (
        int((predicted & _dilated(true, radius)).sum()),
        int(predicted.sum()),
        int((true & _dilated(predicted, radius)).sum()),
        int(true.sum()),
    )


def class_iou(sums: np.ndarray) -> np.ndarray:
    """Intersection over union per class, `(…, C)`; NaN for a class that is neither predicted nor true."""
    intersection, predicted, true = _per_class(sums)
    return _ratio(intersection, predicted + true - intersection)


def miou(sums: np.ndarray) -> np.ndarray:
    """Mean of `class_iou` over the classes whose union is not empty, `(…)`; NaN if all are empty.

    From the accumulated counts of all pixels, as in the PASCAL VOC challenge (Everingham et al. 2015), not a mean over
    images.
    """
    ious = class_iou(sums)
    present = ~np.isnan(ious)
    return _ratio(np.where(present, ious, 0).sum(axis=-1), present.sum(axis=-1))


def pixel_accuracy(sums: np.ndarray) -> np.ndarray:
    """Fraction of the counted pixels with the right class, `(…)`; NaN without pixels."""
    intersection, _, true = _per_class(sums)
    return _ratio(intersection.sum(axis=-1), true.sum(axis=-1))


def boundary_f1(sums: np.ndarray) -> np.ndarray:
    """`2·P·R / (P + R)` over all boundary pixels, `(…)`; 0 if only one side has boundaries, NaN if none has.

    P is the fraction of predicted boundary pixels that lie near a true one, R the converse.
    """
    matched_predicted, predicted, matched_true, true = np.moveaxis(sums[..., -BOUNDARY_COLUMNS:], -1, 0)
    precision = np.nan_to_num(_ratio(matched_predicted, predicted))
    recall = np.nan_to_num(_ratio(matched_true, true))
    score = np.nan_to_num(_ratio(2 * precision * recall, precision + recall))
    return np.where(predicted + true > 0, score, np.nan)


def _per_class(sums: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    classes = (sums.shape[-1] - BOUNDARY_COLUMNS) // 3
    return sums[..., :classes], sums[..., classes : 2 * classes], sums[..., 2 * classes : 3 * classes]


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    whole = np.asarray(whole, dtype=np.float64)
    return np.divide(part, whole, out=np.full(whole.shape, np.nan), where=whole > 0)


def _boundary(mask: np.ndarray, counted: np.ndarray) -> np.ndarray:
    edges = np.zeros(mask.shape, dtype=bool)
    edges[:, :-1] |= (mask[:, :-1] != mask[:, 1:]) & counted[:, :-1] & counted[:, 1:]
    edges[:-1] |= (mask[:-1] != mask[1:]) & counted[:-1] & counted[1:]
    return edges


def _dilated(edges: np.ndarray, radius: float) -> np.ndarray:
    """Pixels within `radius` of an edge pixel: the union of the shifted edges, row by row of the disc."""
    height, width = edges.shape
    reach = int(radius)
    # A run of set pixels in a row is a difference of running sums: the cost grows with the radius, not its square.
    running = np.zeros((height, width + 1), dtype=np.int32)
    np.cumsum(edges, axis=1, out=running[:, 1:])
    near = np.zeros_like(edges)
    columns = np.arange(width)
    for down in range(-min(reach, height - 1), min(reach, height - 1) + 1):
        across = int(math.sqrt(radius * radius - down * down))
        left, right = np.maximum(columns - across, 0), np.minimum(columns + across + 1, width)
        spread = running[:, right] > running[:, left]
        if down >= 0:
            near[down:] |= spread[: height - down]
        else:
            near[:down] |= spread[-down:]
    return near
