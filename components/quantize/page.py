"""The page of the stage."""

from pathlib import Path

from components.core.bundles.onnx_bundle import OnnxBundle
from components.core.numbers import capitalized, compact, count, megabytes, percent, times
from components.core.report.page import Block, Callout, Section, facts, table, text, write_page


def write_quantization_page(
    path: str | Path, result: OnnxBundle, plain: OnnxBundle, *, recipe: str, data: str = ""
) -> None:
    """Sizes, whether every convolution runs as integers, calibration, and agreement with the float network.

    `data`: `Dataset.description`.
    """
    provenance = result.provenance
    sections = [Section("", _headline(result, plain))]
    sizes = [[bundle.provenance["scheme"], megabytes(bundle.size_bytes)] for bundle in (plain, result)]
    same = result.provenance["scheme"] == plain.provenance["scheme"]
    sections.append(Section("Size", table(["scheme", "file"], sizes[: 1 if same else 2])))
    if "calibration" in provenance:
        sections.append(
            Section("Calibration", _calibration(provenance), note="Validation and test images calibrate nothing.")
        )
    elif "agreement" in provenance:
        sections.append(Section("Agreement with float32", _agreement(provenance)))
    for control in provenance.get("accuracy_control", {}).values():
        sections.append(Section("Accuracy control", _accuracy_control(control)))
    if scaling := provenance.get("temperature"):
        sections.append(Section("Temperature", _temperature(scaling)))
    parity, complexity = provenance["parity"], provenance["complexity"]
    sections.append(
        Section(
            "Export",
            facts(
                {
                    "exporter": f"{provenance['exporter']}, opset {provenance['opset']}",
                    "largest difference to torch, of the largest logit": f"{parity['relative_difference']:.1e}",
                    "compared at batch": ", ".join(map(str, parity["batch_sizes"])),
                    "parameters": compact(complexity["parameters"]),
                    "MACs": compact(complexity["macs"]),
                }
            ),
        )
    )
    write_page(path, f"Quantization: {recipe}", sections, eyebrow="quantize", data=data)


def _headline(result: OnnxBundle, plain: OnnxBundle) -> Block:
    fused = result.provenance.get("fused")
    if fused is None:
        return Callout("Exported as float32", f"{megabytes(result.size_bytes)}.", "info")
    ratio = f"{times(plain.size_bytes / result.size_bytes)} smaller than float32."
    kind = "convolutions" if fused["convolutions_total"] else "products"
    done, total = fused[kind], fused[f"{kind}_total"]
    front = result.provenance.get("calibration", {}).get("float_convolutions", 0)
    reverted = sum(len(one["reverted"]) for one in result.provenance.get("accuracy_control", {}).values())
    if kind == "products":
        said = "Products of two activations, as inside attention, stay float."
        return Callout(f"{done} of {total} matrix products run as integers", f"{said} {ratio}", "good")
    if done + front == total:
        if not front:
            return Callout(f"All {total} convolutions run as integers", ratio, "good")
        if reverted:
            return Callout(f"{done} of {total} convolutions run as integers", f"{_reverted(reverted)} {ratio}", "good")
        said = f"The first {front} stay float: integers are not faster there. {ratio}"
        return Callout(f"All {total} convolutions but the first {front} run as integers", said, "good")
    names = ", ".join(fused["floating"][front : front + 8])
    return Callout(
        f"Only {done} of {total} convolutions run as integers",
        f"onnxruntime computes {names} in float here; the file is smaller but may not be faster. {ratio}",
        "bad",
    )


def _reverted(layers: int) -> str:
    return f"{layers} layers are float again, to hold int8_max_drop; the front of a mobile network is so anyway."


def _accuracy_control(control: dict) -> list[Block]:
    """How many layers were put back to float, and what each try lost."""
    rows = [[count(one["reverted"]), f"{one['drop_points']:.2f}"] for one in control["tries"]]
    caption = f"On {count(control['rows'])} {control['split']} rows; at most {control['allowed_points']:g} points."
    shown: list[Block] = [table(["layers in float", "points lost"], rows, caption=caption)]
    if control["reverted"]:
        shown.append(text(f"In float, the one first whose rounding does most harm: {', '.join(control['reverted'])}."))
    return shown


def _temperature(scaling: dict) -> Block:
    read = f"Fitted on {count(scaling['rows'])} {scaling['split']} rows."
    if scaling["value"] is None:
        return Callout("No temperature was fitted", f"{capitalized(scaling['why'])}. {read}", "warn")
    return Callout(f"Logits are divided by {scaling['value']:g} before softmax", f"{read} No answer changes.", "info")


def _agreement(provenance: dict) -> list[Block]:
    """Per graph, on what it is given while the float model answers for real rows."""
    close = provenance["agreement"]
    rows = [[name, count(one["rows"]), percent(one["argmax"]), f"{one['signal_to_noise_db']:.1f} dB"]
            for name, one in close["graphs"].items()]  # fmt: skip
    caption = f"While the float32 model answers for {count(close['rows'])} {close['split']} rows; the worst output."
    return [table(["graph", "calls", "same largest output", "signal to noise"], rows, caption=caption)]


def _calibration(provenance: dict) -> list[Block]:
    calibration, close = provenance["calibration"], provenance["agreement"]
    checked = "validation" if close["split"] == "validation" else "other training"
    method = calibration["method"] + (f" {calibration['percentile']}" if calibration["percentile"] else "")
    shown: list[Block] = [
        facts(
            {
                "activation ranges": method,
                "calibrated on": f"{count(calibration['images'])} training rows",
                "layers with corrected bias": count(calibration["corrected_layers"]),
                f"same class as float32, on {count(close['rows'])} {checked} rows": percent(close["argmax"]),
                "signal to noise of the logits": f"{close['signal_to_noise_db']:.1f} dB",
            }
        )
    ]
    return shown
