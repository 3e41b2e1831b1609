"""The page of a pruning run."""

from pathlib import Path

from components.core.numbers import compact, milliseconds, percent
from components.core.report.figures import line_chart
from components.core.report.page import Section, facts, figure, table, text, write_page
from components.prune.config import PruneConfig
from components.prune.result import Predicted, Pruned, Sensitivity

_WHY_STRUCTURED = (
    "Whole units were removed, so every runtime has less to compute. Setting single weights to zero (weight_sparsity) "
    "leaves the shapes as they are: measured, 80 % zeros changed neither latency nor file size in dense kernels. It "
    "makes the file compress better, and is meant for hardware with sparse kernels."
)


def write_pruning_page(path: str | Path, result: Pruned, config: PruneConfig, *, recipe: str, data: str = "") -> None:
    """The cost of the pruned network, and the share of each layer that was kept; `data`: `Dataset.description`."""
    predicted = result.predicted
    what = "the multiply-accumulates" if predicted is None else "the predicted latency"
    lead = (
        f"{percent(result.fraction, digits=1)} of {what} {'are' if predicted is None else 'is'} left; "
        f"{percent(config.macs_fraction, digits=1)} {'were' if predicted is None else 'was'} asked for."
    )
    if result.fraction > config.macs_fraction:
        lead += " No more could be removed: every prunable layer is at its limit."
    costs = table(
        ["", "before", "after", "left"],
        [
            [
                "multiply-accumulates",
                compact(result.macs_before),
                compact(result.macs_after),
                percent(result.macs_fraction, digits=1),
            ],
            [
                "parameters",
                compact(result.parameters_before),
                compact(result.parameters_after),
                percent(result.parameters_after / result.parameters_before, digits=1),
            ],
            *_latency_row(predicted),
            *_zeros_row(result),
        ],
    )
    # With latency as the price, what it was for each layer.
    prices = {} if predicted is None else {name: [f"{price:.2f}"] for name, price in predicted.prices.items()}
    layers = table(
        ["layer", "units", "kept", "left", *(["µs per unit"] if prices else [])],
        [
            [name, total, kept, percent(kept / total, digits=0), *prices.get(name, [])]
            for name, (kept, total) in result.groups.items()
        ],
        caption="Layers whose units (channels, heads, neurons) nothing outside their block reads.",
    )
    sections = [Section("Cost", costs, note=_how_predicted(predicted)), Section("Layers", layers)]
    steps = {"before": result.accuracy_before, "removed": result.accuracy_cut}
    if result.accuracy_after is not result.accuracy_cut:
        steps["batch norms measured again"] = result.accuracy_after
    metric = result.metric
    rows = [[name, metric.write(found.metric), found.loss] for name, found in steps.items() if found is not None]
    if rows:
        accuracy = table(["", f"validation {metric.label}", "validation loss"], rows)
        sections.insert(1, Section("Before and after", accuracy, note="Before any training; distillation comes next."))
    if result.notes:
        sections.insert(1, Section("Besides", facts(result.notes)))
    if result.sensitivity is not None:
        sections.append(_sensitivity(result.sensitivity, result))
    sections.append(Section("Why whole units", text(_WHY_STRUCTURED)))
    write_page(path, f"Pruning: {recipe}", sections, eyebrow="prune", lead=lead, data=data)


def _sensitivity(found: Sensitivity, result: Pruned) -> Section:
    totals = {name: total for name, (_, total) in result.groups.items()}
    curves = {
        name: [(100 * (1 - gone / totals[name]), loss) for gone, loss in sorted(curve.items(), reverse=True)]
        for name, curve in found.curves.items()
    }
    chart = line_chart(
        curves, title="What each layer's width costs", x="channels kept, %", y="divergence on training images, nats"
    )
    proof = "" if not found.gap else f" The choice is within {percent(found.gap)} of the least: the time was over."
    return Section(
        "Sensitivity",
        figure(chart, "One layer narrowed, everything else whole; batch norms with each batch's own statistics."),
        note="Divergence of the answers from those of the whole network. With the widths chosen it is "
        f"{found.measured:.3f}.{proof}",
    )


def _zeros_row(result: Pruned) -> list[list[str]]:
    if not result.zero_weights:
        return []
    return [["weights that are zero", "", percent(result.zero_weights, digits=1), ""]]


def _latency_row(predicted: Predicted | None) -> list[list[str]]:
    if predicted is None:
        return []
    before, after = milliseconds(predicted.before_us / 1000), milliseconds(predicted.after_us / 1000)
    return [["predicted latency", before, after, percent(predicted.fraction, digits=1)]]


def _how_predicted(predicted: Predicted | None) -> str:
    if predicted is None:
        return ""
    return (
        f"The price of a channel is its latency, of a call at batch 1 as {predicted.scheme}: {predicted.threads} "
        f"thread(s), onnxruntime {predicted.onnxruntime}, {predicted.processor}; added up from measurements of each "
        "layer at a few widths. What the release takes is measured by the evaluation."
    )
