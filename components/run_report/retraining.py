"""Decision and outcome of a retraining."""

from typing import Any

from components.core.report.page import Block, Callout, Section
from components.core.stage_pages.drift import drift_blocks
from components.core.stage_pages.judgement import decision_callout, judgement_blocks
from components.run_report.evidence import Evidence


def outcome(evidence: Evidence) -> tuple[str, str] | None:
    """Title and sentence of a retraining that ran to its end; None if the run is none."""
    retraining, judgement = evidence.first("retraining.json"), evidence.first("judgement.json")
    if retraining is None:
        return None
    if judgement is None:
        title = "Look at the data: nothing was retrained" if retraining["attention"] else "Nothing to retrain"
        return title, retraining["reason"]
    champion = "{name}/{version}".format(**judgement["champion"])
    promotion = promotion_of(evidence)
    if promotion is None:
        return f"{champion} stays champion", judgement["reason"]
    if promotion["outcome"] == "promoted":
        return f"{promotion['release']} is the new champion", f"{retraining['reason']} {judgement['reason']}"
    if promotion["outcome"] == "overtaken":
        return "Overtaken by another promotion", promotion["message"]
    return f"{promotion['release']} is the champion already", judgement["reason"]


def promotion_of(evidence: Evidence) -> dict[str, Any] | None:
    """outcome, release and message of the promote task, if it ran."""
    for task in evidence.tasks:
        if task.component == "promote" and {"outcome", "release", "message"} <= set(task.output_parameters):
            return dict(task.output_parameters)
    return None


def retraining_section(evidence: Evidence) -> Section | None:
    """Drift, decision, judgement, swap: in the order in which they were made."""
    retraining, judgement = evidence.first("retraining.json"), evidence.first("judgement.json")
    drift = evidence.first("drift.json")
    if retraining is None and drift is None:
        return None
    blocks: list[Block] = []
    if retraining is not None:
        blocks.append(decision_callout(retraining))
    if judgement is not None:
        blocks += judgement_blocks(judgement)
    promotion = promotion_of(evidence)
    if promotion is not None:
        tone: Any = "warn" if promotion["outcome"] == "overtaken" else "good"
        blocks.append(Callout(promotion["outcome"].capitalize(), promotion["message"], tone))
    if drift is not None:
        blocks += drift_blocks(drift)
    champion = "{name}/{version}".format(**retraining["champion"]) if retraining else "the champion"
    return Section("Retraining", blocks, note=f"Against {champion}.")


def retraining_outputs(evidence: Evidence) -> dict[str, Any]:
    """Facts for scripts: action, verdict, outcome, champion."""
    retraining, judgement = evidence.first("retraining.json"), evidence.first("judgement.json")
    if retraining is None:
        return {}
    promotion = promotion_of(evidence)
    champion = "{name}/{version}".format(**retraining["champion"])
    return {
        "action": retraining["action"],
        "attention": retraining["attention"] or (promotion or {}).get("outcome") == "overtaken",
        "promoted": (promotion or {}).get("outcome") == "promoted",
        "champion": (promotion or {}).get("release") or champion,
        "verdict": None if judgement is None else "promote" if judgement["promote"] else "keep",
    }
