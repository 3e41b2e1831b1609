"""KFP face of halving."""

from typing import List, NamedTuple

from kfp import dsl
from kfp.dsl import Artifact, Input, Model, Output

from components.images import BASE_IMAGE, DATA_IMAGE


class Finalists(NamedTuple):
    """The recipes of the second rung."""

    finalists: List[dict]


@dsl.component(base_image=BASE_IMAGE, target_image=DATA_IMAGE)
def halve(
    candidates: Input[List[Model]],
    models: Input[List[Model]],
    evaluations: Input[List[Artifact]],
    curves: Input[List[Artifact]],
    recipes: List[dict],
    rung: Output[Artifact],
    plan: dict = {},  # noqa: B006
    deadline: float = 0.0,
    max_latency_ms: float = -1.0,
    max_size_mb: float = -1.0,
    max_drop: float = -1.0,
) -> Finalists:
    """Stops the students of a race that cannot win, and plans what is left of the time for the others.

    Args:
        candidates: The compressed ONNX models of the first rung, one for each recipe.
        models: The torch students they were made from, in the same order.
        evaluations: Their comparisons with the baseline on validation data, in the same order.
        curves: Their learning curves, in the same order; their facts say how long an epoch took.
        recipes: Their recipes (core.recipe), in the same order.
        rung: All of these, who was stopped and why, and how the time was spent.
        plan: The plan of the race.
        deadline: End of the time box, in seconds of Unix time. After it nothing is trained.
        max_latency_ms: Allowed median latency at batch 1 in milliseconds; -1 is no limit.
        max_size_mb: Allowed size of the ONNX files in megabytes of 10⁶ bytes; -1 is no limit.
        max_drop: Allowed loss of the primary metric against the fp32 baseline in points; -1 is no limit.

    Returns:
        The recipes that continue, the best first, with their epochs; at least one.
    """
    import json
    import time

    from components.core.artifacts.entries import FileEntry
    from components.core.artifacts.manifest import describe, publish_entries, read_manifest
    from components.core.artifacts.several import packed
    from components.core.budget import Budget
    from components.core.evaluation.document import read_evaluation
    from components.core.evaluation.parsing import read_fields
    from components.core.evaluation.stage_documents import LearningCurve
    from components.core.recipe import Recipe
    from components.core.store import store_from_environment
    from components.halve.race import go_on

    budget = Budget(max_latency_ms=max_latency_ms, max_size_mb=max_size_mb, max_drop=max_drop)
    kinds = {"candidate": (candidates, "onnx"), "model": (models, "model"), "evaluation": (evaluations, "evaluation")}
    manifests = {
        f"{number}/{name}": read_manifest(artifact.path, kind=kind)
        for name, (artifacts, kind) in kinds.items()
        for number, artifact in enumerate(artifacts)
    }
    store = store_from_environment()
    measurements = [read_evaluation(manifests[f"{number}/evaluation"], store) for number in range(len(evaluations))]
    tried = [Recipe.from_json(recipe) for recipe in recipes]

    finalists, document = go_on(
        measurements, tried, budget, plan, deadline=deadline, now=time.time(),
        epoch_seconds=[read_fields(LearningCurve, one.metadata, "a learning curve").epoch_seconds for one in curves],
    )  # fmt: skip
    for line in document["said"]:
        print(line)

    content = json.dumps(document, indent=1, ensure_ascii=False).encode()
    own = FileEntry(path="race.json", bytes=len(content), sha256=store.blobs.put(content))
    entries, facts = packed(manifests)
    manifest = publish_entries(rung.path, kind="rung", entries=[*entries, own], metadata=facts)
    describe(rung, manifest, store, students=len(tried), going_on=len(finalists))
    return Finalists(finalists=[one.to_json() for one in finalists])
