"""The journal of a run, read leniently: a report that fails would hide the failure it should tell of."""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from components.core.component_names import base_name
from components.core.report.dag import TaskBox
from components.core.report.recipe_names import recipe_names

_ITERATION = re.compile(r"(.*?/?\[[^\]]*\])(?:/|$)")


@dataclass(frozen=True, kw_only=True)
class Task:
    """One journal record. `lane` is the path of the innermost loop iteration around it, empty outside of loops."""

    path: str
    component: str
    status: str
    label: str = ""
    cached: bool = False
    started: float = 0.0
    seconds: float = 0.0
    depends_on: tuple[str, ...] = ()
    iteration: Any = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    output_parameters: Mapping[str, Any] = field(default_factory=dict)
    artifacts: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    error: str = ""
    log: str = ""

    @property
    def name(self) -> str:
        """The name that the pipeline shows, else the task's own; without the groups and the loop item around it."""
        return self.label.split(" [", 1)[0] or self.path.rsplit("/", 1)[-1]

    @property
    def lane(self) -> str:
        """The path up to its innermost loop iteration."""
        found = list(_ITERATION.finditer(self.path))
        return self.path[: found[-1].end(1)] if found else ""


def read_tasks(records: Sequence[Mapping[str, Any]]) -> list[Task]:
    """The tasks in the order of their starts; what a record lacks is empty."""
    return sorted((_task(record) for record in records), key=lambda task: (task.started, task.path))


def _task(record: Mapping[str, Any]) -> Task:
    component = str(record.get("component") or "").replace("-", "_")
    return Task(
        path=str(record.get("task") or "?"),
        # The compiler calls the second use of a component `comp-fine-tune-2`, and in a nested pipeline -2-2.
        component=base_name(re.sub(r"^(comp|exec)_", "", component), "_"),
        status=str(record.get("status") or "unknown").lower(),
        label=str(record.get("label") or ""),
        cached=bool(record.get("cached")),
        started=_number(record.get("started")),
        seconds=_number(record.get("seconds")),
        depends_on=tuple(str(other) for other in record.get("depends_on") or ()),
        iteration=record.get("iteration"),
        parameters=_mapping(record.get("parameters")),
        output_parameters=_mapping(record.get("output_parameters")),
        artifacts={
            str(name): [one for one in artifacts if isinstance(one, Mapping)]
            for name, artifacts in _mapping(record.get("output_artifacts")).items()
            if isinstance(artifacts, list)
        },
        error=str(record.get("error") or ""),
        log=str(record.get("log") or ""),
    )


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else 0.0


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def lane_names(tasks: Sequence[Task]) -> dict[str, str]:
    """For each loop iteration a name that people know: its recipe's, else its number. Each loop by itself."""
    items = {task.lane: task.iteration for task in tasks if task.lane}
    loops: defaultdict[str, list[str]] = defaultdict(list)
    for lane in items:
        loops[lane.rpartition("[")[0]].append(lane)
    names: dict[str, str] = {}
    for lanes in loops.values():
        found = (items[lane] for lane in lanes)
        recipes = [item if isinstance(item, Mapping) else {"name": item} if item else {} for item in found]
        names |= zip(lanes, recipe_names(recipes), strict=True)
    return {lane: names[lane] for lane in items}


def boxes(tasks: Sequence[Task]) -> list[TaskBox]:
    """The tasks for the pictures; a dependency on a group means all tasks in it."""
    lanes = lane_names(tasks)
    paths = [task.path for task in tasks]
    return [
        TaskBox(
            id=task.path,
            name=task.name,
            status=task.status,
            seconds=task.seconds,
            started=task.started,
            cached=task.cached,
            lane=lanes.get(task.lane, ""),
            depends_on=tuple(
                path for other in task.depends_on for path in paths if path == other or path.startswith(other + "/")
            ),
        )
        for task in tasks
    ]
