from concurrent.futures import ThreadPoolExecutor

import pytest

from components.core.errors import UserError
from components.core.store import Store, open_store
from components.promote.swap import Swap, promote_challenger

JUDGED = {"promote": True, "reason": "Not worse.", "retraining": {"reason": "Grown."}}


@pytest.fixture
def store(tmp_path) -> Store:
    """Releases m/1 to m/3, of which m/1 is the champion."""
    found = open_store(str(tmp_path / "store"))
    for version in "123":
        found.releases.publish("m", version, {"model.onnx": version.encode()})
    found.champions.promote("m", "1", who="ann", why="the first")
    return found


def state_of(store: Store) -> str:
    champion = store.champions.read()
    assert champion is not None
    return champion.state


def swap(store: Store, version: str, *, state: str, run: str = "r", **judged) -> Swap:
    return promote_challenger(store, "m", version, {**JUDGED, **judged}, ref="champion", state=state, run_id=run)


def test_a_promotion_leaves_its_reason_and_its_run_in_the_history(store):
    done = swap(store, "2", state=state_of(store), run="week-7")
    step = store.champions.read().step
    assert (done.outcome, done.release) == ("promoted", "m/2")
    assert (step.release, step.who, step.why, step.run) == ("m/2", "trimtab retrain", "Grown. Not worse.", "week-7")


def test_whoever_was_compared_with_an_older_champion_is_not_promoted(store):
    seen = state_of(store)
    store.champions.promote("m", "3", who="bob", why="by hand")
    done = swap(store, "2", state=seen)
    assert (done.outcome, done.release) == ("overtaken", "m/3")
    assert "moved to m/3, promoted by bob" in done.message
    assert [step.release for step in store.champions.read().history] == ["m/1", "m/3"]


def test_of_two_retrains_at_once_one_wins_and_the_other_says_by_whom(store):
    seen = state_of(store)
    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(lambda version: swap(store, version, state=seen, run=f"run-{version}"), "23"))
    assert sorted(one.outcome for one in done) == ["overtaken", "promoted"]
    won = next(one for one in done if one.outcome == "promoted")
    lost = next(one for one in done if one.outcome == "overtaken")
    assert store.champions.read().step.release == won.release == lost.release
    assert f"moved to {won.release}, promoted by trimtab retrain" in lost.message
    assert len(store.champions.read().history) == 2


def test_a_retry_after_the_swap_finds_its_own_step_and_adds_none(store):
    seen = state_of(store)
    assert swap(store, "2", state=seen, run="week-7") == swap(store, "2", state=seen, run="week-7")
    assert len(store.champions.read().history) == 2


def test_the_same_bytes_as_the_champion_move_nothing(store):
    assert swap(store, "1", state=state_of(store)).outcome == "already"
    assert len(store.champions.read().history) == 1


def test_a_judgement_that_says_keep_is_not_overruled(store):
    with pytest.raises(UserError, match="m/2 may not be promoted"):
        swap(store, "2", state=state_of(store), promote=False)
    assert store.champions.read().step.release == "m/1"


@pytest.mark.parametrize("judged", [{"reason": 5}, {"retraining": None}, {"retraining": []}, {"retraining": {}}])
def test_a_judgement_without_a_reason_moves_nothing(store, judged):
    with pytest.raises(UserError, match="the judgement of m/2 gives no reason"):
        swap(store, "2", state=state_of(store), **judged)
    assert store.champions.read().step.release == "m/1"


def test_a_release_that_is_not_whole_leaves_the_champion(store, tmp_path):
    (tmp_path / "store" / "releases" / "m" / "2" / "model.onnx").write_bytes(b"?")
    with pytest.raises(UserError, match="not a complete release"):
        swap(store, "2", state=state_of(store))
    assert store.champions.read().step.release == "m/1"
