"""Schedules on a cluster, which KFP calls recurring runs. One name is one schedule: KFP itself would take it twice."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from components.core.errors import UserError
from pipelines.cluster.client import Client
from pipelines.cluster.sections import near
from pipelines.cluster.submission import Version, ensure_experiment

_PAGE = 100
MOST_CONCURRENCY = 10
"""KFP's own limit."""


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """A schedule. `cron` has six fields; `catch_up` starts every run that was missed, not only the last."""

    name: str
    cron: str
    experiment: str
    catch_up: bool = False
    max_concurrency: int = 1
    parameters: Mapping[str, Any] = field(default_factory=dict)
    service_account: str = ""


@dataclass(frozen=True, kw_only=True)
class Placed:
    """Outcome for a schedule: `created`, `replaced` or `unchanged`; whether it is paused."""

    identifier: str
    outcome: str
    paused: bool


def place(client: Client, version: Version, schedule: Schedule) -> Placed:
    """Makes the schedule, in place of what has its name. A schedule that was paused stays paused.

    The new one is made before the old one is deleted: whatever comes between, the next run is not missed, and the same
    command once more removes what was left over.

    Raises:
        ClusterError: the cluster fails or refuses.
    """
    experiment_id = ensure_experiment(client, schedule.experiment)
    olds = [one for one in list_schedules(client) if one.display_name == schedule.name]
    paused = bool(olds) and not any(is_enabled(one) for one in olds)
    same = [one for one in olds if _is_same(one, version, schedule, experiment_id) and is_enabled(one) is not paused]
    kept = same[0].recurring_run_id if same else _create(client, version, schedule, experiment_id, paused=paused)
    others = [one for one in olds if one.recurring_run_id != kept]
    for one in others:
        client.delete_recurring_run(one.recurring_run_id)
    outcome = "replaced" if others else "unchanged" if same else "created"
    return Placed(identifier=kept, outcome=outcome, paused=paused)


def list_schedules(client: Client) -> list[Any]:
    """All recurring runs of the namespace, newest first, whoever made them.

    Raises:
        ClusterError: the cluster fails or refuses.
    """
    return list(_pages(client))


def find_schedules(client: Client, name: str) -> list[Any]:
    """The schedules of this name, or with this id: one, unless somebody made another by hand.

    Raises:
        UserError: there is none; the nearest name is suggested.
        ClusterError: the cluster fails or refuses.
    """
    known = list_schedules(client)
    found = [one for one in known if name in (one.display_name, one.recurring_run_id)]
    if not found:
        names = sorted({one.display_name for one in known})
        listed = ", ".join(names) or "none"
        raise UserError(f"there is no schedule {name!r}{near(name, names)} (schedules: {listed})")
    return found


def is_enabled(recurring_run: Any) -> bool:
    """Whether it starts runs."""
    return str(recurring_run.status) == "ENABLED"


def cron_of(recurring_run: Any) -> str:
    """When it starts runs, as KFP has it."""
    trigger = recurring_run.trigger
    if trigger is not None and trigger.cron_schedule is not None:
        return str(trigger.cron_schedule.cron)
    if trigger is not None and trigger.periodic_schedule is not None:
        return f"every {trigger.periodic_schedule.interval_second} s"
    return ""


def _pages(client: Client) -> Iterator[Any]:
    token = ""
    while True:
        page = client.list_recurring_runs(
            page_token=token, page_size=_PAGE, sort_by="created_at desc", namespace=client.get_user_namespace() or None
        )
        yield from page.recurring_runs or ()
        token = page.next_page_token or ""
        if not token:
            return


def _is_same(one: Any, version: Version, schedule: Schedule, experiment_id: str) -> bool:
    reference, config = one.pipeline_version_reference, one.runtime_config
    return (
        cron_of(one) == schedule.cron
        and bool(one.no_catchup) is not schedule.catch_up
        and int(one.max_concurrency or 1) == schedule.max_concurrency
        and reference is not None
        and reference.pipeline_version_id == version.version_id
        and one.experiment_id == experiment_id
        and ((config.parameters if config else None) or {}) == dict(schedule.parameters)
        # KFP writes its default where none was given.
        and (not schedule.service_account or one.service_account == schedule.service_account)
    )


def _create(client: Client, version: Version, schedule: Schedule, experiment_id: str, *, paused: bool) -> str:
    made = client.create_recurring_run(
        experiment_id=experiment_id, job_name=schedule.name, cron_expression=schedule.cron,
        max_concurrency=schedule.max_concurrency, no_catchup=not schedule.catch_up, params=dict(schedule.parameters),
        pipeline_id=version.pipeline_id, version_id=version.version_id, enabled=not paused,
        service_account=schedule.service_account or None,
    )  # fmt: skip
    return str(made.recurring_run_id)
