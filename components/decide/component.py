"""KFP face of the decision over a retraining."""

from typing import List, NamedTuple

from kfp import dsl
from kfp.dsl import Artifact, Input, Output

from components.images import BASE_IMAGE, DATA_IMAGE


class Decided(NamedTuple):
    """Outputs that the pipeline branches on."""

    action: str
    recipe: dict


@dsl.component(base_image=BASE_IMAGE, target_image=DATA_IMAGE)
def decide(
    drift: Input[Artifact],
    decision: Output[Artifact],
    name: str,
    version: str,
    recipes: List[dict],
    action: str = "auto",
    min_new_images: int = 100,
    max_quarantined: float = 0.1,
    min_growth: float = 0.25,
    drift_alpha: float = 0.01,
    label_shift: float = 0.1,
    large_label_shift: float = 0.3,
    feature_drift: float = 0.6,
    large_feature_drift: float = 0.8,
) -> Decided:
    """Decides whether to skip, to fine-tune the champion, or to run a new search.

    Args:
        drift: New data since the champion was made, with both drift tests (drift.json).
        decision: retraining.json: the decision, its reason and what it rests on; decision.json: the reason, for export.
        name: Name of the champion's release.
        version: Version of the champion's release.
        recipes: Recipes of a new search. A fine-tuned champion has the same settings, except for size and input.
        action: auto decides by the rules below; skip, fine-tune or optimize is done whatever the data say.
        min_new_images: Skip retraining until this many new rows have arrived; at least 1.
        max_quarantined: Share of the newly arrived files that may be unusable, 0 to 1; above it nothing is trained.
        min_growth: New images, as a share of the champion's data, that are reason enough to fine-tune; at least 0.
        drift_alpha: p-value at or below which a difference counts, between 0 and 1.
        label_shift: Total variation distance, 0 to 1, from which a label shift leads to fine-tuning.
        large_label_shift: The same, for a new search.
        feature_drift: AUC of the two-sample classifier, 0.5 to 1, from which feature drift leads to fine-tuning.
        large_feature_drift: The same, for a new search.

    Returns:
        action: skip, fine-tune or optimize. recipe: What a fine-tuned champion is made by: it keeps its network, is
        quantized again, and has a temperature fitted if the champion had.
    """
    import json
    from dataclasses import asdict

    from components.core.artifacts.manifest import describe, publish, read_document, read_manifest
    from components.core.bundles.release_files import PROVENANCE
    from components.core.json_documents import parse_object
    from components.core.retraining import RetrainPolicy
    from components.core.store import store_from_environment
    from components.decide import rules

    policy = RetrainPolicy(
        action=action,
        min_new_images=min_new_images,
        max_quarantined=max_quarantined,
        min_growth=min_growth,
        drift_alpha=drift_alpha,
        label_shift=label_shift,
        large_label_shift=large_label_shift,
        feature_drift=feature_drift,
        large_feature_drift=large_feature_drift,
    )
    store = store_from_environment()
    document = read_document(read_manifest(drift.path, kind="drift"), "drift.json", store)
    decided = rules.decide(document, policy)
    print(f"{decided.action}: {decided.reason}")

    champion = {"name": name, "version": version}
    retraining = {"format": 1, "champion": champion, **asdict(decided), "policy": asdict(policy), "drift": document}
    # A fine-tuned challenger was chosen from nothing; export asks every candidate how it was chosen.
    chosen = {"format": 1, "recipes": [], "meets_budget": True, "reason": f"Champion {name}/{version}, fine-tuned."}
    files: dict[str, bytes] = {
        file: json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False).encode()
        for file, content in {"retraining.json": retraining, "decision.json": chosen}.items()
    }
    manifest = publish(decision.path, kind="decision", files={**files}, metadata={}, store=store)
    describe(decision, manifest, store, action=decided.action, reason=decided.reason, attention=decided.attention)
    content = store.releases.read(name, version, PROVENANCE)
    provenance = parse_object(content, f"{PROVENANCE} of release {name}/{version}")
    return Decided(action=decided.action, recipe=rules.fine_tuned_recipe(recipes, provenance).to_json())
