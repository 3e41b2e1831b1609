"""`trimtab gc`."""

import re
import sys
import time

from components.core.errors import UserError
from components.core.store.backends.objects import Listed
from components.core.store.care.garbage import Collected, collect
from pipelines.cli.opening import existing_store, size_text
from pipelines.runner.records.blobs_in_use import manifests_of_runs
from pipelines.runner.records.logs import printable
from pipelines.runner.run import home_folder

SHORT_SECONDS = 86400.0
"""A grace period below this may be shorter than a task."""

_UNITS = {"m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}


def collect_garbage(store: str, *, grace: str, dry_run: bool) -> None:
    """Deletes unreferenced objects, or lists what it would delete."""
    seconds = seconds_from(grace)
    with existing_store(store) as objects:
        if seconds < SHORT_SECONDS and not dry_run:
            print(
                f"warning: a grace period of {grace} does not protect runs that take longer; make sure that no run is "
                "writing to this store",
                file=sys.stderr,
            )
        collected = collect(objects, grace_seconds=seconds, roots=manifests_of_runs(home_folder()), dry_run=dry_run)
    if dry_run:
        for listed in sorted((one for kind in collected.deleted.values() for one in kind), key=lambda one: one.key):
            print(_line(listed))
    _summarize(collected, "would delete" if dry_run else "deleted")


def seconds_from(grace: str) -> float:
    """`7d`, `36h`, `30m` or `2w` in seconds; UserError for anything else."""
    match = re.fullmatch(r"(\d{1,6}(?:\.\d{1,3})?)([mhdw])", grace.strip())
    if match is None:
        raise UserError(f"--grace must be a number with a unit (30m, 36h, 7d, 2w), got {grace!r}")
    return float(match[1]) * _UNITS[match[2]]


def _line(listed: Listed) -> str:
    days = (time.time() - listed.modified) / 86400
    return f"{printable(listed.key)}  {size_text(listed.size)}, {days:.0f} days old"


def _summarize(collected: Collected, verb: str) -> None:
    parts = [
        f"{len(listed):,} {kind} ({size_text(sum(one.size for one in listed))})"
        for kind, listed in collected.deleted.items()
    ]
    print(f"{verb} {', '.join(parts)}")
    print(f"{collected.kept_blobs:,} blobs ({size_text(collected.kept_bytes)}) kept: still needed, or too recent")
