"""`trimtab schedule`: making, listing, pausing, resuming and deleting schedules on a cluster."""

from collections.abc import Callable, Sequence

from pipelines.cli.submit_command import Submission, prepare, upload
from pipelines.cluster.client import Client, Endpoint, connect, ui_link
from pipelines.cluster.cron import parse_cron
from pipelines.cluster.schedules import Schedule, cron_of, find_schedules, is_enabled, list_schedules, place
from pipelines.runner.records.logs import printable


def place_schedule(
    submission: Submission, endpoint: Endpoint, *, name: str, cron: str, catch_up: bool, max_concurrency: int
) -> None:
    """Creates a schedule, replacing one of the same name, and prints the result."""
    when = parse_cron(cron)
    prepared = prepare(submission)
    client = connect(endpoint)
    if when.converted:
        print(f"KFP writes cron with seconds first: {cron!r} becomes {when.text!r}")
    version = upload(client, prepared)
    schedule = Schedule(
        name=name or prepared.package.name, cron=when.text, experiment=prepared.experiment, catch_up=catch_up,
        max_concurrency=max_concurrency, parameters=prepared.parameters, service_account=prepared.service_account,
    )  # fmt: skip
    placed = place(client, version, schedule)
    print(f"schedule {schedule.name} {placed.outcome}: {ui_link(client, 'recurringrun', placed.identifier)}")
    if placed.paused:
        print(f"it is still paused; to start it: trimtab schedule resume {schedule.name}")
    else:
        print("the times are those of KFP's controller: UTC, unless its CRON_SCHEDULE_TIMEZONE says otherwise")


def print_schedules(endpoint: Endpoint) -> None:
    """Prints one line per schedule of the namespace."""
    found = list_schedules(connect(endpoint))
    if not found:
        print("there are no schedules; make one with: trimtab schedule --cron '0 3 * * 1'")
        return
    rows: list[Sequence[str]] = [("NAME", "STATE", "CRON", "CATCH-UP", "AT ONCE", "CREATED", "ID")]
    for one in found:
        state, catch_up = ("enabled" if is_enabled(one) else "paused"), ("no" if one.no_catchup else "yes")
        created = f"{one.created_at:%Y-%m-%d %H:%M}" if one.created_at else ""
        rows.append(
            (
                one.display_name,
                state,
                cron_of(one),
                catch_up,
                str(one.max_concurrency or 1),
                created,
                one.recurring_run_id,
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(printable(cell).ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def pause_schedule(endpoint: Endpoint, name: str) -> None:
    """Pauses a schedule: no new runs until it is resumed; running ones continue."""
    _each(endpoint, name, "paused", lambda client, identifier: client.disable_recurring_run(identifier))


def resume_schedule(endpoint: Endpoint, name: str) -> None:
    """Resumes a paused schedule."""
    _each(endpoint, name, "resumed", lambda client, identifier: client.enable_recurring_run(identifier))


def delete_schedule(endpoint: Endpoint, name: str) -> None:
    """Deletes a schedule and keeps its runs."""
    _each(endpoint, name, "deleted", lambda client, identifier: client.delete_recurring_run(identifier))


def _each(endpoint: Endpoint, name: str, word: str, work: Callable[[Client, str], object]) -> None:
    client = connect(endpoint)
    for one in find_schedules(client, name):
        work(client, one.recurring_run_id)
        print(printable(f"schedule {one.display_name} {word} ({one.recurring_run_id})"))
