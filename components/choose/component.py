"""KFP face of the choice: which recipe is released."""

from typing import List

from kfp import dsl
from kfp.dsl import HTML, Artifact, Input, Metrics, Model, Output

from components.core.results.recall import recalled
from components.images import BASE_IMAGE, DATA_IMAGE


@dsl.component(base_image=BASE_IMAGE, target_image=DATA_IMAGE)
@recalled
def choose(
    candidates: Input[List[Model]],
    models: Input[List[Model]],
    evaluations: Input[List[Artifact]],
    recipes: List[dict],
    chosen: Output[Model],
    chosen_model: Output[Model],
    decision: Output[Artifact],
    metrics: Output[Metrics],
    page: Output[HTML],
    rung: Input[Artifact] = None,
    max_latency_ms: float = -1.0,
    max_size_mb: float = -1.0,
    max_drop: float = -1.0,
):
    """Choose one recipe on the Pareto front of quality, latency and size, measured on validation data.

    Args:
        candidates: The compressed ONNX models, one for each recipe.
        models: The torch students they were made from, in the same order.
        evaluations: Their comparisons with the baseline on validation data, in the same order.
        recipes: Their recipes (core.recipe), in the same order.
        chosen: The chosen ONNX model (its manifest; no bytes are copied).
        chosen_model: The torch student it was made from.
        decision: decision.json: every recipe with what was measured, and the reason for the choice.
        metrics: Quality, loss, speed-up and size of the chosen recipe.
        page: The Pareto front and the reason, to read.
        rung: First rung of a race, whose students are chosen from as well and whose time goes into the decision.
        max_latency_ms: Allowed median latency at batch 1 in milliseconds; -1 is no limit.
        max_size_mb: Allowed size of the ONNX files in megabytes of 10⁶ bytes; -1 is no limit.
        max_drop: Allowed loss of the primary metric against the fp32 baseline in points; -1 is no limit.
    """
    import json
    import time

    from components.choose.decision import decide_recipe
    from components.choose.decision_page import write_decision_page
    from components.choose.race import FirstRung
    from components.core.artifacts.manifest import describe, publish, publish_entries, read_manifest
    from components.core.budget import Budget
    from components.core.errors import UserError
    from components.core.evaluation.document import read_evaluation
    from components.core.recipe import Recipe
    from components.core.report.metrics import log_metrics
    from components.core.store import store_from_environment

    budget = Budget(max_latency_ms=max_latency_ms, max_size_mb=max_size_mb, max_drop=max_drop)
    tried = [Recipe.from_json(recipe) for recipe in recipes]
    counts = {len(candidates), len(models), len(evaluations), len(recipes)}
    if counts == {0} or len(counts) > 1:
        raise UserError(
            "choose needs as many candidates, models, evaluations and recipes, at least one each; "
            f"got {len(candidates)}, {len(models)}, {len(evaluations)} and {len(recipes)}"
        )

    store = store_from_environment()
    files = {
        kind: [read_manifest(one.path, kind=kind) for one in given]
        for kind, given in (("onnx", candidates), ("model", models), ("evaluation", evaluations))
    }
    first = None if rung is None else FirstRung(read_manifest(rung.path, kind="rung"), store)
    if first is not None:
        files = {kind: [*manifests, *first.manifests(kind)] for kind, manifests in files.items()}
        tried = [*tried, *first.recipes]
    measurements = [read_evaluation(one, store) for one in files["evaluation"]]
    document = decide_recipe(measurements, [recipe.to_json() for recipe in tried], budget)
    if first is not None:
        chosen_recipe = tried[document["chosen"]]
        document["race"] = first.told(finalists=len(recipes), now=time.time(), chosen=chosen_recipe)
        print(document["race"]["control"])
    index = document["chosen"]
    winner = document["recipes"][index]
    print(document["reason"])

    facts = {"recipe": winner["name"], "meets_budget": document["meets_budget"]}
    for kind, target in (("onnx", chosen), ("model", chosen_model)):
        manifest = files[kind][index]
        copy = publish_entries(target.path, kind=kind, entries=manifest.files, metadata=manifest.metadata)
        describe(target, copy, store, **facts)
    content = json.dumps(document, indent=1, ensure_ascii=False).encode()
    manifest = publish(decision.path, kind="decision", files={"decision.json": content}, metadata=facts, store=store)
    describe(decision, manifest, store, **facts, reason=document["reason"])
    figures = {
        f"validation_{document['metric']['name']}": winner["value"],
        "drop_points": winner["drop_points"],
        "speedup_batch1": winner["speedup"],
        "size_mb": winner["size_bytes"] / 1e6,
        "meets_budget": bool(document["meets_budget"]),
    }
    data = measurements[index].dataset.description or ""
    log_metrics(metrics, figures, recipe=winner["name"], data=data)
    write_decision_page(page.path, document, data=data)
