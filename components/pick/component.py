"""KFP face of picking a student out of a rung."""

from kfp import dsl
from kfp.dsl import Artifact, Input, Model, Output

from components.core.results.recall import recalled
from components.images import BASE_IMAGE, DATA_IMAGE


@dsl.component(base_image=BASE_IMAGE, target_image=DATA_IMAGE)
@recalled
def pick(rung: Input[Artifact], picked: Output[Model], recipe: dict):
    """Hands on the network of one student of a rung; no bytes are copied.

    Args:
        rung: All students of the first rung.
        picked: The student's network, as it was distilled.
        recipe: Its recipe (core.recipe). This stage reads student, its number in the rung.
    """
    from components.core.artifacts.manifest import describe, publish_entries, read_manifest
    from components.core.artifacts.several import unpacked
    from components.core.recipe import Recipe
    from components.core.store import store_from_environment

    asked = Recipe.from_json(recipe)
    found = unpacked(read_manifest(rung.path, kind="rung"), f"{int(asked.more['student'])}/model")
    manifest = publish_entries(picked.path, kind=found.kind, entries=found.files, metadata=found.metadata)
    describe(picked, manifest, store_from_environment())
