"""How often intervals cover, contests promote or refuse wrongly, and drift alarms: simulated with a fixed seed.

    python tests/benchmarks/decision_rates.py

Prints the tables that stand on the cards of evaluate, judge, drift and quantize: coverage, false promotion and refusal,
drift's false alarms and power, temperature scaling. It takes two and a half minutes of CPU time. Nothing here is a
timing, so a busy machine gives the same figures. (A file of the name statistics.py would stand in for the standard
library's module in every script of this folder.)
"""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache

import numpy as np
import torch
from PIL import Image, ImageFilter
from sklearn.datasets import load_sample_images

from components.core.evaluation.calibration import calibration_error
from components.core.evaluation.document import Comparison
from components.core.evaluation.paired_proportions import score_interval
from components.core.models.architecture import Architecture
from components.core.tasks.images.assets import softmax
from components.core.tasks.metric import Metric
from components.core.tasks.networks import build
from components.drift.features import feature_drift
from components.drift.labels import label_shift
from components.evaluate.intervals import PairedRows
from components.judge.family import detectable_loss, p_value, rejected
from components.quantize.temperature import fit_temperature

CONFIDENCE, LEVEL, MARGIN = 0.95, 0.025, 0.01
ROWS = (20, 50, 200, 2000)
DISCORDANT = (0.0, 0.01, 0.05, 0.1, 0.2)

tango = cache(score_interval)


@cache
def bootstrap(gained: int, lost: int, rows: int, confidence: float) -> tuple[float, float]:
    """The percentile bootstrap that was used before, 1,000 resamples."""
    chances = np.array([gained, lost, rows - gained - lost]) / rows
    drawn = np.random.default_rng(0).multinomial(rows, chances, 1000)
    low, high = np.quantile((drawn[:, 0] - drawn[:, 1]) / rows, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def contests(rows: int, discordant: float, loss: float, number: int, seed: int) -> list[tuple[int, int]]:
    """(gained, lost) of `number` test splits; the challenger is worse by `loss` (a share)."""
    discordant = max(discordant, abs(loss))
    chances = [(discordant - loss) / 2, (discordant + loss) / 2, 1 - discordant]
    return [(b, c) for b, c, _ in np.random.default_rng(seed).multinomial(rows, chances, number).tolist()]


def show(title: str, columns: Sequence[str], lines: Iterable[Sequence[object]]) -> None:
    """A Markdown table on standard output."""
    print(f"\n{title}\n\n| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    for line in lines:
        print(f"| {' | '.join(str(cell) for cell in line)} |", flush=True)


def percent(share: float) -> str:
    """12.3 %"""
    return f"{100 * share:.1f} %"


def coverage() -> Iterator[Sequence[object]]:
    """Of the 95 % interval of a difference; a tenth of the discordant rows is the true loss."""
    for rows, discordant in itertools.product(ROWS, DISCORDANT):
        loss, cells = discordant / 10, []
        drawn = contests(rows, discordant, loss, 2000, seed=1)
        for method in (tango, bootstrap):
            ends = [method(b, c, rows, CONFIDENCE) for b, c in drawn]
            cells.append(percent(np.mean([low <= -loss <= high for low, high in ends])))
            cells.append(f"{100 * np.median([high - low for low, high in ends]):.2f}")
        yield rows, percent(discordant), *cells


def false_promotion() -> Iterator[Sequence[object]]:
    """Challengers 1.01 points worse, and equal ones, at a margin of 1 point."""
    for rows, discordant in itertools.product((*ROWS, 10_000), DISCORDANT[1:]):
        cells = []
        for loss in (0.0101, 0.0):
            drawn = contests(rows, discordant, loss, 2000, seed=2)
            cells += [
                np.mean([method(b, c, rows, CONFIDENCE)[0] >= -MARGIN for b, c in drawn])
                for method in (tango, bootstrap)
            ]
        yield rows, percent(discordant), percent(cells[0]), percent(cells[1]), percent(1 - cells[2])


OVERLAP = Metric(name="overlap", label="overlap", reduce=lambda sums: np.asarray(sums[..., 0] / sums[..., 1]))


def overlaps(rows: int, share: float, rng: np.random.Generator) -> np.ndarray:
    """Skewed on purpose: lognormal unions, changes of exponential size on some of the rows, mostly losses."""
    union = rng.lognormal(7, 1, rows)
    hit = rng.random(rows) < share
    change = np.where(hit, rng.exponential(0.05, rows) * np.where(rng.random(rows) < 0.7, -1, 1), 0.0)
    return np.stack([(0.7 + change) * union, 0.7 * union, union], axis=1)


def jackknife_coverage() -> Iterator[Sequence[object]]:
    """Of a ratio of sums, where there is an interval; the true difference is known."""
    rng = np.random.default_rng(3)
    for rows, share in itertools.product(ROWS, (0.05, 0.1, 0.3, 1.0)):
        truth, found, number = -0.4 * 5 * share, [], 2000 if rows < 2000 else 500
        for _ in range(number):
            sums = overlaps(rows, share, rng)
            difference = PairedRows(sums[:, [0, 2]], sums[:, [1, 2]]).difference(OVERLAP)
            if difference.low is not None and difference.high is not None:
                found.append((difference.low <= truth <= difference.high, difference.low > truth))
        if len(found) < 50:
            yield rows, percent(share), percent(len(found) / number), "–", "–"
        else:
            covered, too_high = np.mean(found, axis=0)
            yield rows, percent(share), percent(len(found) / number), percent(covered), percent(too_high)


def answers(rows: int, temperature: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Stated and honest confidence of `rows` answers, whose logits were divided by `temperature`."""
    logits = np.abs(rng.normal(1.5, 2, rows))
    return 1 / (1 + np.exp(-logits / temperature)), 1 / (1 + np.exp(-logits))


def calibration() -> Iterator[Sequence[object]]:
    """Of the expected calibration error's interval; the truth is that of two million rows, known without chance."""
    rng = np.random.default_rng(5)
    for temperature in (1.0, 0.9, 0.8, 0.6, 0.4):
        stated, honest = answers(2_000_000, temperature, rng)
        bins = np.array_split(np.argsort(stated), 15)
        truth = sum(abs((honest - stated)[part].sum()) for part in bins) / len(stated)
        for rows in (100, 500, 2000, 10_000):
            values, covered, widths = [], [], []
            for _ in range(200 if rows < 10_000 else 50):
                stated, honest = answers(rows, temperature, rng)
                found = calibration_error(stated, rng.random(rows) < honest)
                assert found.value is not None
                assert found.low is not None
                assert found.high is not None
                values.append(found.value)
                covered.append(found.low <= truth <= found.high)
                widths.append(found.high - found.low)
            yield (
                *(f"{100 * truth:.1f}", rows, f"{100 * np.mean(values):.1f}"),
                *(percent(np.mean(covered)), f"{100 * np.median(widths):.1f}"),
            )


def temperature_scaling() -> Iterator[Sequence[object]]:
    """How well a temperature is known from so many validation rows, and what is left of the calibration error."""
    rng = np.random.default_rng(6)

    def drawn(rows: int, sharpened: float) -> tuple[np.ndarray, np.ndarray]:
        honest = rng.normal(0, 2, (rows, 10))
        labels = (softmax(honest).cumsum(axis=1) < rng.random((rows, 1))).sum(axis=1)
        return sharpened * honest, labels

    def error(logits: np.ndarray, labels: np.ndarray, temperature: float) -> float:
        found = calibration_error(softmax(logits, temperature).max(axis=1), logits.argmax(axis=1) == labels)
        assert found.value is not None
        return 100 * found.value

    for sharpened, rows in itertools.product((1.0, 2.0), (50, 200, 1000, 10_000)):
        test = drawn(20_000, sharpened)
        fitted = [fit_temperature(*drawn(rows, sharpened)).temperature or 1.0 for _ in range(40)]
        after = [error(*test, temperature) for temperature in fitted]
        found = f"{np.mean(fitted):.2f} ± {np.std(fitted):.2f}"
        yield f"{sharpened:g}", rows, found, f"{error(*test, 1.0):.1f}", f"{np.mean(after):.1f}", f"{np.max(after):.1f}"


def part(gained: int, lost: int, rows: int) -> Comparison:
    """One class, as evaluate describes it."""
    low, high = tango(gained, lost, rows, CONFIDENCE)
    return Comparison(
        kind="class", name="", metric="recall", percent=True, proportion=True, support=rows, candidate=None,
        baseline=None, points=100 * (gained - lost) / rows, low=100 * low, high=100 * high, gained=gained, lost=lost,
    )  # fmt: skip


def classes() -> Iterator[Sequence[object]]:
    """Equal challengers that the class checks refuse, before and now, and the loss of one class that is found."""
    margin, discordant = 5.0, 0.1
    for number, rows in ((10, 20), (10, 200), (50, 20), (50, 200), (100, 50), (100, 200)):
        before = now = caught = 0
        known = detectable_loss(part(0, 0, rows), margin, LEVEL / number, CONFIDENCE, discordant)
        repeats = 400
        for repeat in range(repeats):
            parts = [part(b, c, rows) for b, c in contests(rows, discordant, 0.0, number, seed=1000 + repeat)]
            ends = [bootstrap(one.gained, one.lost, rows, CONFIDENCE)[1] for one in parts]
            before += any((one.points or 0) < -margin and end < 0 for one, end in zip(parts, ends, strict=True))
            values = [p_value(one, margin, CONFIDENCE) or 0.0 for one in parts]
            now += any(rejected(values, LEVEL))
            if known is not None:
                [(b, c)] = contests(rows, discordant, known / 100, 1, seed=5000 + repeat)
                values[0] = p_value(part(b, c, rows), margin, CONFIDENCE) or 0.0
                caught += rejected(values, LEVEL)[0]
        found = "–" if known is None else f"{known:.0f} points in {percent(caught / repeats)}"
        yield number, rows, percent(before / repeats), percent(now / repeats), found


def successor(right: np.ndarray, loss: float, rng: np.random.Generator) -> np.ndarray:
    """Which of the rows a model gets right that is worse by `loss` (a share) than one that gets `right` right."""
    changed, accuracy = max(0.04, 1.5 * loss), right.mean()
    chance, drawn = (changed - loss) / 2 / (1 - accuracy), rng.random(len(right))
    return np.where(right, drawn >= (changed + loss) / 2 / accuracy, drawn < chance)


def year(rows: int, step: float, seed: int, *, proven: bool, first: bool) -> int:
    """Promotions of 52 challengers that are each worse by `step` than their champion.

    Each week has test rows of its own, on which all of its models are measured; the year's first gets 90 % right.
    """
    rng, best, promoted = np.random.default_rng(seed), 0, 0
    for _ in range(52):
        of_first = rng.random(rows) < 0.9
        of_best = successor(of_first, best * step, rng) if best else of_first
        of_champion = successor(of_best, (promoted - best) * step, rng) if promoted > best else of_best
        challenger = successor(of_champion, step, rng)
        lows = [
            tango(int((challenger & ~other).sum()), int((other & ~challenger).sum()), rows, CONFIDENCE)[0]
            for other, held in ((of_champion, True), (of_best, proven), (of_first, first))
            if held
        ]
        if min(lows) >= -MARGIN:
            promoted += 1
            best = promoted if proven and lows[1] > 0 else best
    return promoted


def years() -> Iterator[Sequence[object]]:
    """The loss of a champion after a year of slightly worse challengers, with no anchor, one and both."""
    for rows, step in (
        (2000, 0.0), (2000, 0.001), (2000, 0.002), (2000, 0.005), (10_000, 0.0), (10_000, 0.005), (50_000, 0.005),
    ):  # fmt: skip
        cells: list[object] = []
        for anchors in ((False, False), (True, False), (True, True)):
            seeds = range(200 if rows == 2000 else 20)
            promoted = [year(rows, step, seed, proven=anchors[0], first=anchors[1]) for seed in seeds]
            losses = 100 * step * np.array(promoted)
            cells += [f"{np.mean(promoted):.1f}", f"{losses.mean():.2f}", f"{losses.max():.1f}"]
        yield rows, f"{100 * step:g}", *cells


def worn() -> Iterator[Sequence[object]]:
    """Equal challengers on one fixed test split, all of it or its parts in turn: what is shown climbs by luck."""
    for rows, parts in ((2000, 1), (2000, 4), (10_000, 1), (10_000, 4), (50_000, 1), (50_000, 26), (100_000, 52)):
        above, following, promoted, years = [], [], 0, 100 if rows < 50_000 else 20
        for year in range(years):
            rng = np.random.default_rng(year)
            right = rng.random(rows) < 0.9
            shown = right.mean()
            for week in range(52):
                part = slice(week % parts, None, parts)
                challenger = np.where(rng.random(rows) < 0.2, rng.random(rows) < 0.9, right)
                won, lost = (challenger & ~right)[part], (right & ~challenger)[part]
                if tango(int(won.sum()), int(lost.sum()), len(won), CONFIDENCE)[0] >= -MARGIN:
                    right, promoted = challenger, promoted + 1
                    shown = right[part].mean()
            above.append(100 * (shown - 0.9))
            following.append(100 * (right[52 % parts :: parts].mean() - 0.9))
        means = (f"{np.mean(found):+.2f}" for found in (above, following))
        yield rows, parts, f"{promoted / years:.1f}", *means, f"{np.max(above):+.2f}"


def label_drift() -> Iterator[Sequence[object]]:
    """Alarms (p at most 0.01 and a distance of at least 0.1) and distances, by true total variation."""
    rng = np.random.default_rng(4)
    for number, images in ((10, 75), (10, 300), (100, 75), (100, 300)):
        before = np.full(number, 1 / number)
        for moved in (0.0, 0.1, 0.3, 0.5):
            after = before * np.repeat([1 - 2 * moved, 1 + 2 * moved], number // 2)
            found = []
            for seed in range(200):
                counts = rng.multinomial(2000, before), rng.multinomial(images, after)
                rows = (np.repeat(np.eye(number, dtype=np.int64), one, axis=0) for one in counts)
                found.append(label_shift(*rows, permutations=200, seed=seed))
            alarms = np.mean([one.p_value <= 0.01 and one.distance >= 0.1 for one in found])
            large = np.mean([one.p_value <= 0.01 and one.distance >= 0.3 for one in found])
            observed, corrected = (
                np.mean([getattr(one, name) for one in found]) for name in ("observed_distance", "distance")
            )
            yield number, images, f"{moved:g}", f"{observed:.2f}", f"{corrected:.2f}", percent(alarms), percent(large)


def crops(
    number: int, rng: np.random.Generator, change: Callable[[Image.Image], Image.Image]
) -> tuple[np.ndarray, np.ndarray]:
    """Crops of 64 px of two photographs, `(n, 3, 64, 64)` float32, and which of eight parts each is from, `(n,)`."""
    photos = load_sample_images().images
    found, parts = [], []
    for _ in range(number):
        place = int(rng.integers(8))
        photo = photos[place % 2]
        top, left = rng.integers(photo.shape[0] - 64), place // 2 * 144 + rng.integers(81)
        cropped = change(Image.fromarray(photo[top : top + 64, left : left + 64]))
        found.append(np.asarray(cropped, np.float32).transpose(2, 0, 1) / 255)
        parts.append(place)
    return np.stack(found), np.array(parts)


def new_camera(image: Image.Image) -> Image.Image:
    """Another white balance and tone curve, and sensor noise."""
    pixels = np.asarray(image, np.float32) / 255
    pixels = pixels**0.9 * np.array([1.05, 1.0, 0.95], np.float32)
    noise = np.random.default_rng(int(pixels.sum() * 1000)).normal(0, 0.02, pixels.shape)
    return Image.fromarray((255 * np.clip(pixels + noise, 0, 1)).astype(np.uint8))


SHIFTS: dict[str, Callable[[Image.Image], Image.Image]] = {
    "none": lambda image: image,
    "blur (σ 0.7 px)": lambda image: image.filter(ImageFilter.GaussianBlur(0.7)),
    "brightness + 5 %": lambda image: image.point(lambda value: 1.05 * value),
    "brightness + 15 %": lambda image: image.point(lambda value: 1.15 * value),
    "new camera": new_camera,
}


def feature_shifts() -> Iterator[Sequence[object]]:
    """Power by named shifts: features of a network with random weights, matched by the part of the photograph."""
    torch.manual_seed(0)
    architecture = Architecture(backbone="x", source="timm:test_resnet", num_outputs=2, task="classification")
    network = build(architecture).eval()

    def pool(number: int, seed: int, change: Callable[[Image.Image], Image.Image]) -> tuple[np.ndarray, np.ndarray]:
        pixels, parts = crops(number, np.random.default_rng(seed), change)
        with torch.inference_mode():
            features = network.forward_features(torch.from_numpy(pixels)).mean(dim=(2, 3)).numpy()
        return features, parts

    reference = pool(3000, 0, SHIFTS["none"])
    for number, (name, change) in enumerate(SHIFTS.items(), start=1):
        new = pool(1500, number, change)
        for images in (50, 200):
            found = []
            for seed in range(200):
                rng = np.random.default_rng(seed)
                chosen = rng.choice(1500, images, replace=False)
                held = np.concatenate(
                    [rng.choice(np.flatnonzero(reference[1] == place), count, replace=False)
                     for place, count in enumerate(2 * np.bincount(new[1][chosen], minlength=8))]
                )  # fmt: skip
                found.append(
                    feature_drift(new[0][chosen], reference[0][held], new_strata=new[1][chosen],
                                  reference_strata=reference[1][held], permutations=199, seed=seed)
                )  # fmt: skip
            rates = [np.mean([one.p_value <= level for one in found]) for level in (0.01, 0.05)]
            yield name, images, f"{np.mean([one.auc for one in found]):.2f}", *map(percent, rates)


TABLES = (
    ("Coverage of the 95 % interval of a difference of proportions (true loss: a tenth of the discordant rows)",
     ("rows", "discordant", "Tango", "width, points", "bootstrap before", "width, points"), coverage),
    ("Coverage of the jackknife: a ratio of sums of skewed rows",
     ("rows", "rows that differ", "has an interval", "covers", "lower end too high"), jackknife_coverage),
    ("Expected calibration error, in points: mean of 200 test splits (50 of the largest), and its coverage",
     ("true", "rows", "shown", "covers", "width"), calibration),
    ("Temperature scaling: ten classes, error on 20,000 test rows in points, 40 fits",
     ("logits too large by", "validation rows", "temperature", "error before", "after, mean", "largest"),
     temperature_scaling),
    ("Promotions at max_loss 1",
     ("test images", "discordant", "1.01 points worse, promoted", "with the bootstrap before", "equal, refused"),
     false_promotion),
    ("Equal challengers that class checks refuse (max_class_loss 5, 10 % discordant)",
     ("classes", "images of each", "before", "now", "loss of one class that is found"), classes),
    ("A year of challengers, each so many points worse than its champion (max_loss 1), on other test rows each week",
     ("test images", "worse by", "promoted", "mean loss", "largest", "promoted, proven anchor", "mean loss", "largest",
      "promoted, both", "mean loss", "largest"), years),
    ("52 equal challengers of 90 % on one test split, 3.6 % discordant: how far above that the last champion's card is",
     ("test images", "parts in turn", "promoted", "on its card, points", "in the next contest", "largest"), worn),
    ("Label shift: distances, and alarms at drift_alpha 0.01",
     ("classes", "new images", "true", "observed", "corrected", "at least 0.1", "at least 0.3"), label_drift),
    ("Feature drift: how often it is found",
     ("shift", "new images", "AUC", "p ≤ 0.01", "p ≤ 0.05"), feature_shifts),
)  # fmt: skip

if __name__ == "__main__":
    for title, columns, lines in TABLES:
        show(title, columns, lines())
