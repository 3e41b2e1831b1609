"""`trimtab measure`: a release on the machine that is to serve it, with the user's own rows if there are any."""

import json
import os
import tempfile
from collections.abc import Container, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from rich.console import Console

from components.core.bundles.onnx_bundle import OnnxBundle
from components.core.bundles.release_files import EVALUATION, SELF_TEST_RECORD
from components.core.bundles.release_folder import read_release
from components.core.bundles.released_sources import read_sources
from components.core.data.dataset import Dataset
from components.core.errors import UserError
from components.core.evaluation.document import Evaluation
from components.core.evaluation.parsing import to_json
from components.core.evaluation.runtime_blocks import runtime_sentence, runtime_table
from components.core.json_documents import parse_json
from components.core.numbers import MISSING, merit_interval, milliseconds
from components.core.parameters import near
from components.core.runtime.host import describe_host
from components.core.runtime.latency import BUSY
from components.core.runtime.self_test_program import ROUNDED, difference, opened
from components.core.signing import verify_release
from components.core.store import NotFound, Store, open_store
from components.core.store.errors import Damaged
from components.core.tasks.parameters import parameters_of
from components.evaluate.alone import Figures, OwnRows, figures_of, own_rows
from pipelines.cli.champion_command import find_release
from pipelines.cli.run_command import given_parameters
from pipelines.cli.summary import print_summary
from pipelines.form_arguments import typed
from pipelines.runner.ir.pipeline import MISSING as NOT_GIVEN
from pipelines.runner.run import home_folder

_READING = ("dataset", "max_image_mb", "allow_paths")
_ROUNDS = 50


def measure(release: str, parameters: Sequence[str], *, store: str, threads: int, json_file: Path | None) -> int:
    """Prints what was measured, beside what the release's card says; the exit code: 1 if the network computes something
    else here than where it was released."""
    if threads < 1:
        raise UserError(f"--threads must be at least 1; got {threads}")
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="trimtab-measure-")))
        folder, known = _opened(release, store, scratch / "release")
        bundle = read_release(folder)
        data, said = _data(bundle, parameters, scratch, known)
        found = figures_of(
            bundle, data.dataset if data else None, threads=threads, latency_rounds=_ROUNDS, unread=known or ()
        )
        card, worst = _card(folder), _self_test(folder)
    rows = [*_metric_rows(found, card), *_latency_rows(found, card, threads)]
    warnings = _warnings(found, data, card, worst, knows=known is not None)
    test = "none in the release" if worst is None else f"largest difference {worst:.2g} of the largest output"
    processor = describe_host()["processor"]
    host = f"{processor}, {threads} thread{'' if threads == 1 else 's'}"
    named = Path(release).name if Path(release).is_dir() else release
    summary = {
        "title": f"{named}: {bundle.task.title}, {bundle.provenance['scheme']}",
        "lead": f"Measured here on {host}. {said} Self-test: {test}.",
        "columns": ["", "here", "on its card"],
        "rows": rows,
        "warnings": warnings,
    }
    print_summary(Console(), summary)
    if found.runtimes:
        columns, cells = runtime_table(found.runtimes, bundle.task.row_noun)
        lead = runtime_sentence(found.runtimes, processor)
        print_summary(Console(), {"title": "Runtimes", "lead": lead, "columns": columns, "rows": cells})
    if json_file is not None:
        json_file.write_text(json.dumps(_document(found, data, worst, threads), indent=1) + "\n", encoding="utf-8")
    return 1 if worst is not None and worst > ROUNDED else 0


def _opened(release: str, store: str, copy: Path) -> tuple[Path, Container[str] | None]:
    """The release's folder, and digests of the rows that it was trained or chosen on; None where they are not known."""
    if Path(release).is_dir():
        return Path(release), None
    held = open_store(store or os.environ.get("TRIMTAB_STORE") or str(home_folder() / "store"))
    try:
        name, version = find_release(release, held.releases.list())
        verify_release(held, name, version, to=copy)
    except (Damaged, NotFound) as error:
        raise UserError(f"the release cannot be measured: {error}") from None
    return copy, _learnt(held, name, version)


def _learnt(store: Store, name: str, version: str) -> set[str] | None:
    try:
        dataset = Dataset(read_sources(store, name, version)["dataset"], store)
        return {
            row["digest"] for split in ("train", "validation") for row in dataset.iterate(split, columns=("digest",))
        }
    except (UserError, NotFound, KeyError):
        # A release of another store, or whose data set is gone: what it has seen is not known.
        return None


def _data(
    bundle: OnnxBundle, parameters: Sequence[str], scratch: Path, known: Container[str] | None
) -> tuple[OwnRows | None, str]:
    """The user's rows, if a data set was named, and a sentence on them."""
    task = bundle.task
    declared = {one.name: one for one in parameters_of(task.name) if one.part == "data" or one.name in _READING}
    values: dict[str, Any] = {}
    for name, text in given_parameters(parameters).items():
        if name not in declared:
            known = list(declared)
            raise UserError(f"unknown parameter {name!r}{near(name, known)} (parameters: {', '.join(known)})")
        value = typed(text, declared[name].type, name)
        if value is not NOT_GIVEN:
            values[name] = declared[name].check(value)
    if "dataset" not in values:
        if values:
            raise UserError("give -p dataset=… as well, or no -p to measure the latency alone")
        return None, "No data were given."
    options = {name: value for name, value in values.items() if declared[name].part == "data"}
    data = own_rows(
        values["dataset"],
        task.rows.with_options(options),
        bundle.assets.labels,
        scratch,
        max_bytes=round(values.get("max_image_mb", declared["max_image_mb"].default) * 1e6),
        allow_paths=values.get("allow_paths", ()),
    )
    said = f"{data.dataset.rows('test'):,} {task.row_noun} of {values['dataset']}"
    if data.unusable:
        said += f"; unusable: {', '.join(f'{count:,} {reason}' for reason, count in data.unusable.most_common())}"
    if known is None:
        said += "; it is not known whether the release was trained on some of them"
    return data, f"{said}."


def _card(folder: Path) -> Evaluation | None:
    try:
        return Evaluation.from_json(parse_json((folder / EVALUATION).read_bytes()))
    except (OSError, ValueError, UserError):
        # An earlier version's figures are read by people, on its card.
        return None


def _self_test(folder: Path) -> float | None:
    """The largest difference of a graph to what was recorded; None without a record."""
    if not (folder / SELF_TEST_RECORD).is_file():
        return None
    record = parse_json((folder / SELF_TEST_RECORD).read_bytes())
    return max(difference(opened(folder / f"{name}.onnx", 1), known) for name, known in record["graphs"].items())


def _metric_rows(found: Figures, card: Evaluation | None) -> list[list[str]]:
    stated = {one.name: one.candidate.value for one in card.metrics} if card else {}
    return [
        [
            metric.label,
            f"{metric.write(one.value)} ({merit_interval(one.low, one.high, percent=metric.percent)})",
            metric.write(stated.get(metric.name)),
        ]
        for metric, one in found.metrics
    ]


def _latency_rows(found: Figures, card: Evaluation | None, threads: int) -> list[list[str]]:
    stated = {one.batch: one.p50_ms for one in card.candidate.latency if one.threads == threads} if card else {}
    return [
        [
            f"latency, batch {one.batch}",
            f"{milliseconds(one.p50_ms)} ({one.rows_per_second:,.0f} rows/s)",
            milliseconds(stated[one.batch]) if one.batch in stated else MISSING,
        ]
        for one in found.latency
    ]


def _warnings(
    found: Figures, data: OwnRows | None, card: Evaluation | None, worst: float | None, *, knows: bool
) -> list[str]:
    warnings = []
    if worst is not None and worst > ROUNDED:
        warnings.append("The network gives other outputs here than where it was released: its card does not apply.")
    if knows and found.left_out:
        warnings.append(f"{found.left_out:,} rows are left out: the release was trained or chosen on them.")
    stated = {one.name: one.candidate.value for one in card.metrics} if card else {}
    for metric, one in found.metrics:
        value = stated.get(metric.name)
        if value is not None and one.low is not None and one.high is not None and not one.low <= value <= one.high:
            warnings.append(
                f"The card's {metric.label} lies outside of the interval measured here: these rows differ from its own."
            )
    if found.busy:
        warnings.append(f"The machine was busy: CPU time stayed more than {BUSY:.0%} below wall time.")
    if data is None and not found.latency:
        warnings.append("The time of a call depends on its rows: give -p dataset=… to measure it.")
    return warnings


def _document(found: Figures, data: OwnRows | None, worst: float | None, threads: int) -> dict[str, Any]:
    runtimes = {"runtimes": to_json(found.runtimes)} if found.runtimes else {}
    return {
        "rows": found.rows,
        "left_out": found.left_out,
        "unusable": dict(data.unusable) if data else {},
        "metrics": {
            metric.name: {"value": one.value, "low": one.low, "high": one.high} for metric, one in found.metrics
        },
        "latency": [one.to_json() for one in found.latency],
        "threads": threads,
        "self_test_difference": worst,
        "host": describe_host(),
        **runtimes,
    }
