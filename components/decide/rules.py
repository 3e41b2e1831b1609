"""The policy of retraining as one function: what drift.json says → what to do, and why."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from components.core.evaluation.parsing import read_fields
from components.core.evaluation.stage_documents import Drift
from components.core.numbers import percent
from components.core.recipe import Recipe
from components.core.retraining import AUTO, FINE_TUNE, OPTIMIZE, SKIP, RetrainPolicy


@dataclass(frozen=True, kw_only=True)
class Decision:
    """The action (skip, fine-tune, optimize), the reason in one sentence, and whether a person should look at it."""

    action: str
    reason: str
    attention: bool = False


def fine_tuned_recipe(recipes: Sequence[Mapping[str, Any]], provenance: Mapping[str, Any]) -> Recipe:
    """How a fine-tuned champion becomes a release.

    Args:
        recipes: those of a new search, which differ in how small the network becomes; here it stays as it is.
        provenance: of the champion; if a temperature was fitted for it, one is for the challenger.
    """
    recipe = replace(Recipe.from_json(recipes[0]), name="the champion's network", macs_fraction=1.0, student_size=0)
    scaled = {"temperature_scaling": True} if "temperature" in provenance else {}
    return replace(recipe, more={**recipe.more, **scaled})


def decide(drift: Mapping[str, Any], policy: RetrainPolicy) -> Decision:
    """The first rule that applies, in this order.

    1. The classes are others: skip, and call for a person; the champion cannot be compared on classes it never knew.
    2. `policy.action` is not auto: that.
    3. Too much of what arrived was put aside: skip, and call for a person; a fault is likelier than a change.
    4. Fewer than `min_new_images` are new: skip, and wait.
    5. A large drift: optimize. 6. A drift: fine-tune. 7. Growth by `min_growth`: fine-tune. 8. Else skip.

    Where fine-tuning is due, but test images were training images of the champion, it is optimize: a challenger that
    starts from the champion would be judged on images it has seen.
    """
    read_fields(Drift, drift, "drift.json")
    decision = _decide(drift, policy)
    moved = drift["images"]["moved_to_test"]
    if decision.action == FINE_TUNE and moved:
        reason = (
            f"{decision.reason} From the pretrained weights, since {moved:,} test {_noun(drift)} were the champion's "
            "training."
        )
        return Decision(action=OPTIMIZE, reason=reason, attention=decision.attention)
    return decision


def _decide(drift: Mapping[str, Any], policy: RetrainPolicy) -> Decision:
    images, quarantine = drift["images"], drift["quarantine"]
    if changed := _changed_classes(drift["classes"]):
        advice = "run optimize, look at the release, and promote it by hand"
        return Decision(action=SKIP, reason=f"The classes are others: {changed}; {advice}.", attention=True)
    if policy.action != AUTO:
        return Decision(action=policy.action, reason=f"The run was asked to {policy.action}.")
    if quarantine["share"] > policy.max_quarantined:
        share = f"{quarantine['new']:,} of the files that arrived ({_share(quarantine['share'])}) cannot be used"
        return Decision(action=SKIP, reason=f"{share}; {_share(policy.max_quarantined)} is allowed.", attention=True)
    if images["new"] < policy.min_new_images:
        reason = f"{images['new']:,} {_noun(drift)} are new; retraining starts at {policy.min_new_images:,}."
        return Decision(action=SKIP, reason=reason)
    if large := _drifts(drift, policy, label=policy.large_label_shift, feature=policy.large_feature_drift):
        return Decision(action=OPTIMIZE, reason=f"The data have changed much: {large}.")
    if some := _drifts(drift, policy, label=policy.label_shift, feature=policy.feature_drift):
        return Decision(action=FINE_TUNE, reason=f"The data have changed: {some}.")
    growth = images["new"] / images["reference"]
    if growth >= policy.min_growth:
        reason = f"The data have grown by {_share(growth)}; {_share(policy.min_growth)} is reason enough."
        return Decision(action=FINE_TUNE, reason=reason)
    enough = _share(policy.min_growth)
    reason = f"No drift, and the data have grown by {_share(growth)} only ({enough} would be reason enough)."
    return Decision(action=SKIP, reason=reason)


def _changed_classes(classes: Mapping[str, Any]) -> str:
    said = [
        f"{word} {', '.join(classes[key][:5])}" for key, word in (("added", "new"), ("gone", "gone")) if classes[key]
    ]
    return "; ".join([*said, *(["in another order"] if classes["reordered"] else [])])


def _noun(drift: Mapping[str, Any]) -> str:
    """The noun for rows; a document of an earlier version is of images."""
    return str(drift.get("noun", "images"))


def _drifts(drift: Mapping[str, Any], policy: RetrainPolicy, *, label: float, feature: float) -> str:
    """The changes that are significant and large enough, in words; empty if there are none."""
    found = []
    labels, features = drift["labels"], drift["features"]
    if labels and labels["p_value"] <= policy.drift_alpha and labels["distance"] >= label:
        moved = f"{drift.get('mixed', 'labels')} by {_share(labels['distance'])}"
        found.append(f"{moved} ({_share(label)} is allowed; p {labels['p_value']:.2g})")
    if features and features["p_value"] <= policy.drift_alpha and features["auc"] >= feature:
        found.append(f"features, AUC {features['auc']:.2f} ({feature:.2f} is allowed; p {features['p_value']:.2g})")
    return " and ".join(found)


def _share(fraction: float) -> str:
    return percent(fraction, digits=0)
