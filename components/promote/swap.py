"""The compare-and-swap of the champion, and the message when another promotion won."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from components.core.errors import UserError
from components.core.store import RefConflict

if TYPE_CHECKING:
    from components.core.store import Store

WHO = "trimtab retrain"
PROMOTED, ALREADY, OVERTAKEN = "promoted", "already", "overtaken"


@dataclass(frozen=True, kw_only=True)
class Swap:
    """`outcome`, the champion afterwards as `name/version`, and a sentence."""

    outcome: str
    release: str
    message: str


def promote_challenger(
    store: "Store", name: str, version: str, judgement: Mapping[str, Any], *, ref: str, state: str, run_id: str
) -> Swap:
    """Atomic: the challenger is champion, with its reason, or nothing has changed.

    To be overtaken is no failure: the other one was judged as well. It is an outcome, and the report says so.

    Args:
        store: holds the release and the ref.
        name: of the challenger's release.
        version: of the challenger's release.
        judgement: judgement.json; it must allow the promotion.
        ref: the champion's.
        state: of the ref when the challenger's retraining began.
        run_id: for the history, and to know our own step again.

    Raises:
        UserError: the judgement does not allow it, or the release is not whole.
    """
    if judgement.get("promote") is not True:
        raise UserError(f"{name}/{version} may not be promoted: {judgement.get('reason')}")
    grown, proven = judgement.get("retraining"), judgement.get("reason")
    if not isinstance(grown, dict) or not isinstance(grown.get("reason"), str) or not isinstance(proven, str):
        raise UserError(f"the judgement of {name}/{version} gives no reason; judge the challenger again")
    before = store.champions.read(ref)
    challenger = f"{name}/{version}"
    try:
        now = store.champions.promote(
            name,
            version,
            who=WHO,
            why=f"{grown['reason']} {proven}",
            ref=ref,
            state=state,
            run=run_id,
        )
    except RefConflict:
        found = store.champions.read(ref)
        other = found.step if found else None
        said = f"{other.release}, promoted by {other.who} at {other.when}" if other else "another"
        message = (
            f"{challenger} is not promoted: since this retraining began, the champion has moved to {said}; "
            "the challenger was not compared with it"
        )
        return Swap(outcome=OVERTAKEN, release=other.release if other else "", message=message)
    if before is not None and now.state == before.state and now.step.run != run_id:
        return Swap(outcome=ALREADY, release=challenger, message=f"{challenger} is the champion already")
    return Swap(outcome=PROMOTED, release=challenger, message=f"{challenger} is the champion now")
