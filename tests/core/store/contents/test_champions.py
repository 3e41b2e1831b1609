from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from components.core.errors import UserError
from components.core.store import Damaged, RefConflict, Store
from components.core.store.backends.objects import Objects


@pytest.fixture
def releases(store: Store) -> Store:
    """The releases model/1 to model/4, each of two files."""
    for version in "1234":
        store.releases.publish("model", version, {"model.onnx": version.encode(), "card.md": b"# card"})
    return store


def promote(store: Store, version: str, **how: str | None) -> str:
    """Promotes model/`version`, and returns the new state."""
    return store.champions.promote("model", version, **{"who": "ann", "why": "better", **how}).state  # type: ignore[arg-type]


def champion_of(store: Store) -> str:
    champion = store.champions.read()
    assert champion is not None
    return champion.step.release


def test_there_is_no_champion_before_the_first_promotion(store: Store) -> None:
    assert store.champions.read() is None


def test_each_step_says_who_when_and_why_and_none_is_lost(releases: Store, another_store: Store) -> None:
    promote(releases, "1", who="ann", why="the first")
    promote(another_store, "2", who="bob", why="1.2 points  better\n", run="night-7")
    champion = releases.champions.read()
    assert champion is not None
    steps = [(s.action, s.release, s.who, s.why, s.run) for s in champion.history]
    assert steps == [
        ("promoted", "model/1", "ann", "the first", ""),
        ("promoted", "model/2", "bob", "1.2 points better", "night-7"),
    ]
    assert all(step.when.startswith("20") and step.when.endswith("+00:00") for step in champion.history)


def test_another_ref_has_a_champion_of_its_own(releases: Store) -> None:
    promote(releases, "1")
    promote(releases, "2", ref="flowers/champion")
    assert champion_of(releases) == "model/1"


def test_whoever_compared_with_an_older_champion_does_not_overwrite_a_newer_one(releases: Store) -> None:
    seen = promote(releases, "1")
    promote(releases, "2", state=seen)
    with pytest.raises(RefConflict):
        promote(releases, "3", state=seen)
    with pytest.raises(RefConflict):
        promote(releases, "3", state="")
    assert champion_of(releases) == "model/2"


def test_of_many_who_promote_from_one_state_one_wins_and_the_others_are_told(releases: Store) -> None:
    seen = promote(releases, "1")

    def try_it(version: str) -> str | None:
        try:
            promote(releases, version, state=seen, who=f"writer of {version}")
        except RefConflict:
            return None
        return version

    with ThreadPoolExecutor(3) as pool:
        won = [version for version in pool.map(try_it, "234") if version]
    champion = releases.champions.read()
    assert champion is not None
    assert [f"model/{version}" for version in won] == [champion.step.release]
    assert len(champion.history) == 2


def test_a_retry_of_the_run_that_promoted_finds_its_own_step(releases: Store) -> None:
    seen = promote(releases, "1")
    first = promote(releases, "2", state=seen, run="night-7")
    assert promote(releases, "2", state=seen, run="night-7") == first
    with pytest.raises(RefConflict):
        promote(releases, "2", state=seen, run="night-8")


def test_promoting_the_champion_again_adds_no_step(releases: Store) -> None:
    assert promote(releases, "1") == promote(releases, "1", why="again")


def test_a_rollback_goes_back_one_and_a_second_one_further(releases: Store) -> None:
    for version in "123":
        promote(releases, version)
    releases.champions.roll_back(who="bob", why="complaints")
    assert champion_of(releases) == "model/2"
    releases.champions.roll_back(who="bob", why="still complaints")
    assert champion_of(releases) == "model/1"
    with pytest.raises(UserError, match="is the first champion"):
        releases.champions.roll_back(who="bob", why="and again")
    promote(releases, "4")
    champion = releases.champions.roll_back(who="bob", why="once more")
    assert champion.step.release == "model/1"
    assert [step.action for step in champion.history] == ["promoted"] * 3 + ["rolled back"] * 2 + [
        "promoted",
        "rolled back",
    ]


def test_a_rollback_to_a_named_release_takes_earlier_champions_only(releases: Store) -> None:
    for version in "123":
        promote(releases, version)
    with pytest.raises(UserError, match=r"model/4 was not champion.*model/1, model/2"):
        releases.champions.roll_back(who="bob", why="x", to="model/4")
    assert releases.champions.roll_back(who="bob", why="x", to="model/1").line == ["model/1"]


@pytest.mark.parametrize("harm", ["changed", "removed", "no marker"])
def test_a_release_that_is_not_whole_never_becomes_champion(releases: Store, objects: Objects, harm: str) -> None:
    promote(releases, "1")
    if harm == "changed":
        objects.put("releases/model/2/model.onnx", b"3")
    else:
        objects.delete(f"releases/model/2/{'card.md' if harm == 'removed' else 'release.json'}")
    with pytest.raises(UserError, match="model/2 is not a complete release"):
        promote(releases, "2")
    assert champion_of(releases) == "model/1"


def test_a_rollback_to_a_release_that_was_damaged_since_is_refused(releases: Store, objects: Objects) -> None:
    promote(releases, "1")
    promote(releases, "2")
    objects.put("releases/model/1/model.onnx", b"?")
    with pytest.raises(UserError, match="model/1 is not a complete release"):
        releases.champions.roll_back(who="bob", why="x")
    assert champion_of(releases) == "model/2"


@pytest.mark.parametrize("field", ["who", "why"])
def test_a_step_without_a_name_or_a_reason_is_refused(releases: Store, field: str) -> None:
    with pytest.raises(UserError, match=f"{field} must not be empty"):
        promote(releases, "1", **{field: " "})


def test_a_ref_that_is_no_champions_is_called_damaged(store: Store) -> None:
    store.refs.move("champion", {"version": "1"}, expected=None)
    with pytest.raises(Damaged, match="no champion"):
        store.champions.read()
