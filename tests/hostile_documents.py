"""Documents that one task leaves for another in the store; what reads each; and how to damage them one by one."""

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from evaluation_documents import evaluation, verdict

from components.choose.race import FirstRung
from components.core.artifacts.entries import FileEntry
from components.core.artifacts.manifest import Manifest, read_document
from components.core.evaluation.parsing import read_fields
from components.core.evaluation.stage_documents import Choice, Host, Judgement, Provenance, ReleasedJudgement
from components.core.recipe import Recipe
from components.core.retraining import PromotionPolicy, RetrainPolicy
from components.core.store import open_store
from components.core.tasks.classification.pages import ClassificationPages
from components.core.tasks.images.assets import ImageAssets
from components.core.tasks.images.preprocess import Preprocess
from components.decide.rules import decide
from components.export.card import write_card
from components.judge.verdict import decide_promotion

DRIFT = {
    "format": 1,
    "images": {"reference": 1000, "dataset": 1200, "new": 200, "gone": 0, "moved_to_test": 1},
    "classes": {"added": [], "gone": [], "reordered": False},
    "quarantine": {"new": 1, "share": 0.01},
    "labels": {"distance": 0.2, "p_value": 0.001},
    "features": {"auc": 0.52, "p_value": 0.4},
    "noun": "images",
    "mixed": "labels",
}
RETRAINING = {
    "format": 1, "champion": {"name": "m", "version": "1"}, "action": "fine-tune", "reason": "Grown.",
    "attention": False, "drift": DRIFT,
}  # fmt: skip
JUDGEMENT = {
    "format": 4,
    "promote": True,
    "reason": "Every check holds.",
    "metric": {"name": "top1", "label": "top-1", "percent": True},
    "row_noun": "images",
    "champion": {"name": "m", "version": "1", "digest": "0" * 64, "value": 0.9},
    "challenger": {"digest": "1" * 64, "value": 0.91},
    "rows": 200,
    "test_uses": 3,
    "test_part": {"number": 1, "of": 2, "uses_before": [1, 2]},
    "anchors": [
        {"title": "best proven release", "release": "m/2", "deleted": "", "points": 0.1, "low": -0.5, "high": 0.6},
        {
            "title": "first release of 2026",
            "release": "m/1",
            "deleted": "m/0",
            "points": 0.1,
            "low": None,
            "high": None,
        },
    ],
    "next_anchor": {"name": "m", "version": "2"},
    "checks": [
        {"check": "overall", "allowed": -1.0, "measured": -0.4, "unit": "points", "rows": 200, "met": True},
        {"check": "max_size_mb", "allowed": 5.0, "measured": 2.5, "met": True},
        {"check": "class a", "allowed": -5.0, "measured": None, "rows": 0, "met": True, "note": "no test images"},
    ],
    "retraining": RETRAINING,
}
DECISION = {
    "format": 1, "meets_budget": True, "reason": "The best.", "chosen": 1,
    "recipes": [{"name": "a", "recipe": {"name": "a"}}, {"name": "b", "recipe": {"name": "b", "macs_fraction": 0.5}}],
}  # fmt: skip
PROVENANCE = {
    "task": "classification", "scheme": "int8", "backbone": "b", "opset": 20, "pruned": True, "zero_weights": 0.5,
    "source_model": "0" * 64, "float32_graph": "1" * 64,
    "calibration": {
        "method": "percentile", "percentile": 99.99, "split": "train", "images": 100, "dataset": "2" * 64,
        "corrected_layers": 3, "float_convolutions": 1,
    },
    "fused": {"convolutions": 9, "convolutions_total": 10, "operators": 11, "operators_total": 12},
    "agreement": {"split": "validation", "rows": 50, "argmax": 0.99, "signal_to_noise_db": 30.5},
    "accuracy_control": {
        "model": {"allowed_points": 1.0, "split": "validation", "rows": 50, "reverted": ["a"],
                  "tries": [{"reverted": 0, "drop_points": 2.5}]},
    },
    "temperature": {"value": None, "rows": 50, "split": "validation", "why": "1 is best"},
    "int8": {"kind": "weights"},
}  # fmt: skip
HOST = {
    "processor": "Xeon", "cores": 2, "flags": ["avx2"], "load_average_1m": 0.5, "versions": {"onnxruntime": "1.27.0"},
}  # fmt: skip
RACE = {
    "students": [{"recipe": {"name": "a"}, "stopped": ""}, {"recipe": {"name": "b"}, "stopped": "too slow"}],
    "more_epochs": 3, "minutes": 20.0, "control": "There is no control.", "began": 1e6, "at": 1e6 + 600,
    "steps": [
        {"name": "teacher", "planned": None, "real": 60.0}, {"name": "second rung", "planned": 90.0, "real": None},
    ],
    "said": ["b stops: too slow"],
}  # fmt: skip


def stored(document: Any, folder: Path) -> tuple[Manifest, Any]:
    """An artifact with the document as `document.json` and `race.json`, and its store."""
    store = open_store(str(folder / "store"))
    content = document if isinstance(document, bytes) else json.dumps(document).encode("utf-8", "surrogatepass")
    digest = store.blobs.put(content)
    names = ("document.json", "race.json")
    files = tuple(FileEntry(path=name, bytes=len(content), sha256=digest) for name in names)
    return Manifest(kind="decision", metadata={}, files=files), store


def read_race(document: Any, folder: Path) -> None:
    first = FirstRung(*stored(document, folder))
    first.told(finalists=1, now=1e6 + 900.0, chosen=Recipe(name="a"))


def decided(document: Any, folder: Path) -> None:
    assert len(decide(read_document(*_named(document, folder)), RetrainPolicy()).reason) < 2000


def judged(document: Any, folder: Path) -> None:
    decide_promotion(
        evaluation(verdict=verdict()), evaluation(), read_document(*_named(document, folder)), PromotionPolicy()
    )


def shown_in_a_card(document: Any, folder: Path, *, name: str) -> None:
    """As `export` does, with the other documents whole."""
    found: dict[str, Any] = {"decision": DECISION, "retraining": JUDGEMENT, "provenance": PROVENANCE, "host": HOST}
    found[name] = read_document(*_named(document, folder))
    kinds = {"host": Host, "decision": Choice, "retraining": Judgement, "provenance": Provenance}
    for one, kind in kinds.items():
        read_fields(kind, found[one], f"{one}.json")
    parity = {"batch_sizes": [1], "relative_difference": 0.0, "tolerance": 1e-3}
    assets = ImageAssets(preprocess=Preprocess(image_size=8, mean=(0, 0, 0), std=(1, 1, 1)), labels=["coat", "bag"])
    measured = evaluation(host=found["host"])
    write_card(
        measured,
        ClassificationPages().card_text(measured, assets, found["provenance"]),
        {
            "name": "m", "version": "3", "digest": "0" * 64, "digests": {}, "licence": "MIT", "trimtab": "1",
            **found, "provenance": {"calibration": None, **found["provenance"]},
            "verification": {"parity": parity, "same_graph": True, "samples_repeated": 0},
        },
    )  # fmt: skip


def read_released(document: Any, folder: Path) -> None:
    read_fields(ReleasedJudgement, read_document(*_named(document, folder)), "retraining.json of a release")


def _named(document: Any, folder: Path) -> tuple[Manifest, str, Any]:
    manifest, store = stored(document, folder)
    return manifest, "document.json", store


Read = Callable[[Any, Path], None]
DOCUMENTS: dict[str, tuple[dict[str, Any], Read]] = {
    "drift": (DRIFT, decided),
    "retraining": (RETRAINING, judged),
    "judgement": (JUDGEMENT, lambda document, folder: shown_in_a_card(document, folder, name="retraining")),
    "decision": (DECISION, lambda document, folder: shown_in_a_card(document, folder, name="decision")),
    "provenance": (PROVENANCE, lambda document, folder: shown_in_a_card(document, folder, name="provenance")),
    "host of an evaluation": (HOST, lambda document, folder: shown_in_a_card(document, folder, name="host")),
    "released judgement": (JUDGEMENT, read_released),
    "race": (RACE, read_race),
}
"""A whole document, and what reads it: the document or its bytes, in a folder for a store."""

VALUES: list[Any] = [
    None, True, 0, -1, 0.5, 10**400, float("nan"), float("inf"), -1e308, "", "x", "\x1b[2J", "x" * 2_000_000, [], [[]],
    {}, {"name": 5}, ["x"], [{}],
]  # fmt: skip


def damaged(document: Any) -> Iterator[Any]:
    """The document without each of its values in turn, and with each of `VALUES` in its place."""
    for place in _places(document):
        for value in (_GONE, *VALUES):
            changed = copy.deepcopy(document)
            holder = changed
            for key in place[:-1]:
                holder = holder[key]
            if value is _GONE:
                del holder[place[-1]]
            else:
                holder[place[-1]] = value
            yield changed


_GONE = object()


def _places(tree: Any) -> Iterator[tuple[Any, ...]]:
    for key in list(tree) if isinstance(tree, dict) else range(len(tree)) if isinstance(tree, list) else ():
        yield (key,)
        yield from ((key, *rest) for rest in _places(tree[key]))
