"""The stages between the rungs, on artifacts in a real store and with a clock that the test sets."""

import json
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "choose"))
from test_choose_component import Metrics, measured

from components.choose.component import choose
from components.core.artifacts.manifest import publish, read_file, read_manifest
from components.core.errors import UserError
from components.core.evaluation.document import encode_evaluation
from components.core.pruning.students import Student
from components.core.recipe import CONTROL, Recipe
from components.core.store import open_store
from components.core.time_box import Contender, Costs, plan_time
from components.halve.component import halve
from components.halve.race import costs_now
from components.pace.component import pace
from components.pick.component import pick
from components.plan import planning
from components.plan.candidates import candidates, smaller_sides
from components.plan.measuring import Speed, costs_of

COSTS = Costs(head=5, epoch=20, teacher=6, handling=30, evaluation=8, release=15, lanes=2, single=1.6)
RECIPES = [
    {"name": "100% MACs", "distill_epochs": 1},
    {"name": "70% MACs", "macs_fraction": 0.7, "distill_epochs": 1},
    {"name": "35% MACs", "macs_fraction": 0.35, "distill_epochs": 1},
]
FIRST = [
    measured(top1=0.899, latency=6.0, size=3_000_000, macs=1000),
    measured(top1=0.895, latency=4.0, size=2_000_000, macs=700),
    measured(top1=0.700, latency=6.5, size=3_100_000, macs=350),
]
SECOND = [measured(top1=0.902, latency=4.0, size=2_000_000, macs=700)]
BEGAN = 1_000_000.0
CONTENDERS = [Contender(work=one) for one in (1.0, 0.7, 0.35)]


class Race:
    """Students of a rung as artifacts, and the stages on them."""

    def __init__(self, folder, store, monkeypatch):
        self.folder, self.store, self.monkeypatch = folder, store, monkeypatch
        self.recipes, self.control = RECIPES, "There is no control."

    def out(self, name):
        return SimpleNamespace(path=str(self.folder / name), metadata={})

    @property
    def curves(self):
        return [SimpleNamespace(metadata={"epoch_seconds": one}) for one in (40.0, 30.0, 20.0)]

    def students(self, rung, evaluations):
        contents = {
            "candidates": ("onnx", "model.onnx", [f"onnx {rung} {n}".encode() for n in range(len(evaluations))]),
            "models": ("model", "weights.safetensors", [f"net {rung} {n}".encode() for n in range(len(evaluations))]),
            "evaluations": ("evaluation", "evaluation.json", [encode_evaluation(one) for one in evaluations]),
        }
        made = {}
        for name, (kind, file, all_bytes) in contents.items():
            made[name] = [self.out(f"{rung}-{kind}-{number}") for number in range(len(all_bytes))]
            for place, content in zip(made[name], all_bytes, strict=True):
                publish(place.path, kind=kind, files={file: content}, metadata={"rung": rung}, store=self.store)
        return made

    def halved(self, *, at, minutes=20.0, **limits):
        """The first rung, measured `at` seconds after the plan was made."""
        time_plan = {**vars(plan_time(60 * minutes - 60, COSTS, CONTENDERS)), "first": 600.0}
        plan = {
            "steps": [{"name": "teacher", "planned": 50.0, "real": 60.0}],
            "minutes": minutes, "began": BEGAN, "made": BEGAN + 60, "costs": COSTS.to_json(),
            "time": time_plan,
            "contenders": {one["name"]: vars(other) for one, other in zip(RECIPES, CONTENDERS, strict=True)},
            "control": self.control,
        }  # fmt: skip
        self.monkeypatch.setattr(time, "time", lambda: BEGAN + 60 + at)
        rung = self.out("rung")
        found = halve.python_func(
            **self.students("first", FIRST), curves=self.curves, recipes=self.recipes, rung=rung, plan=plan,
            deadline=BEGAN + 60 * minutes, **limits,
        )  # fmt: skip
        return rung, found.finalists

    def chosen(self, rung, finalists, evaluations, *, at, **limits):
        self.monkeypatch.setattr(time, "time", lambda: BEGAN + 60 + at)
        given = {name: self.out(name) for name in ("chosen", "chosen_model", "decision", "page")}
        choose.python_func(
            **self.students("second", evaluations), recipes=finalists, rung=rung, metrics=Metrics(), **given, **limits
        )
        decision = read_manifest(given["decision"].path, kind="decision")
        return given, json.loads(read_file(decision, "decision.json", self.store))


@pytest.fixture
def race(tmp_path, monkeypatch):
    monkeypatch.setenv("TRIMTAB_STORE", str(tmp_path / "store"))
    return Race(tmp_path, open_store(str(tmp_path / "store")), monkeypatch)


def test_the_best_goes_on_from_the_network_that_the_first_rung_left(race):
    rung, finalists = race.halved(at=600, max_drop=1.0)
    assert [one["name"] for one in finalists] == ["70% MACs, trained on", "100% MACs, trained on"]
    assert [one["student"] for one in finalists] == [1, 0]
    assert all(one["distill_epochs"] >= 2 for one in finalists)
    picked = race.out("picked")
    pick.python_func(rung=rung, picked=picked, recipe=finalists[0])
    assert read_manifest(picked.path).digest == read_manifest(race.folder / "first-model-1").digest


def test_the_choice_is_among_both_rungs_and_tells_of_time_and_of_who_was_stopped(race):
    rung, finalists = race.halved(at=600, max_drop=1.0)
    given, decision = race.chosen(rung, finalists[:1], SECOND, at=900, max_drop=1.0)
    assert [one["name"] for one in decision["recipes"]] == ["70% MACs, trained on", *(one["name"] for one in RECIPES)]
    assert decision["recipes"][decision["chosen"]]["name"] == "70% MACs, trained on"
    told = decision["race"]
    assert told["rungs"] == [2, 1, 1, 1]
    assert told["stopped"][:3] == ["", "", ""]
    assert told["stopped"][3].endswith("more accurate by more than both standard errors")
    real = {step["name"]: step["real"] for step in told["steps"]}
    assert real == {
        "teacher": 60.0, "first rung": 600, "second rung": 300, "test and release": None,
    }  # fmt: skip
    page = Path(given["page"].path).read_text()
    for text in ("Race", "trained to the end", "continued to the second rung", "stopped: ", "5 min 00 s"):
        assert text in page


@pytest.mark.parametrize(
    ("value", "said"),
    [(0.902, "It won: 70% MACs, trained on is released, since nothing that was made"), (0.85, "It did not win.")],
)
def test_the_report_says_whether_the_control_is_released(race, value, said):
    stock = {"name": "70% MACs", "macs_fraction": 1.0, "distill_epochs": 3, CONTROL: "lite0"}
    race.recipes, race.control = [RECIPES[0], stock, RECIPES[2]], "lite0 runs as the control."
    rung, finalists = race.halved(at=600, max_drop=1.0)
    assert [one.get(CONTROL) for one in finalists] == ["lite0", None]
    second = [measured(top1=value, latency=4.0, size=2_000_000, macs=700)]
    # Too slow for its limit, the control of the first rung cannot win.
    limits = {"max_drop": 0.3} if value < 0.9 else {"max_drop": 1.0}
    given, decision = race.chosen(rung, finalists[:1], second, at=900, **limits)
    assert decision["race"]["control"].startswith(f"lite0 runs as the control. {said}")
    assert "lite0 runs as the control." in Path(given["page"].path).read_text()


def test_a_second_rung_that_did_harm_does_not_win(race):
    rung, finalists = race.halved(at=600, max_drop=1.0)
    worse = [measured(top1=0.85, latency=4.0, size=2_000_000, macs=700)]
    given, decision = race.chosen(rung, finalists[:1], worse, at=900, max_drop=1.0)
    assert decision["recipes"][decision["chosen"]]["name"] == "70% MACs"
    assert read_manifest(given["chosen"].path).digest == read_manifest(race.folder / "first-onnx-1").digest
    assert read_manifest(given["chosen_model"].path).digest == read_manifest(race.folder / "first-model-1").digest


@pytest.mark.parametrize(("spent", "students"), [(45.0, 3), (400.0, 2)])
def test_when_the_teacher_took_longer_fewer_students_run(monkeypatch, spent, students):
    first = plan_time(600, COSTS, CONTENDERS)
    plan = {
        "made": BEGAN, "time": vars(first), "costs": COSTS.to_json(), "steps": [],
        "contenders": {one["name"]: vars(other) for one, other in zip(RECIPES, CONTENDERS, strict=True)},
    }  # fmt: skip
    monkeypatch.setattr(time, "time", lambda: BEGAN + spent)
    found = pace.python_func(recipes=RECIPES, plan=plan, deadline=BEGAN + 600)
    assert [one["name"] for one in found.recipes] == [one["name"] for one in RECIPES[:students]]
    (step,) = found.plan["steps"]
    assert (step["planned"], step["real"]) == (first.teacher, spent)
    assert found.plan["made"] == BEGAN + spent
    slower = min(max(spent / first.teacher, 0.5), 4.0)
    assert found.plan["costs"]["epoch"] == pytest.approx(20 * slower)


@pytest.mark.parametrize("at", [1141.0, 5000.0])
def test_after_the_deadline_one_goes_on_for_no_epoch(race, at):
    _, finalists = race.halved(at=at)
    assert [one["distill_epochs"] for one in finalists] == [0]


def linear(side, fractions):
    """Students that take a millisecond and have a megabyte at 64 pixels, whole."""
    part = ((side or 64) / 64) ** 2
    return [Student(latency_ms=max(one, 0.1) * part, size_bytes=int(1e6 * max(one, 0.1))) for one in fractions]


def names(**limits):
    given = {"max_latency_ms": None, "max_size_mb": None, **limits}
    base = Recipe(name="r", more={"k": 1})
    found = candidates(base, 64, smaller_sides(64), linear, backbone="b", **given)
    assert all(one.recipe.more == {"k": 1} for one in found)
    side = [one.recipe.student_size or 64 for one in found]
    assert [one.work for one in found] == [
        pytest.approx(one.recipe.macs_fraction * (at / 64) ** 2) for one, at in zip(found, side, strict=True)
    ]
    return [one.recipe.name for one in found]


def test_candidates_are_the_largest_of_each_size_within_the_limits():
    assert smaller_sides(64) == [0, 48, 40]
    assert smaller_sides(96) == [0, 72, 64]
    assert smaller_sides(32) == [0]
    assert names() == [
        "70% MACs", "70% MACs, 48 px", "70% MACs, 40 px", "50% MACs", "50% MACs, 48 px", "50% MACs, 40 px",
    ]  # fmt: skip
    # 0.93 of 0.4 ms: 35 % at 64 px, 50 % at 48 px (0.56 of the time), 70 % at 40 px (0.39).
    assert names(max_latency_ms=0.4) == [
        "35% MACs", "50% MACs, 48 px", "70% MACs, 40 px", "25% MACs", "35% MACs, 48 px", "50% MACs, 40 px",
    ]  # fmt: skip
    assert names(max_size_mb=0.3) == ["25% MACs", "25% MACs, 48 px", "25% MACs, 40 px"]


def test_a_limit_that_is_just_missed_is_tried_and_one_out_of_reach_refused():
    assert names(max_latency_ms=0.05) == ["25% MACs, 40 px"]
    with pytest.raises(UserError, match=r"max_latency_ms 0\.01 cannot be met: the smallest student of b .* 0\.0391 ms"):
        names(max_latency_ms=0.01)
    with pytest.raises(UserError, match=r"max_size_mb 0\.05 cannot be met: the smallest student of b .* has 0\.1 MB"):
        names(max_size_mb=0.05)


def test_a_time_box_that_is_too_short_is_refused_with_the_least_that_would_do(monkeypatch):
    speed = Speed(step=0.5, single=0.8, row=0.002, steps_per_epoch=40, threads=2)
    monkeypatch.setattr(planning, "measure_speed", lambda *given, **named: speed)
    dataset = SimpleNamespace(rows={"train": 2560, "validation": 500, "test": 500}.__getitem__)
    bundle = SimpleNamespace(architecture=SimpleNamespace(backbone="lite"))
    tried = candidates(Recipe(name="r"), 64, [0, 48], linear, backbone="lite", max_latency_ms=None, max_size_mb=None)

    def plan(minutes):
        return planning.plan_race(
            bundle, dataset, tried, deadline=BEGAN + 60 * minutes, minutes=minutes, batch_size=64, head_epochs=30,
            now=lambda: BEGAN + 30,
            control="There is no control.",
        )  # fmt: skip

    with pytest.raises(
        UserError, match=r"time_limit_minutes 1 is too short: .* and lite, the shortest plan takes (\S+) "
    ) as said:
        plan(1)
    least = float(str(said.value).split("the shortest plan takes ")[1].split()[0])
    found = plan(least)
    assert 2 <= len(found.recipes) <= 4
    assert {one.more["distill_epochs"] for one in found.recipes} == {found.time.first_epochs}
    assert found.to_json()["contenders"].keys() == {one.name for one in found.recipes}
    assert plan(60).time.epochs > found.time.epochs


@pytest.mark.parametrize(("on_one_core", "times"), [(0.7, 1.1 * 0.7 / 0.5), (0.3, 1.0), (2.0, 2.0)])
def test_a_student_is_planned_by_a_step_on_one_core_beside_others(on_one_core, times):
    """No faster than with all cores, and never slower than one student after the other."""
    speed = Speed(step=0.5, single=on_one_core, row=0.002, steps_per_epoch=40, threads=2)
    dataset = SimpleNamespace(rows={"train": 2560, "validation": 500, "test": 300}.__getitem__)
    costs = costs_of(speed, dataset, head_epochs=30)
    assert costs.single == pytest.approx(times)
    epoch, answers = 40 * 0.5 + 500 * 0.002, 2560 * 0.002
    assert costs.lesson(1.0) == pytest.approx(times * (epoch + answers))
    # Two trainings of the teacher, and three tasks of a student, each with a start of 3 s.
    assert costs.head == pytest.approx(2 * 3 + 1.2 * answers)
    assert costs.handling == pytest.approx(3 * 3 + times * (2600 + 2000 + 2 * 500) * 0.002)


def test_an_epoch_takes_what_it_took_and_where_that_is_not_known_what_the_rung_did():
    recipes = [Recipe.from_json(one) for one in RECIPES[:2]]
    plan = {
        "costs": COSTS.to_json(), "time": {"first": 100.0},
        "contenders": {one.name: vars(other) for one, other in zip(recipes, CONTENDERS, strict=False)},
    }  # fmt: skip
    costs, lessons = costs_now(recipes, plan, [25.0, None], spent=150.0)
    unknown = 1.5 * 1.6 * (6 + (0.25 + 0.75 * 0.7) * 20)
    assert lessons == [25.0, pytest.approx(unknown)]
    assert costs.rung(lessons, [1, 1]) == pytest.approx(150, rel=1e-3)
