"""KFP face of the promotion: the one moment at which the champion changes."""

from typing import NamedTuple

from kfp import dsl
from kfp.dsl import Artifact, Input, Model

from components.images import BASE_IMAGE, DATA_IMAGE


class Promoted(NamedTuple):
    """How it ended."""

    outcome: str
    release: str
    message: str


@dsl.component(base_image=BASE_IMAGE, target_image=DATA_IMAGE)
def promote(
    release: Input[Model],
    judgement: Input[Artifact],
    champion: str,
    state: str,
    run_id: str,
) -> Promoted:
    """Moves the champion's ref to the challenger by compare-and-swap, with the reason in the ref's own history.

    Args:
        release: The challenger's release.
        judgement: The judgement that allows it; its reason goes into the history.
        champion: Name of the ref.
        state: The ref's state when the retraining began. If it has moved since, the challenger was compared with a
            release that is no longer the champion, and nothing is promoted.
        run_id: Id of this run, by which a retry finds that it has already promoted.

    Returns:
        outcome: promoted, already (it is the champion) or overtaken. release: the champion now. message: in words.
    """
    from components.core.artifacts.manifest import read_document, read_manifest
    from components.core.store import store_from_environment
    from components.promote.swap import promote_challenger

    store = store_from_environment()
    facts = read_manifest(release.path, kind="release").metadata
    judged = read_document(read_manifest(judgement.path, kind="judgement"), "judgement.json", store)
    name, version = str(facts.get("name", "")), str(facts.get("version", ""))
    swap = promote_challenger(store, name, version, judged, ref=champion, state=state, run_id=run_id)
    print(swap.message)
    return Promoted(outcome=swap.outcome, release=swap.release, message=swap.message)
