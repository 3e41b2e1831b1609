"""The record of a run: parameters, tasks, inputs, and the origin of everything."""

import time
from collections.abc import Mapping
from typing import Any

from components.core.numbers import MISSING, duration, megabytes
from components.core.parameters import NO_LIMIT
from components.core.report.dag import dag, timeline
from components.core.report.page import Block, Callout, Cell, Columns, Details, Facts, Section, facts, figure, table
from components.core.tasks import get_task
from components.run_report.evidence import Evidence
from components.run_report.records import boxes

_FIRST = ("dataset", "backbones", "image_size", "prune_targets", "max_latency_ms", "max_size_mb", "max_drop")
_SPLITS = ("train", "validation", "test")
_SHOWN_FILES = 200


def asked_section(evidence: Evidence) -> Section | None:
    """The parameters: those that decide first, the others folded."""
    parameters = evidence.parameters
    if not parameters:
        return None
    first = {name: _written(name, parameters[name]) for name in (*_FIRST, "seed") if name in parameters}
    rest = {name: _written(name, parameters[name]) for name in parameters if name not in first}
    blocks: list[Block] = [facts(first)] if first else []
    if rest:
        names = list(rest)
        half = (len(names) + 1) // 2
        halves: tuple[Facts, ...] = tuple(
            facts({name: rest[name] for name in part}) for part in (names[:half], names[half:]) if part
        )
        blocks.append(Details(f"{len(rest)} further parameters", (Columns(halves),)) if first else Columns(halves))
    return Section("What was asked", blocks)


def _written(name: str, value: Any) -> str:
    if value is None or value == "":
        return "no limit" if name.startswith("max_") else MISSING
    if value == NO_LIMIT and name.startswith("max_"):
        return "no limit"
    if isinstance(value, list | tuple):
        return ", ".join(_written("", one) for one in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    return str(value)


def task_section(evidence: Evidence) -> Section | None:
    """The graph of the tasks and when they ran."""
    shown = boxes(evidence.tasks)
    if not shown:
        return None
    end = max(task.started + task.seconds for task in shown)
    span, work = end - min(task.started for task in shown), sum(task.seconds for task in shown if not task.cached)
    cached = sum(task.cached for task in shown)
    note = f"{len(shown)} tasks in {duration(span)}; {duration(work)} of work"
    note += f", {cached} taken from the cache." if cached else "."
    graph = figure(dag(shown))
    if cached == len(shown):
        return Section("Tasks", graph, note=note)
    # With more than two iterations the graph is wider than half a page.
    beside = len({task.lane for task in shown if task.lane}) <= 2
    times = figure(timeline(shown, width=520 if beside else 760))
    return Section("Tasks", Columns((graph, times)) if beside else [graph, times], note=note)


def data_section(evidence: Evidence) -> Section | None:
    """Rows and classes of each split, and the files that were put aside, with the reason of each."""
    manifest = evidence.manifest("dataset", component="data_prep")
    if manifest is None:
        return None
    known = manifest.metadata
    counts = known.get("counts") or {}
    noun = get_task(str(known.get("task"))).row_noun
    shown: dict[str, Any] = {noun: f"{sum(counts.values()):,}"} if counts else {}
    # Canonical JSON sorts names; people read splits in this order.
    splits = sorted(counts, key=lambda split: (_SPLITS.index(split) if split in _SPLITS else len(_SPLITS), split))
    shown |= {split: f"{counts[split]:,}" for split in splits}
    if known.get("classes"):
        shown["classes"] = f"{len(known['classes'])}: {', '.join(map(str, known['classes'][:30]))}"
        shown["classes"] += ", …" if len(known["classes"]) > 30 else ""
    copies = (evidence.first("quarantine.json") or {}).get("duplicates") or []
    if copies:
        shown["exact copies left out"] = f"{len(copies):,}"
    shown["size in the store"] = megabytes(manifest.total_bytes)
    shown["fingerprint"] = known.get("fingerprint")
    blocks: list[Block] = [facts(shown)]
    quarantined = quarantine_rows(evidence)
    if quarantined:
        title = "1 file was put aside" if len(quarantined) == 1 else f"{len(quarantined):,} files were put aside"
        blocks.append(Callout(title, "Not part of any split. Mend or remove what is named below.", "warn"))
        caption = f"The first {_SHOWN_FILES} of {len(quarantined):,}." if len(quarantined) > _SHOWN_FILES else ""
        blocks.append(table(["file", "reason"], quarantined[:_SHOWN_FILES], caption=caption))
    note = f"The split of {noun} follows from a hash of their content: new data never move old test rows into training."
    return Section("Data", blocks, note=note)


def quarantine_rows(evidence: Evidence) -> list[list[Any]]:
    """File and reason of everything that data preparation put aside (its quarantine.json)."""
    document = evidence.first("quarantine.json") or {}
    return [
        [str(file["source"]), Cell(str(file["reason"]), str(file.get("detail") or ""))]
        for file in document.get("files") or []
    ]


def provenance_section(evidence: Evidence, release: Mapping[str, Any]) -> Section:
    """Digests, versions, host and store: enough to find and to repeat everything."""
    final = evidence.final
    blocks: list[Block] = [
        facts(
            {
                "run": evidence.run_id,
                "pipeline": evidence.pipeline or None,
                "store": evidence.store_uri,
                "started": _clock(min((task.started for task in evidence.tasks), default=0.0)),
                **{name: release.get(key) for name, key in _RELEASE.items() if release.get(key)},
                **_host(final.host if final else {}),
            }
        )
    ]
    rows = [
        [
            Cell(task.name, evidence.lanes.get(task.lane, "")),
            name,
            manifest.kind,
            megabytes(manifest.total_bytes),
            manifest.digest,
        ]
        for task, name, manifest in evidence.manifests
    ]
    if rows:
        columns = ["task", "artifact", "kind", "size", "digest (sha256 of the manifest)"]
        blocks.append(Details(f"{len(rows)} artifacts", (table(columns, rows),)))
    if final is not None:
        blocks.append(Details("How the release was measured", (facts({"method": final.method}),)))
    if evidence.problems:
        blocks.append(Callout("Not everything could be read", " · ".join(evidence.problems[:10]), "warn"))
    return Section("Provenance", blocks)


_RELEASE = {"release": "name", "version": "version", "release digest": "digest", "release folder": "uri"}


def _clock(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds)) if seconds else MISSING


def _host(host: Mapping[str, Any]) -> dict[str, str]:
    shown = {}
    for name, value in host.items():
        if isinstance(value, Mapping):
            shown[name] = ", ".join(f"{key} {one}" for key, one in value.items())
        elif isinstance(value, list):
            shown[name] = ", ".join(map(str, value))
        else:
            shown[name] = _written("", value)
    return {f"measured on, {name.replace('_', ' ')}": value for name, value in shown.items()}
