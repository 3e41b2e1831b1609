"""A year of weekly retraining: what the champion's history is, and what the store has grown by."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest
from kfp import dsl
from simulated_year import MARGINS, Pending, Week, Year, weekly_labels

from components.core.store import open_store
from components.core.store.contents.champions import Champion
from components.promote.component import promote

pytestmark = pytest.mark.e2e

WEEKS, FIRST, EACH = 52, 300, 24
BAD_TRAINING, KILLED, RACED, SHIFTED, CORRUPTED = 9, 16, 24, 28, 39

# By hand, from the policy: 24 images a week, and a quarter of the champion's data is reason enough. 300 → week 4 (96);
# 396 → week 9 (120), where the training fails and the champion stays, so week 10 (144) does it; 540 → week 16 (144);
# 684 → week 24 (192); 876 → week 28 (120, for 48 arrive), long before it would have grown enough, for its labels have
# shifted; 996 → week 39 (264), but what arrives then is broken, so week 40 (288), when it has been mended; 1,284 → not
# this year.
RETRAINED = {
    4: "grown by",
    9: "grown by",
    10: "grown by",
    16: "grown by",
    24: "grown by",
    28: "labels by",
    40: "grown by",
}
PROMOTED = [4, 10, 16, 24, 28, 40]

KILLED_IN_THE_SWAP = """
import os, signal, sys
from components.core.store.backends import local_objects
from components.promote.component import promote
from kfp import dsl
place = local_objects.LocalObjects._place
def dies(self, spooled, path, key, **condition):
    if key.startswith("refs/"):
        {moment}
        os.kill(os.getpid(), signal.SIGKILL)
    place(self, spooled, path, key, **condition)
local_objects.LocalObjects._place = dies
release, judgement, state, run_id = sys.argv[1:]
promote.python_func(release=dsl.Model(uri=release), judgement=dsl.Artifact(uri=judgement), champion="champion",
                    state=state, run_id=run_id)
"""


@dataclass
class Simulated:
    """The year as it went: each week's result, and the champion before, between and after the killed promotions."""

    year: Year
    weeks: dict[int, Week]
    outcomes: dict[int, str]
    around_the_kill: list[Champion]
    race: list[str]


def swap(pending: Pending) -> str:
    done = promote.python_func(
        release=dsl.Model(uri=str(pending.release)),
        judgement=dsl.Artifact(uri=str(pending.judgement)),
        champion="champion",
        state=pending.state,
        run_id=pending.run_id,
    )
    return done.outcome


def killed_swap(pending: Pending, moment: str) -> None:
    """The promotion in a process of its own, killed before or after the ref is in its place."""
    script = KILLED_IN_THE_SWAP.format(moment=moment)
    arguments = [str(pending.release), str(pending.judgement), pending.state, pending.run_id]
    done = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, timeout=120)
    assert done.returncode == -9, done.stderr


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulated]:
    folder = tmp_path_factory.mktemp("year")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRIMTAB_STORE", str(folder / "store"))
        patch.setenv("TRIMTAB_CACHE", str(folder / "cache"))
        year = Year(folder=folder, store=open_store(str(folder / "store")))
        year.deliver(0, list(weekly_labels(FIRST)))
        year.first_champion()
        done = Simulated(year=year, weeks={}, outcomes={}, around_the_kill=[], race=[])
        for week in range(1, WEEKS + 1):
            _live(done, week)
        yield done


def _live(done: Simulated, week: int) -> None:
    year = done.year
    labels = ["red"] * (2 * EACH) if week == SHIFTED else list(weekly_labels(EACH))
    arrived = year.deliver(week, labels, broken=week == CORRUPTED)
    if week == CORRUPTED + 1:
        arrived += year.deliver(CORRUPTED, list(weekly_labels(EACH)))
    result, pending = year.run(week, bad_training=week == BAD_TRAINING)
    result.new_bytes = arrived
    done.weeks[week] = result
    if pending is None:
        return
    if week == KILLED:
        done.around_the_kill.append(_champion(year))
        killed_swap(pending, "pass")
        done.around_the_kill.append(_champion(year))
        killed_swap(pending, "place(self, spooled, path, key, **condition)")
        done.around_the_kill.append(_champion(year))
    done.outcomes[week] = swap(pending)
    if week == KILLED:
        done.around_the_kill.append(_champion(year))
    if week == RACED:
        # Of another run that began when this one did, and has just been as far.
        done.race = [done.outcomes[week], swap(replace(pending, run_id="the other"))]


def _champion(year: Year) -> Champion:
    champion = year.store.champions.read()
    assert champion is not None
    return champion


def test_the_policy_retrains_in_exactly_these_weeks_for_these_reasons(simulated):
    retrained = {week: done.reason for week, done in simulated.weeks.items() if done.action != "skip"}
    assert list(retrained) == list(RETRAINED), retrained
    for week, reason in RETRAINED.items():
        assert reason in retrained[week]
        assert simulated.weeks[week].action == "fine-tune"


def test_the_champions_history_is_what_the_policy_says(simulated):
    history = _champion(simulated.year).history
    assert [step.run for step in history] == ["", *(f"{week:02d}" for week in PROMOTED)]
    assert all(step.action == "promoted" for step in history)
    assert [step.who for step in history] == ["ann", *["trimtab retrain"] * len(PROMOTED)]
    for step, week in zip(history[1:], PROMOTED, strict=True):
        assert simulated.weeks[week].reason in step.why
    assert simulated.outcomes == dict.fromkeys(PROMOTED, "promoted")


def test_a_training_that_went_wrong_is_not_promoted(simulated):
    week = simulated.weeks[BAD_TRAINING]
    assert (week.action, week.verdict) == ("fine-tune", "keep")


def test_in_the_corrupted_week_nothing_is_trained_and_a_person_is_called(simulated):
    week = simulated.weeks[CORRUPTED]
    assert (week.action, week.attention) == ("skip", True)
    assert "cannot be used" in week.reason
    assert [number for number, one in simulated.weeks.items() if one.attention] == [CORRUPTED]


def test_a_promotion_killed_in_the_swap_has_moved_all_or_nothing_and_goes_on_as_itself(simulated):
    before, killed_before, killed_after, resumed = simulated.around_the_kill
    assert killed_before == before
    assert killed_after.step.run == f"{KILLED:02d}"
    assert len(killed_after.history) == len(before.history) + 1
    assert resumed == killed_after


def test_of_two_retrainings_at_once_one_wins_and_the_other_is_told(simulated):
    assert simulated.race == ["promoted", "overtaken"]


def test_every_release_that_was_champion_is_still_whole(simulated):
    champions = simulated.year.store.champions
    for step in _champion(simulated.year).history:
        champions.check_whole(step.name, step.version)


def test_each_challenger_was_held_to_champion_anchor_and_the_first_release_of_the_year(simulated):
    history = _champion(simulated.year).history
    for number, week in enumerate(PROMOTED):
        judged = simulated.weeks[week].judgement
        champion, first = history[number].release, history[0].release
        assert "{name}/{version}".format(**judged["champion"]) == champion
        shown = {part: one for one in judged["anchors"] for part in one["title"].split(" and the ")}
        titles = list(shown)
        assert [title[:16] for title in titles] == ["best proven rele", "first release of"]
        assert shown[titles[1]]["release"] == first
        # What all of the year's promotions add up to so far, and that it is no more than the margin.
        assert shown[titles[1]]["low"] >= -MARGINS["max_loss"]
        held = [check["check"] for check in judged["checks"] if check["unit"] == "points" and ", " in check["check"]]
        assert held == [f"{one['title']}, {one['release']}" for one in judged["anchors"] if one["release"] != champion]
        card = simulated.year.store.releases.read(history[number + 1].name, history[number + 1].version, "card.md")
        assert f"{titles[1]}, {first}: " in card.decode() or first == champion


def test_the_store_grows_by_what_is_new_only(simulated):
    grown = {week: done.grown_bytes / done.new_bytes for week, done in simulated.weeks.items()}
    quiet = {week for week, done in simulated.weeks.items() if done.action == "skip"} - {CORRUPTED}
    # Beside its images a quiet week writes the headers and footers of three small Parquet files, drift.json,
    # retraining.json, and three more entries in the ref of the last data set. Measured on 2026-11-29: at most 1.46.
    assert max(grown[week] for week in quiet) < 2, grown
    # Its data set, written whole each week, would come to more than ten times what arrived. A week with a contest also
    # writes up to four evaluations (against the baseline, the champion and both anchors), the first of them mostly the
    # 24 images that it shows, and a release, once as plain files and once as an artifact. Measured on 2026-11-30: 2.18
    # times what arrived; an image that is written twice, in its shard or in an evaluation, breaks the bound.
    whole = sum(done.new_bytes for done in simulated.weeks.values())
    assert sum(done.grown_bytes for done in simulated.weeks.values()) < 2.4 * whole
