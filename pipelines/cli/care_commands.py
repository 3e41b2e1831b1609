"""Commands that look after the store: `trimtab report | gc | lineage`, and `trimtab store ls | cat | get | verify`."""

from pathlib import Path
from typing import Annotated

import typer

_STORE = typer.Option(help="Folder or s3://bucket/prefix [default: as for run].")


def report(
    output: Annotated[
        Path, typer.Option(metavar="FOLDER", help="Where index.html and runs/RUN.html are written.")
    ] = Path("trimtab-report"),
    store: Annotated[str, _STORE] = "",
) -> None:
    """Write one page about all runs and releases of a store.

    It shows runs with status, duration and report, releases by accuracy, latency and size, the champion's history, and
    the drift of each retraining. Open index.html in a browser; the page needs no network.
    """
    from pipelines.cli.report_command import write_report

    write_report(store, output)


store_app = typer.Typer(no_args_is_help=True, help="Inspect and check the store.")


def gc(
    grace: Annotated[str, typer.Option(help="Keep everything written or used within this time: 36h, 7d, 2w.")] = "14d",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Delete nothing; print what would be deleted.")] = False,
    store: Annotated[str, _STORE] = "",
) -> None:
    """Delete what is no longer needed from the store.

    It keeps all refs and releases, with the data and the records of the runs that made them; every result, journal
    and checkpoint that was written or used within the grace period; and whatever the runs in this $TRIMTAB_HOME need.
    Runs in another $TRIMTAB_HOME may lose artifacts older than the grace period; resuming such a run makes them again.
    It is safe to run while a pipeline runs, if none of its tasks takes longer than the grace period.
    """
    from pipelines.cli.gc_command import collect_garbage

    collect_garbage(store, grace=grace, dry_run=dry_run)


def lineage(
    name: Annotated[
        str, typer.Argument(metavar="REF|RELEASE", help="A release as NAME/VERSION, or a ref such as champion.")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print the chain as JSON.")] = False,
    store: Annotated[str, _STORE] = "",
) -> None:
    """Trace a release back to its raw data.

    It verifies each link and reads every blob on the way, also the whole dataset, so it takes as long as reading the
    dataset. The exit code is 1 if a link is broken.
    """
    from pipelines.cli.lineage_command import show_lineage

    raise typer.Exit(show_lineage(name, store, as_json=as_json))


@store_app.command(name="ls")
def list_(
    prefix: Annotated[str, typer.Argument(help="A part of the store, such as releases/NAME.")] = "",
    store: Annotated[str, _STORE] = "",
) -> None:
    """List the objects under a prefix. Without a prefix, count the objects in each area."""
    from pipelines.cli.store_commands import list_objects

    list_objects(prefix, store)


@store_app.command()
def cat(
    name: Annotated[str, typer.Argument(metavar="KEY|DIGEST", help="An object's key, or a blob's digest.")],
    store: Annotated[str, _STORE] = "",
) -> None:
    """Write an object to standard output. A blob is written only if its checksum matches."""
    from pipelines.cli.store_commands import print_object

    print_object(name, store)


@store_app.command()
def get(
    name: Annotated[
        str, typer.Argument(metavar="DIGEST|RELEASE", help="A blob's digest; a release as NAME/VERSION, or a ref.")
    ],
    destination: Annotated[
        Path, typer.Argument(metavar="DEST", help="File to create; for a release, folder to create.")
    ],
    store: Annotated[str, _STORE] = "",
) -> None:
    """Download a blob or a release, verified. Nothing is left behind if it fails."""
    from pipelines.cli.store_commands import get

    get(name, destination, store)


@store_app.command()
def verify(
    quarantine: Annotated[
        bool, typer.Option("--quarantine", help="Move damaged blobs and records aside; later runs make them again.")
    ] = False,
    store: Annotated[str, _STORE] = "",
) -> None:
    """Read every blob, release and record. The exit code is 1 if something is damaged or missing."""
    from pipelines.cli.store_commands import verify_store

    raise typer.Exit(verify_store(store, quarantine=quarantine))
