"""How a drift.json is shown, in the stage's page and in the run report."""

from collections.abc import Mapping
from typing import Any

from components.core.numbers import percent
from components.core.report.page import Block, Details, facts, table

_UNFOLDED_CLASSES = 20


def drift_sentence(document: Mapping[str, Any]) -> str:
    """The new rows and the results of both tests, in one line."""
    images, labels, features = document["images"], document["labels"], document["features"]
    said = f"{images['new']:,} new {_noun(document)}"
    if labels:
        said += f"; {_mixed(document)} moved by {percent(labels['distance'], digits=1)} (p {labels['p_value']:.2g})"
    if features:
        said += f"; features told apart with AUC {features['auc']:.2f} (p {features['p_value']:.2g})"
    return said + "."


def drift_blocks(document: Mapping[str, Any]) -> list[Block]:
    """Counts, both tests, the mix of classes."""
    images, labels, features = document["images"], document["labels"], document["features"]
    classes, quarantine = document["classes"], document["quarantine"]
    noun, mixed = _noun(document), _mixed(document)
    arrived = {
        f"{noun} now": f"{images['dataset']:,}",
        "new": f"{images['new']:,}",
        "no longer there": f"{images['gone']:,}",
        "newly quarantined": f"{quarantine['new']:,} ({percent(quarantine['share'], digits=1)} of what arrived)",
        "new classes": ", ".join(classes["added"]) or None,
        "classes that are gone": ", ".join(classes["gone"]) or None,
        "moved into the test split": images["moved_to_test"] or None,
    }
    rows = [
        [mixed, "χ², permutation test", _number(labels, "p_value"),
         _label_effect(labels) if labels else "not tested"],
        ["features", "classifier two-sample test", _number(features, "p_value"),
         f"AUC {features['auc']:.3f}, {features['new']} against {features['reference']} {noun}"
         if features else f"not tested: too few new {noun}"],
    ]  # fmt: skip
    total = {side: sum(row[side] for row in document["mix"]) or 1 for side in ("reference", "new")}
    mix: Block = table(
        [document.get("group", "class"), "champion's data", f"new {noun}"],
        [
            [row["class"], *(percent(row[side] / total[side], digits=1) for side in ("reference", "new"))]
            for row in document["mix"]
        ],
        caption=f"Share of {document.get('counted', 'images')}, in training and validation data; the test split is not "
        "looked at.",
    )
    if len(document["mix"]) > _UNFOLDED_CLASSES:
        mix = Details(f"All {len(document['mix'])} classes", (mix,))
    return [facts(arrived), table(["what", "test", "p-value", "effect"], rows), mix]


def _noun(document: Mapping[str, Any]) -> str:
    """The noun for rows; a document of an earlier version is of images."""
    return str(document.get("noun", "images"))


def _mixed(document: Mapping[str, Any]) -> str:
    return str(document.get("mixed", "labels"))


def _number(found: Mapping[str, Any] | None, name: str) -> str:
    return f"{found[name]:.2g}" if found else "–"


def _label_effect(labels: Mapping[str, Any]) -> str:
    """The corrected distance, and what it was corrected by where the document says so."""
    said = f"total variation {labels['distance']:.3f}"
    if "observed_distance" in labels:
        said += f" (observed {labels['observed_distance']:.3f}, by chance alone {labels['chance_distance']:.3f})"
    return f"{said}, Cramér's V {labels['cramers_v']:.3f}"
