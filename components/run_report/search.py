"""How the release was found: backbones, training, choice of the recipe."""

from collections.abc import Mapping, Sequence
from typing import Any

from components.core.numbers import MISSING, compact, megabytes, milliseconds, percent
from components.core.report.figures import Point, line_chart, scatter
from components.core.report.page import Block, Callout, Cell, Columns, Section, figure, table
from components.core.stage_pages.decision import RACE_NOTE, pareto_figures, race_blocks, recipe_table, recipe_warnings
from components.run_report.evidence import Document, Evidence


def backbone_section(evidence: Evidence) -> Section | None:
    """The ranking of the candidates, by transfer and by size alone."""
    ranking = evidence.ranking
    if ranking is None:
        return None
    candidates = list(ranking["candidates"])
    name = str(ranking.get("compared_by", "k-NN accuracy"))
    of_classes = not any(candidate.get("untrained") is not None for candidate in candidates)
    blocks: list[Block] = []
    if ranking.get("reason"):
        blocks.append(Callout(f"Why {ranking['chosen']}", ranking["reason"], "info"))
    blocks.append(
        table(
            ["backbone", name, *(_OF_CLASSES if of_classes else _WITHOUT), *_COSTS],
            [_backbone(candidate, of_classes=of_classes) for candidate in candidates],
            marked=[i for i, candidate in enumerate(candidates) if candidate["name"] == ranking["chosen"]],
            faint=[i for i, candidate in enumerate(candidates) if candidate.get("rejected")],
        )
    )
    shown = [
        Point(
            name=candidate["name"],
            x=candidate["macs"] / 1e6,
            y=float(_transfer(candidate) or 0.0),
            error=candidate.get("knn_standard_error") or candidate.get("untrained_error") or 0.0,
            kind="chosen" if candidate["name"] == ranking["chosen"] else "candidate",
            on_front=candidate["name"] == ranking["chosen"],
        )
        for candidate in candidates
        if _transfer(candidate) is not None and candidate.get("macs")
    ]
    if len(shown) > 1:
        svg = scatter(shown, title="Transferability against cost", x="million MACs", y=name, percent=of_classes)
        told = (
            "Nearest neighbours on the frozen features of each candidate" if of_classes else f"{name} of each candidate"
        )
        blocks.append(figure(svg, f"{told}; whiskers: one standard error."))
    used = ranking.get("rows_used")
    seen = "how well frozen ImageNet features already separate these classes (k-NN, LogME)" if of_classes else name
    on_rows = f", on {used:,} training rows" if isinstance(used, int) else ""
    note = f"Hard limits first; then {seen}, beside the ranking by size alone{on_rows}."
    return Section("Backbones", blocks, note=note)


_OF_CLASSES = ("LogME", "rank", "rank by size", "ImageNet top-1")
_WITHOUT = ("loss", "rank", "rank by size")
_COSTS = ("params", "MACs", "fp32 size", "latency")


def _transfer(candidate: Mapping[str, Any]) -> float | None:
    known = candidate.get("knn_accuracy")
    return candidate.get("untrained") if known is None else known


def _backbone(candidate: Mapping[str, Any], *, of_classes: bool) -> list[Any]:
    ranks = [candidate.get("transfer_rank"), candidate.get("static_rank")]
    costs = _costs(candidate)
    name = Cell(candidate["name"], candidate.get("rejected") or "")
    if not of_classes:
        found, loss = candidate.get("untrained"), candidate.get("untrained_loss")
        error = candidate.get("untrained_error")
        figure_cell = MISSING if found is None else Cell(f"{found:.1f}", f"± {error:.1f} points" if error else "")
        return [name, figure_cell, MISSING if loss is None else f"{loss:.3f}", *ranks, *costs]
    error = candidate.get("knn_standard_error")
    published, logme = candidate.get("top1_published"), candidate.get("logme")
    published = published / 100 if published is not None and published > 1 else published
    return [
        name,
        Cell(percent(candidate.get("knn_accuracy"), digits=1), f"± {100 * error:.1f} points" if error else ""),
        MISSING if logme is None else f"{logme:.3f}".replace("-", "−"),
        *ranks,
        percent(published, digits=1),
        *costs,
    ]


def _costs(candidate: Mapping[str, Any]) -> list[Any]:
    size = candidate.get("size_mb")
    return [
        compact(candidate.get("parameters")),
        compact(candidate.get("macs")),
        megabytes(None if size is None else 1e6 * size),
        milliseconds(candidate.get("latency_ms")),
    ]


def training_section(evidence: Evidence) -> Section | None:
    """Validation metric and training loss of everything that was trained."""
    documents = evidence.documents.get("curves.json") or ()
    if not documents:
        return None
    curves = training_curves(evidence)
    quality = {name: found["validation_metric"] for name, found in curves.items()}
    metrics = (document.content.get("metric") for document in documents)
    metric: Mapping[str, Any] = next((one for one in metrics if one), {})
    label = str(metric.get("label", "metric"))
    loss = {name: found["train_loss"] for name, found in curves.items()}
    best = {
        name: document.content.get("best_epoch") for name, document in _series_names(documents, evidence.lanes).items()
    }
    columns = Columns(
        (
            figure(
                line_chart(
                    quality,
                    title=f"Validation {label}",
                    x="epoch",
                    y=label,
                    percent=bool(metric.get("percent")),
                    highlight=best,
                ),
                "After each epoch, on validation data. Ringed: the epoch that was kept.",
            ),
            figure(
                line_chart(loss, title="Training loss", x="epoch", y="loss"),
                "Mean over the epoch. A student's loss mixes hard and soft targets: compare it with itself only.",
            ),
        )
    )
    return Section("Training", columns)


def training_curves(evidence: Evidence) -> dict[str, dict[str, list[tuple[float, float]]]]:
    """Of everything that was trained `validation_metric` and `train_loss`, each as (epoch, value) from epoch 1 on."""
    documents = _series_names(evidence.documents.get("curves.json") or (), evidence.lanes)
    return {
        name: {key: _curve(document, key) for key in ("validation_metric", "train_loss")}
        for name, document in documents.items()
    }


def _series_names(documents: Sequence[Document], lanes: Mapping[str, str]) -> dict[str, Document]:
    names: dict[str, Document] = {}
    for document in documents:
        task = document.task
        name = f"{task.name} {lanes[task.lane]}" if task.lane in lanes else task.name
        names[name if name not in names else task.path] = document
    return names


def _curve(document: Document, key: str) -> list[tuple[float, float]]:
    epochs = document.content.get("epochs") or []
    # Epoch 0, before the first step, would press all the others together at the top of the figure.
    return [(epoch["epoch"], epoch[key]) for epoch in epochs if epoch.get(key) is not None and epoch["epoch"] > 0]


def race_section(evidence: Evidence) -> Section | None:
    """Of a search in a time box: every student, and how the time was spent."""
    blocks = race_blocks(evidence.decision or {})
    return Section("Race", blocks, note=RACE_NOTE) if blocks else None


def choice_section(evidence: Evidence) -> Section | None:
    """The Pareto front of the recipes and the reason for the choice."""
    decision = evidence.decision
    if decision is None:
        return None
    winner = decision["recipes"][decision["chosen"]]
    name = winner.get("name") or f"recipe {decision['chosen'] + 1}"
    blocks: list[Block] = [
        Callout(f"Why {name}", decision["reason"], "info" if decision["meets_budget"] else "warn"),
        *recipe_warnings(decision),
        pareto_figures(decision),
        recipe_table(decision),
    ]
    note = "Every recipe is pruned, distilled, quantized and compared with the baseline on validation data."
    return Section("Recipes", blocks, note=note)
