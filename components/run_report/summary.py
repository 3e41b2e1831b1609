"""Summary of a run for the command line, and for scripts."""

from collections.abc import Mapping
from typing import Any

from components.core.evaluation.document import Evaluation
from components.run_report.comparison import COLUMNS, before_and_after
from components.run_report.evidence import Evidence
from components.run_report.result import headline
from components.run_report.retraining import retraining_outputs

_NAMES = {
    "name": ("name", "release_name"),
    "version": ("version", "release_version"),
    "digest": ("release_digest", "digest"),
    "uri": ("uri", "release_uri"),
}


def find_release(evidence: Evidence) -> dict[str, Any]:
    """Name, version, digest and uri of the release, as far as the export stage said them."""
    found: dict[str, Any] = {}
    for task in evidence.tasks:
        if task.component != "export":
            continue
        sources: list[Mapping[str, Any]] = [task.output_parameters]
        for artifact in task.artifacts.get("release") or ():
            manifest = artifact.get("manifest") or {}
            sources += [manifest.get("metadata") or {}, artifact.get("metadata") or {}]
        for name, keys in _NAMES.items():
            values = (source[key] for source in sources for key in keys if source.get(key))
            value = next(values, None)
            if value is not None:
                found[name] = value
    if "digest" not in found and (manifest := evidence.manifest("release")):
        found["digest"] = manifest.digest
    return found


def summarize(evidence: Evidence, *, report: str) -> dict[str, Any]:
    """Title, the table of before and after, warnings, where the files are, and the outputs; JSON-able.

    Args:
        evidence: What is known of the run.
        report: Where the report is.
    """
    final, decision, release = evidence.final, evidence.decision, find_release(evidence)
    title, lead = headline(evidence)
    files = {"report": report}
    if release.get("uri"):
        folder = str(release["uri"]).rstrip("/")
        graphs = sorted(final.candidate.graphs) if final else ["model"]
        named = {"model": graphs[0]} if len(graphs) == 1 else {name: name for name in graphs}
        models = {title: f"{folder}/{name}.onnx" for title, name in named.items()}
        files |= {"release": folder, **models, "card": f"{folder}/{_card(evidence)}"}
    outputs: dict[str, Any] = {
        "release_uri": release.get("uri"),
        "release_digest": release.get("digest"),
        "release_version": release.get("version"),
    }
    if evidence.ranking:
        outputs["backbone"] = evidence.ranking.get("chosen")
    if decision:
        outputs["recipe"] = decision["recipes"][decision["chosen"]].get("recipe")
    if final:
        primary = final.primary
        outputs |= {
            "meets_budget": final.verdict.meets,
            primary.name: primary.candidate.value,
            f"baseline_{primary.name}": primary.baseline.value,
            "drop_points": round(-primary.points, 4),
            **{f"speedup_batch{speedup.batch}": speedup.ratio for speedup in final.speedups},
            "size_ratio": final.size_ratio,
            "test_rows": final.rows,
            **_asked(final),
        }
    outputs |= retraining_outputs(evidence)
    return {
        "title": title,
        "lead": lead,
        "columns": list(COLUMNS),
        "rows": [row.cells for row in before_and_after(final)] if final else [],
        "warnings": list(final.warnings) if final else [],
        "files": files,
        "outputs": {name: value for name, value in outputs.items() if value is not None},
    }


def _asked(final: Evaluation) -> dict[str, float | None]:
    """Facts of measurements that are made only where they are asked for."""
    found: dict[str, float | None] = {}
    if final.robustness:
        found["corruption_drop_points"] = final.robustness.candidate_drop
        found["baseline_corruption_drop_points"] = final.robustness.baseline_drop
    if final.cost:
        found["cost_per_million"] = final.cost.candidate.per_million
        found["baseline_cost_per_million"] = final.cost.baseline.per_million
    return found


def _card(evidence: Evidence) -> str:
    manifest = evidence.manifest("release")
    names = [entry.path for entry in manifest.files] if manifest else []
    return next((name for name in names if name.lower().endswith(".md")), "README.md")
