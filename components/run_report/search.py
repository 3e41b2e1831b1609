"""How the release was found: backbones, training, choice of the recipe."""

from collections.abc import Mapping, Sequence
from typing import Any

from components.core.numbers import MISSING, compact, megabytes, milliseconds, percent
from components.core.report.figures import Point, line_chart, scatter
from components.core.report.page import Block, Callout, Cell, Columns, Section, figure, table
from components.core.stage_pages.decision import pareto_figures, recipe_table, recipe_warnings
from components.run_report.evidence import Document, Evidence


def backbone_section(evidence: Evidence) -> Section | None:
    """The ranking of the candidates, by transfer and by size alone."""
    ranking = evidence.ranking
    if ranking is None:
        return None
    candidates = list(ranking["candidates"])
    blocks: list[Block] = []
    if ranking.get("reason"):
        blocks.append(Callout(f"Why {ranking['chosen']}", ranking["reason"], "info"))
    blocks.append(
        table(
            _BACKBONE_COLUMNS,
            [_backbone(candidate) for candidate in candidates],
            marked=[i for i, candidate in enumerate(candidates) if candidate["name"] == ranking["chosen"]],
            faint=[i for i, candidate in enumerate(candidates) if candidate.get("rejected")],
        )
    )
    shown = [
        Point(
            name=candidate["name"],
            x=candidate["macs"] / 1e6,
            y=candidate["knn_accuracy"],
            error=candidate.get("knn_standard_error") or 0.0,
            kind="chosen" if candidate["name"] == ranking["chosen"] else "candidate",
            on_front=candidate["name"] == ranking["chosen"],
        )
        for candidate in candidates
        if candidate.get("knn_accuracy") is not None and candidate.get("macs")
    ]
    if len(shown) > 1:
        svg = scatter(shown, title="Transferability against cost", x="million MACs", y="k-NN accuracy", percent=True)
        blocks.append(
            figure(svg, "Nearest neighbours on the frozen features of each candidate; whiskers: one standard error.")
        )
    used = ranking.get("images_used")
    note = (
        "Hard limits first; then how well frozen ImageNet features already separate these classes (k-NN, LogME), "
        f"beside the ranking by size alone{f', on {used:,} training images' if isinstance(used, int) else ''}."
    )
    return Section("Backbones", blocks, note=note)


_BACKBONE_COLUMNS = (
    "backbone",
    "k-NN accuracy",
    "LogME",
    "rank",
    "rank by size",
    "ImageNet top-1",
    "params",
    "MACs",
    "fp32 size",
    "latency",
)


def _backbone(candidate: Mapping[str, Any]) -> list[Any]:
    error = candidate.get("knn_standard_error")
    published, logme, size = candidate.get("top1_published"), candidate.get("logme"), candidate.get("size_mb")
    published = published / 100 if published is not None and published > 1 else published
    return [
        Cell(candidate["name"], candidate.get("rejected") or ""),
        Cell(percent(candidate.get("knn_accuracy"), digits=1), f"± {100 * error:.1f} points" if error else ""),
        MISSING if logme is None else f"{logme:.3f}".replace("-", "−"),
        candidate.get("transfer_rank"),
        candidate.get("static_rank"),
        percent(published, digits=1),
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
    names = _series_names(documents, evidence.lanes)
    quality = {name: _curve(document, "validation_metric") for name, document in names.items()}
    metrics = (document.content.get("metric") for document in documents)
    metric: Mapping[str, Any] = next((one for one in metrics if one), {})
    label = str(metric.get("label", "metric"))
    loss = {name: _curve(document, "train_loss") for name, document in names.items()}
    best = {name: document.content.get("best_epoch") for name, document in names.items()}
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
