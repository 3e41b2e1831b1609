"""`trimtab run segmentation` on composites of photographs: what a release keeps, and how much smaller and faster it is.

    nice python tests/benchmarks/photo_composites.py --folder ~/photo-composites

Needs Debian's `apt-get` and `dpkg`, and the weights of the extra `demo`. Fetches Tux Paint's stamps (161 MB, GPL-2) and
templates (8 MB, GPL-2+) into the folder; no picture is part of this repository. `--only-data` stops before the run,
`-p NAME=VALUE` is passed to it. The store is kept in the folder, so a second run takes finished tasks from its cache.

Semi-synthetic: cut-outs and backgrounds are photographs, the scenes are not. A scene has 1 to 4 cut-outs, scaled,
turned and mirrored, on a random crop; the mask is where a cut-out's alpha is at least one half. The class is the
folder of the stamp. Drawings and fragments are left out by name, and so are templates that show one of the classes.

Split by cut-out: cut-outs are dealt out to groups, a scene takes them from one group, and a group stays in one split.
The backgrounds are few and occur in every split. The intervals resample scenes, and scenes of a group share cut-outs:
they say how sure the figure is for these cut-outs, and too little about new ones. Everything follows from `SEED`.
"""

import argparse
import csv
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from components.core.evaluation.document import FILE, Estimate, Evaluation
from components.core.tasks import get_task
from components.core.tasks.segmentation.demo.build import webp
from components.core.tasks.segmentation.masks import encode
from components.data_prep.splitting import Fractions, split_of

SEED = 20261129
SIDE = 128
NUM_GROUPS = 48
SCENES_PER_GROUP = 45
MAX_CUTOUTS = 4
FRACTIONS = Fractions(validation=0.15, test=0.25)
PACKAGES = ("tuxpaint-stamps-default", "tuxpaint-data")
CLASSES = ("background", "animals", "food", "plants", "vehicles")
BACKGROUNDS = (
    "lighthouse", "mudstone", "ocean_splash", "ocean_waves", "rocks", "sun_behind_clouds", "wool_mill_machine",
)  # fmt: skip
NO_PHOTOGRAPHS = {"bee", "echidna", "edward_bear", "fly", "hedgehog", "pizza", "sedan_police"}
"""Drawings, a toy and a fragment among the stamps of the four classes, found by looking at all of them."""

_MOST_OVERLAP = 0.25
_MOST_ENLARGED = 2.0


class CutOut(NamedTuple):
    """A stamp with its alpha, cropped to what is visible, and the number of its class, 1..4."""

    picture: Image.Image
    label: int


def fetch(folder: Path) -> Path:
    """Download and unpack the packages unless the folder has them; the folder of Tux Paint's pictures."""
    root = folder / "unpacked"
    for package in PACKAGES:
        if not (root / "usr/share/doc" / package).exists():
            subprocess.run(["apt-get", "download", package], cwd=folder, check=True)
            for archive in folder.glob(f"{package}_*.deb"):
                subprocess.run(["dpkg", "-x", archive, root], check=True)
    return root / "usr/share/tuxpaint"


def read_cutouts(stamps: Path) -> list[CutOut]:
    """The photographs among the stamps, in the order of classes and paths; mirrored copies are left out."""
    found = []
    for label, name in enumerate(CLASSES[1:], start=1):
        for path in sorted((stamps / name).rglob("*.png")):
            if "cartoon" in path.parts or path.stem in NO_PHOTOGRAPHS or path.stem.endswith("_mirror"):
                continue
            with Image.open(path) as stamp:
                found.append(CutOut(visible(stamp.convert("RGBA")), label))
    return found


def visible(picture: Image.Image) -> Image.Image:
    """Cropped to where the alpha (the last channel) is at least one half."""
    return picture.crop(picture.getchannel(3).point(lambda alpha: 255 * (alpha >= 128)).getbbox())


def groups_of(cutouts: list[CutOut]) -> list[list[int]]:
    """`NUM_GROUPS` disjoint sets of numbers of cut-outs: those of each class are dealt out in turn, rarest first."""
    rng = np.random.default_rng(SEED)
    counts = Counter(cutout.label for cutout in cutouts)
    dealt: list[int] = []
    for label in sorted(counts, key=lambda label: counts[label]):
        dealt += rng.permutation([n for n, cutout in enumerate(cutouts) if cutout.label == label]).tolist()
    return [dealt[group::NUM_GROUPS] for group in range(NUM_GROUPS)]


def scenes(
    group: int, members: list[CutOut], backgrounds: list[Image.Image], count: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Scenes of a group: RGB uint8 `(SIDE, SIDE, 3)` and mask uint8 `(SIDE, SIDE)`.

    Members are taken in turn, shuffled anew when all have been.
    """
    rng = np.random.default_rng([SEED, group])
    waiting: list[int] = []
    for _ in range(count):
        image = random_crop(backgrounds[int(rng.integers(len(backgrounds)))], rng)
        mask = np.zeros((SIDE, SIDE), dtype=np.uint8)
        for _ in range(int(rng.integers(1, MAX_CUTOUTS + 1))):
            waiting = waiting or rng.permutation(len(members)).tolist()
            paste(image, mask, members[waiting.pop()], rng)
        yield np.asarray(image), mask


def random_crop(photo: Image.Image, rng: np.random.Generator) -> Image.Image:
    """A square of the photograph, scaled to `SIDE`, mirrored half of the time, with another brightness."""
    side = int(rng.integers(SIDE, min(photo.size) + 1))
    left, top = (int(rng.integers(0, length - side + 1)) for length in photo.size)
    crop = photo.resize((SIDE, SIDE), Image.Resampling.BOX, (left, top, left + side, top + side))
    crop = crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if rng.random() < 0.5 else crop
    brightness = rng.uniform(0.6, 1.3)
    return crop.point(lambda value: min(255, round(value * brightness)))


def paste(image: Image.Image, mask: np.ndarray, cutout: CutOut, rng: np.random.Generator) -> None:
    """Draws the cut-out where it hides little of the others, else not at all."""
    for _ in range(8):
        # Premultiplied (RGBa): else the hidden colours of transparent pixels would bleed into the edge.
        turned = cutout.picture.convert("RGBa")
        turned = turned.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if rng.random() < 0.5 else turned
        turned = visible(turned.rotate(rng.uniform(-30, 30), Image.Resampling.BILINEAR, expand=True))
        factor = min(_MOST_ENLARGED, SIDE * rng.uniform(0.3, 0.65) / max(turned.size))
        width, height = (max(1, round(length * factor)) for length in turned.size)
        scaled = turned.resize((width, height), Image.Resampling.BICUBIC).convert("RGBA")
        left, top = int(rng.integers(0, SIDE - width + 1)), int(rng.integers(0, SIDE - height + 1))
        here = (slice(top, top + height), slice(left, left + width))
        inside = np.asarray(scaled)[..., 3] >= 128
        if (inside & (mask[here] > 0)).sum() <= _MOST_OVERLAP * inside.sum():
            image.paste(scaled, (left, top), scaled)
            mask[here][inside] = cutout.label
            return


def build(folder: Path, pictures: Path, *, num_groups: int, scenes_per_group: int) -> Path:
    """Write images, masks, the list of classes and a table of them; prints what each split holds; the table's path."""
    cutouts = read_cutouts(pictures / "stamps")
    backgrounds = [Image.open(pictures / "templates" / f"{name}.jpg").convert("RGB") for name in BACKGROUNDS]
    shutil.rmtree(folder, ignore_errors=True)
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    (folder / "classes.txt").write_text("\n".join(CLASSES) + "\n")
    rows, sources, shown = [], Counter[tuple[str, str]](), Counter[tuple[str, str]]()
    for group, numbers in enumerate(groups_of(cutouts)[:num_groups]):
        members = [cutouts[number] for number in numbers]
        split = split_of(get_task("segmentation").rows.split_key({"group": f"{group:03d}"}), FRACTIONS)
        sources.update((split, CLASSES[member.label]) for member in members)
        for number, (image, mask) in enumerate(scenes(group, members, backgrounds, scenes_per_group)):
            stem = f"{group:03d}-{number:02d}"
            (folder / "images" / f"{stem}.webp").write_bytes(webp(image))
            (folder / "masks" / f"{stem}.png").write_bytes(encode(mask))
            rows.append((f"images/{stem}.webp", f"masks/{stem}.png", f"{group:03d}"))
            shown.update((split, CLASSES[label]) for label in np.unique(mask))
    with (folder / "scenes.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("image", "mask", "group"), *rows])
    print(f"{len(rows)} scenes of {SIDE} x {SIDE} pixels, {num_groups} groups, {len(backgrounds)} backgrounds")
    print("| cut-outs / scenes that show them | train | validation | test |\n|---|---|---|---|")
    for name in CLASSES[1:]:
        cells = (f"{sources[split, name]} / {shown[split, name]}" for split in ("train", "validation", "test"))
        print(f"| {name} | {' | '.join(cells)} |", flush=True)
    return folder / "scenes.csv"


def run(folder: Path, table: Path, parameters: list[str]) -> Evaluation:
    """`trimtab run segmentation` on the table, in a process of its own; the evaluation of its release on test data.

    Raises:
        SystemExit: the run failed, with its exit code.
    """
    given = [f"dataset={table}", "group_column=group", f"image_size={SIDE}"]
    given += [f"validation_fraction={FRACTIONS.validation}", f"test_fraction={FRACTIONS.test}", *parameters]
    command = [sys.executable, "-m", "pipelines.cli", "run", "segmentation", "--json", str(folder / "result.json")]
    command += ["--store", str(folder / "store")]
    for parameter in given:
        command += ["-p", parameter]
    code = subprocess.run(command, cwd=folder, env={**os.environ, "TRIMTAB_HOME": str(folder / "out")}).returncode
    if code:
        sys.exit(code)
    release = Path(json.loads((folder / "result.json").read_text())["outputs"]["release"])
    return Evaluation.from_json(json.loads((release / FILE).read_text()))


def show(found: Evaluation) -> None:
    """The figures as a card has them, with how they were obtained."""

    def percent(estimate: Estimate) -> str:
        if estimate.value is None or estimate.low is None or estimate.high is None:
            return "unknown"
        return f"{estimate.value:.2%} ({estimate.low:.2%} to {estimate.high:.2%})"

    before, after, primary = found.baseline, found.candidate, found.primary
    print(f"\nsemi-synthetic: {found.rows} {found.row_noun} of the {found.split} split, cut-outs of no other split")
    print(f"| | {before.scheme} baseline | release ({after.scheme}) | |\n|---|---|---|---|")
    change = primary.difference
    if change.points is not None and change.low is not None and change.high is not None:
        points = f"{change.points:+.2f} points ({change.low:+.2f} to {change.high:+.2f})"
        print(f"| {primary.label} | {percent(primary.baseline)} | {percent(primary.candidate)} | {points} |")
    sizes = (f"{side.size_bytes / 1e6:.2f} MB" for side in (before, after))
    print(f"| file | {' | '.join(sizes)} | {found.size_ratio:.1f}x smaller |")
    for speedup in found.speedups:
        slow, fast = before.at(speedup.batch), after.at(speedup.batch)
        cells = f"{slow.p50_ms:.2f} ms | {fast.p50_ms:.2f} ms | {speedup.ratio:.2f}x as fast"
        print(f"| latency, batch {speedup.batch} | {cells} (CPU time {slow.cpu_ms / fast.cpu_ms:.2f}x) |")
    if share := after.integer:
        operators = f"{share['operators']} of {share['operators_total']} operators"
        print(f"| integer | | {operators}, {share['convolutions']} of {share['convolutions_total']} convolutions | |")
    for one in found.groups:
        if one.baseline is not None and one.candidate is not None:
            print(f"| {one.metric} {one.name}, {one.support} scenes | {one.baseline:.2%} | {one.candidate:.2%} | |")
    print(f"\n{found.method} The intervals resample scenes; those of a group share cut-outs.")
    host = found.host
    print(f"{host['processor']}, {host['cores']} cores ({', '.join(host['flags'])}), load {host['load_average_1m']}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--folder", type=Path, help="where everything goes and stays [default: a new temporary folder]")
    parser.add_argument("--groups", type=int, default=NUM_GROUPS, help="only the first so many, for a quick try")
    parser.add_argument("--scenes-per-group", type=int, default=SCENES_PER_GROUP)
    parser.add_argument("--only-data", action="store_true")
    parser.add_argument("-p", "--param", action="append", default=[], metavar="NAME=VALUE")
    options = parser.parse_args()
    folder = (options.folder or Path(tempfile.mkdtemp(prefix="trimtab-photos-"))).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    pictures = fetch(folder)
    size = {"num_groups": options.groups, "scenes_per_group": options.scenes_per_group}
    table = build(folder / "scenes", pictures, **size)
    if not options.only_data:
        show(run(folder, table, options.param))


if __name__ == "__main__":
    main()
