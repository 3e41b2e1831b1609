"""`trimtab track`."""

import os

from rich.console import Console
from rich.text import Text

from components.core.errors import UserError
from components.core.parameters import near
from components.core.store import Store
from pipelines.cli.opening import existing_store
from pipelines.overview.contents import read_run
from pipelines.tracking.mlflow_server import record, server_at
from pipelines.tracking.recorded import recorded_of

URI_VARIABLE = "MLFLOW_TRACKING_URI"


def track(run: str, *, uri: str, experiment: str, store: str) -> None:
    """Records a finished run of the store in an MLflow server, and prints where."""
    address = uri or os.environ.get(URI_VARIABLE, "")
    if not address:
        raise UserError(f"give the address of an MLflow server: --uri http://HOST:5000, or ${URI_VARIABLE}")
    server = server_at(address)
    with existing_store(store) as objects:
        opened = Store(objects)
        known = opened.journal.runs()
        if run not in known:
            raise UserError(f"the store at {opened.uri} has no run {run!r}{near(run, known)} (see: trimtab report)")
        recorded = recorded_of(read_run(opened, run), opened)
    entry = record(recorded, server, experiment=experiment or recorded.pipeline or "trimtab")
    console = Console(highlight=False, soft_wrap=True)
    if entry.known:
        console.print(Text(f"{run} is recorded already: {entry.uri}"))
        return
    release = recorded.tags.get("trimtab.release", "no release")
    told = f"{len(recorded.parameters)} parameters, {len(recorded.metrics)} metrics, {release}"
    console.print(Text(f"{run} recorded: {entry.uri}\n{told}"))
