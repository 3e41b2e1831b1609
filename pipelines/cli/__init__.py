"""The command line: `trimtab run | resume | runs | show | report | compile | submit | champion | store | gc | …`.

Every command's work is in a module of its own, imported when the command runs, so that `--help` stays fast. A user's
mistake is one line on stderr that starts with `error: `, and exit code 2; a pipeline that failed otherwise, a cluster
that does not do what is asked, or a defect of trimtab is 1; of a defect the last line says where to report it.
"""

import sys
import traceback
from pathlib import Path
from typing import Annotated

import typer

from components.core.errors import REPORT_TO, UserError
from pipelines.cli import care_commands, cluster_commands
from pipelines.cluster.errors import ClusterError
from pipelines.runner.records.logs import printable

app = typer.Typer(
    name="trimtab",
    help="Makes a pretrained network small and fast enough for your limits: labelled data and limits in, a verified "
    "ONNX release out. Start with: trimtab run",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

# Typer carries its own copy of click since 0.2x, and used the installed one before: take the class where it is.
_USAGE_ERROR: type[Exception] = next(c for c in typer.BadParameter.__mro__ if c.__name__ == "ClickException")

FAILED, MISTAKE = 1, 2


def main() -> None:
    """Entry point of the console script."""
    try:
        code = app(sys.argv[1:] or ["--help"], standalone_mode=False)
    except UserError as error:
        _leave(str(error))
    except ClusterError as error:
        _leave(str(error), FAILED)
    except _USAGE_ERROR as error:
        _leave(error.format_message())  # type: ignore[attr-defined]
    except (typer.Abort, KeyboardInterrupt):
        sys.exit(FAILED)
    except BrokenPipeError:
        # `trimtab show | head`: nobody reads on, which is no error. Keep the interpreter's own flush quiet.
        sys.stderr.close()
        sys.exit(FAILED)
    except Exception as error:  # noqa: BLE001  (whatever it is, it is no mistake of the user's)
        traceback.print_exc()
        _leave(
            f"trimtab itself failed ({type(error).__name__}); this is not your mistake. Please report it with the "
            f"lines above: {REPORT_TO}",
            FAILED,
        )
    sys.exit(code if isinstance(code, int) else 0)


def _leave(message: str, code: int = MISTAKE) -> None:
    if message:
        print(f"error: {printable(' '.join(message.split()))}", file=sys.stderr)
    sys.exit(code)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib import metadata

        print(f"trimtab {metadata.version('trimtab')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version and exit.", is_eager=True, callback=_print_version),
    ] = False,
) -> None:
    """Holds the options that belong to no command."""


@app.command()
def run(
    pipeline: Annotated[
        str, typer.Argument(help="A pipeline's name, or the path of any compiled KFP v2 YAML.")
    ] = "optimize",
    parameter: Annotated[
        list[str] | None,
        typer.Option(
            "-p",
            "--param",
            metavar="NAME=VALUE",
            help="Set a parameter of the pipeline, or an input artifact with NAME=@PATH-OR-URI; repeatable.",
        ),
    ] = None,
    store: Annotated[
        str, typer.Option(help="Folder or s3://bucket/prefix [default: $TRIMTAB_STORE, else trimtab-out/store].")
    ] = "",
    run_id: Annotated[str, typer.Option(help="Name of this run [default: pipeline, date and a random suffix].")] = "",
    json_file: Annotated[
        Path | None,
        typer.Option("--json", metavar="FILE", help="Write status, tasks and outputs to this file as JSON."),
    ] = None,
    no_cache: Annotated[bool, typer.Option("--no-cache", help="Run every task, even if its result is cached.")] = False,
    refresh: Annotated[
        list[str] | None,
        typer.Option(metavar="TASK", help="Run this task even if its result is cached; repeatable."),
    ] = None,
    runner: Annotated[
        str,
        typer.Option(
            metavar="process|container", help="Run each task as a process, or in its container image (podman, docker)."
        ),
    ] = "process",
    secret: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=PATH",
            help="File or folder that stands in for a Kubernetes secret or config map; repeatable.",
        ),
    ] = None,
    allow: Annotated[
        list[str] | None,
        typer.Option(
            metavar="network|host-network|store",
            help="With --runner container: let every task use the network, or write to the store; repeatable.",
        ),
    ] = None,
    allow_path: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FOLDER", help="With --runner container: importers may read files below this folder; repeatable."
        ),
    ] = None,
) -> None:
    """Run a pipeline on this machine. Without arguments it runs the embedded demo.

    For your own data and limits: trimtab run -p dataset=photos/ -p max_drop=1 -p max_latency_ms=5
    """
    from pipelines.cli.run_command import run_command, secrets_from
    from pipelines.runner.options import RunOptions

    options = RunOptions(
        use_cache=not no_cache, refresh=tuple(refresh or ()), engine=runner, secrets=secrets_from(secret or []),
        allow=frozenset(allow or ()), allow_paths=tuple(allow_path or ()),
    )  # fmt: skip
    code = run_command(pipeline, parameter or [], store=store, run_id=run_id, json_file=json_file, options=options)
    raise typer.Exit(code)


@app.command()
def resume(
    run_id: Annotated[str, typer.Argument(metavar="RUN", help="The run's id (see: trimtab runs).")],
    from_task: Annotated[
        str, typer.Option("--from", metavar="TASK", help="Rerun this task and all tasks that depend on it.")
    ] = "",
    json_file: Annotated[
        Path | None,
        typer.Option("--json", metavar="FILE", help="Write status, tasks and outputs to this file as JSON."),
    ] = None,
) -> None:
    """Continue a run that stopped, failed or was killed. Finished tasks are kept."""
    from pipelines.cli.run_command import resume_command

    raise typer.Exit(resume_command(run_id, from_task=from_task, json_file=json_file))


@app.command(name="compile")
def compile_(
    pipeline: Annotated[
        str, typer.Argument(metavar="[PIPELINE]", help="The pipeline's name [default: all; with --output: optimize].")
    ] = "",
    output: Annotated[
        Path | None,
        typer.Option(
            help="File to write, with a cluster's images and pod settings [default: pipelines/compiled/NAME.yaml, "
            "without them]."
        ),
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Write nothing; fail if the YAML is out of date.")] = False,
    form: Annotated[
        str, typer.Option("--format", metavar="ir|kubernetes", help="KFP YAML, or Kubernetes resources.")
    ] = "ir",
    namespace: Annotated[str, typer.Option(help="Namespace of the Kubernetes resources.")] = "",
    values: Annotated[Path | None, cluster_commands.VALUES] = None,
    images: Annotated[Path | None, cluster_commands.LOCK] = None,
    registry: Annotated[str, cluster_commands.REGISTRY] = "",
) -> None:
    """Compile one pipeline of this package, or all, to KFP YAML."""
    from pipelines.cli.catalog import pipeline_names
    from pipelines.cli.compile_command import compile_command
    from pipelines.cli.deployment import Deployment

    deployment = Deployment(values=values, lock=images, registry=registry)
    names = [pipeline] if pipeline else pipeline_names()[:1] if output else pipeline_names()
    codes = [
        compile_command(name, output, check=check, form=form, namespace=namespace, deployment=deployment)
        for name in names
    ]
    raise typer.Exit(max(codes))


app.command()(cluster_commands.submit)
app.command()(cluster_commands.follow)
app.command()(cluster_commands.trainjob)
app.add_typer(cluster_commands.schedule, name="schedule")


@app.command()
def runs() -> None:
    """List the runs on this machine."""
    from pipelines.cli.show_command import list_runs

    list_runs()


@app.command()
def show(
    run_id: Annotated[str, typer.Argument(metavar="[RUN]", help="The run's id [default: the latest].")] = "",
    lines: Annotated[int, typer.Option(help="Lines of log to show for each failed task.", min=0)] = 20,
) -> None:
    """Show one run: its tasks, times, errors and outputs."""
    from pipelines.cli.show_command import show_run

    show_run(run_id, lines)


@app.command()
def logs(
    run_id: Annotated[str, typer.Argument(metavar="RUN", help="The run's id.")],
    task: Annotated[str, typer.Argument(metavar="TASK", help="The task's name, or its path in the run.")],
) -> None:
    """Print the log of one task."""
    from pipelines.cli.logs_command import print_log

    print_log(run_id, task)


@app.command()
def diff(
    first: Annotated[str, typer.Argument(metavar="RUN", help="A run's id.")],
    second: Annotated[str, typer.Argument(metavar="RUN", help="Another run's id.")],
) -> None:
    """Compare two runs: parameters, code, task results, metrics."""
    from pipelines.cli.diff_command import print_difference

    print_difference(first, second)


_STORE = typer.Option(help="Folder or s3://bucket/prefix [default: as for run].")
_REF = typer.Option("--name", help="Name of the champion, if there are several.")
_WHY = typer.Option(help="The reason, kept in the champion's history.")


@app.command()
def champion(
    ref: Annotated[str, _REF] = "champion",
    store: Annotated[str, _STORE] = "",
) -> None:
    """Show the champion, and who promoted it, when and why."""
    from pipelines.cli.champion_command import show_champion

    show_champion(ref, store)


@app.command()
def promote(
    release: Annotated[
        str, typer.Argument(metavar="RELEASE", help="NAME/VERSION, or a name or version that is unique.")
    ],
    why: Annotated[str, _WHY],
    ref: Annotated[str, _REF] = "champion",
    store: Annotated[str, _STORE] = "",
) -> None:
    """Promote a complete release to champion."""
    from pipelines.cli.champion_command import promote

    promote(release, why=why, ref=ref, store=store)


@app.command()
def rollback(
    why: Annotated[str, _WHY],
    to: Annotated[str, typer.Option(metavar="RELEASE", help="An earlier champion [default: the previous one].")] = "",
    ref: Annotated[str, _REF] = "champion",
    store: Annotated[str, _STORE] = "",
) -> None:
    """Make an earlier champion the champion again."""
    from pipelines.cli.champion_command import roll_back

    roll_back(to=to, why=why, ref=ref, store=store)


@app.command()
def sign(
    release: Annotated[
        str, typer.Argument(metavar="RELEASE", help="NAME/VERSION, or a name or version that is unique.")
    ],
    key: Annotated[
        str, typer.Option(metavar="FILE", help="minisign's secret key [default: $TRIMTAB_SIGNING_KEY].")
    ] = "",
    store: Annotated[str, _STORE] = "",
) -> None:
    """Sign a complete release. If the key has a password, set $TRIMTAB_SIGNING_PASSWORD."""
    from pipelines.cli.sign_command import sign

    sign(release, key=key, store=store)


@app.command()
def verify(
    release: Annotated[
        str, typer.Argument(metavar="RELEASE", help="NAME/VERSION, or a name or version that is unique.")
    ],
    key: Annotated[
        str, typer.Option(metavar="KEY", help="minisign's public key, text or file [default: $TRIMTAB_PUBLIC_KEY].")
    ] = "",
    to: Annotated[
        str, typer.Option(metavar="FOLDER", help="Copy the verified files to this new folder; serve from it.")
    ] = "",
    store: Annotated[str, _STORE] = "",
) -> None:
    """Verify a release: its signature and the checksum of each file."""
    from pipelines.cli.sign_command import verify

    raise typer.Exit(verify(release, key=key, store=store, to=to))


@app.command()
def layout(
    release: Annotated[
        str, typer.Argument(metavar="RELEASE", help="NAME/VERSION, or a name or version that is unique.")
    ],
    to: Annotated[Path, typer.Option(metavar="FOLDER", help="The model repository: a new folder.")],
    uri: Annotated[
        str,
        typer.Option(
            metavar="URI", help="Where you will copy FOLDER (s3://…, pvc://…): also writes KServe's InferenceService."
        ),
    ] = "",
    name: Annotated[str, typer.Option(help="Name of the served model [default: the release's].")] = "",
    fold: Annotated[
        bool,
        typer.Option("--fold", help="Put normalisation and softmax into the graph: it takes uint8 (batch, H, W, 3)."),
    ] = False,
    key: Annotated[
        str, typer.Option(metavar="KEY", help="minisign's public key, text or file [default: $TRIMTAB_PUBLIC_KEY].")
    ] = "",
    store: Annotated[str, _STORE] = "",
) -> None:
    """Verify a release and write it as a model repository for Triton and KServe."""
    from pipelines.cli.layout_command import lay_out

    lay_out(release, to=to, uri=uri, name=name, is_folded=fold, key=key, store=store)


@app.command()
def measure(
    release: Annotated[
        str, typer.Argument(metavar="RELEASE", help="NAME/VERSION in the store, or a folder with a release's files.")
    ],
    param: Annotated[
        list[str] | None,
        typer.Option(
            "-p", "--param", metavar="NAME=VALUE", help="dataset=PATH, and parameters for reading it; repeatable."
        ),
    ] = None,
    threads: Annotated[int, typer.Option(help="Threads of onnxruntime.")] = 1,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write the figures to this file as JSON.")
    ] = None,
    store: Annotated[str, _STORE] = "",
) -> None:
    """Measure a release on this machine.

    It measures latency, runs the self-test and, with -p dataset=PATH, measures quality on your data. Needs no torch.
    """
    from pipelines.cli.measure_command import measure

    raise typer.Exit(measure(release, param or [], store=store, threads=threads, json_file=json_file))


@app.command()
def track(
    run_id: Annotated[str, typer.Argument(metavar="RUN", help="A finished run in the store (see: trimtab report).")],
    uri: Annotated[
        str, typer.Option(metavar="URI", help="http(s) address of the MLflow server [default: $MLFLOW_TRACKING_URI].")
    ] = "",
    experiment: Annotated[str, typer.Option(help="MLflow experiment [default: the pipeline's name].")] = "",
    store: Annotated[str, _STORE] = "",
) -> None:
    """Record a finished run in MLflow: parameters, metrics, release. Give the password in $MLFLOW_TRACKING_PASSWORD."""
    from pipelines.cli.track_command import track

    track(run_id, uri=uri, experiment=experiment, store=store)


@app.command()
def doctor(
    store: Annotated[str, typer.Option(help="The store to check [default: as for run].")] = "",
) -> None:
    """Check this machine and say what is missing."""
    from pipelines.cli.doctor_command import doctor_command

    raise typer.Exit(doctor_command(store))


app.command()(care_commands.report)
app.command()(care_commands.gc)
app.command()(care_commands.lineage)
app.add_typer(care_commands.store_app, name="store")

if __name__ == "__main__":
    main()
