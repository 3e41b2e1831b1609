"""The README's table of what the source article teaches: each command is understood, and what it asks for is done.

The stages run one after the other, as the pipeline wires them, on a tiny data set and network.
"""

import re
import shlex
from pathlib import Path

import pytest
from kfp import dsl

from components.choose.component import choose
from components.core.artifacts.manifest import read_manifest
from components.core.bundles.model_bundle import load_model
from components.core.bundles.onnx_bundle import load_onnx
from components.core.models.sparsity import share_of_zeros
from components.core.runtime import latency
from components.core.tasks.parameters import forms
from components.distill.component import distill
from components.evaluate.component import evaluate
from components.fine_tune.component import fine_tune
from components.preflight.plan import plan_recipes
from components.prune.component import prune
from components.quantize.component import quantize
from pipelines.cli.run_command import given_parameters
from pipelines.form_arguments import boxed, form_arguments, resolved
from pipelines.search import CALIBRATION, FURTHER, LOSS, MEASURING, SOFT_LOSS, TRAINING, TUNING, taken

README = Path(__file__).resolve().parents[2] / "README.md"
TINY = {
    "epochs": 1, "head_epochs": 2, "distill_epochs": 1, "batch_size": 16, "calibration_images": 32, "round_to": 8,
    "latency_rounds": 3,
}  # fmt: skip
COMPRESSION = {
    "prune_targets", "importance", "weight_sparsity", "sparsity_pattern", "calibration_method", "int8_max_drop",
    "distill_alpha", "student_size",
}  # fmt: skip


def commands():
    """Of each row that is one: the technique and the words behind `trimtab run`."""
    section = README.read_text().split("## Techniques of the source article")[1].split("\n## ")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if "|" in line][2:]
    found = {}
    for technique, cell in rows:
        first, *others = re.findall(r"`([^`]+)`", cell)
        words = shlex.split(first)
        assert words[:2] == ["trimtab", "run"], technique
        found[technique] = words[2:]
        for other in others:
            words = shlex.split(other)
            found[f"{technique}: {other}"] = words[2:] if words[:2] == ["trimtab", "run"] else words
    return found


def asked(words):
    """The pipeline's form, and all of its parameters as the first task resolves them."""
    pipeline = words[0] if words and not words[0].startswith("-") else "optimize"
    texts = [words[place + 1] for place, word in enumerate(words) if word == "-p"]
    pipeline, given = boxed(pipeline, given_parameters(texts))
    form = forms()[pipeline]
    return form, given, resolved(form, form_arguments(form, given))


@pytest.fixture(autouse=True)
def few_blocks(monkeypatch):
    """No latency is looked at here: the fewest timed blocks will do."""
    monkeypatch.setattr(latency, "_MOST_SECONDS", 0.0)


def test_the_table_names_every_technique_of_the_article():
    said = " ".join(commands()).lower()
    for technique in (
        "performance, complexity and adaptability", "momentum", "step decay", "polynomial decay", "weight decay",
        "layer-wise", "adaptive fine-tuning", "weight pruning", "neuron pruning", "weight and activation quantization",
        "distillation", "architecture search", "classification", "segmentation", "translation",
    ):  # fmt: skip
        assert technique in said


@pytest.mark.parametrize(("technique", "words"), [(name, words) for name, words in commands().items()])
def test_what_a_command_asks_for_is_done(
    technique, words, make_dataset, make_bundle, save_bundle, run_stage, store, tmp_path
):
    form, given, values = asked(words)
    assert set(given) <= set(values)
    if (form.task, form.kind) != ("classification", "optimize") or not given or "backbones" in given:
        # Such a run, as the race's, and the selection have tests of their own; here the command is understood.
        return
    values |= TINY
    data = make_dataset(train=48, validation=16)
    tuned = run_stage(
        fine_tune,
        inputs={"dataset": data, "model": save_bundle(make_bundle("timm:test_efficientnet"))},
        run_name="tune",
        **taken(values, *TUNING, "epochs", "head_epochs", "learning_rate", **LOSS),
    )
    page = Path(tuned["page"].path).read_text()
    assert ("Layers" in page) == ("layer_rates" in given)
    assert f"{values['optimizer']}, batch 16, weight decay {values['weight_decay']:g}" in page
    if not COMPRESSION & set(given):
        return
    size = 32 if "student_size" in given else 0
    recipes = plan_recipes(values["prune_targets"], student_size=size, more=form.recipe(values))
    if "prune_targets" not in given:
        recipes = recipes[:1]
    made = [compressed(recipe, data, tuned["tuned"].path, values, run_stage) for recipe in recipes]
    student = load_model(read_manifest(made[0]["distilled"].path), store)
    released = load_onnx(read_manifest(made[0]["quantized"].path), store)
    assert student.architecture.surgery
    assert released.provenance["fused"]["convolutions"] > 0
    assert released.provenance["calibration"]["method"] == values["calibration_method"]
    zeros = share_of_zeros(student.module)
    assert 0.2 < zeros <= 0.51 if "weight_sparsity" in given else zeros < 0.01
    assert ("accuracy_control" in released.provenance) == ("int8_max_drop" in given)
    alpha, temperature = values["distill_alpha"], values["distill_temperature"]
    said = f"{1 - alpha:g} · L₀ + {alpha:g} · T²·KL(teacher ‖ student), T = {temperature:g}"
    assert said in Path(made[0]["page"].path).read_text()
    if len(recipes) > 1:
        check_choice(made, recipes, data, tuned["tuned"].path, values, run_stage, tmp_path)


def compressed(recipe, data, teacher, values, run_stage):
    """One recipe through prune, distill and quantize; their outputs by name, and the page of distill."""
    name = re.sub(r"\W+", "-", recipe.name)
    how = {"recipe": recipe.to_json()}
    pruned = run_stage(
        prune,
        inputs={"dataset": data, "model": teacher},
        run_name=f"prune-{name}",
        calibration_images=32,
        **how,
        **taken(values, "importance", "prune_price", "round_to", "latency_threads", "seed"),
    )
    distilled = run_stage(
        distill,
        inputs={"dataset": data, "teacher": teacher, "student": pruned["pruned"].path},
        run_name=f"distill-{name}",
        **how,
        **taken(values, *TRAINING, **SOFT_LOSS, **FURTHER, **LOSS),
    )
    quantized = run_stage(
        quantize,
        inputs={"dataset": data, "model": distilled["distilled"].path},
        run_name=f"quantize-{name}",
        **how,
        **taken(values, *CALIBRATION),
    )
    return {**quantized, **distilled}


def check_choice(made, recipes, data, baseline, values, run_stage, tmp_path):
    """The students are measured and one of them is chosen."""
    evaluations = [
        run_stage(
            evaluate,
            inputs={"dataset": data, "candidate": one["quantized"].path, "baseline": baseline},
            run_name=f"evaluate-{number}",
            split="validation",
            **taken(values, **MEASURING),
        )["evaluation"]
        for number, one in enumerate(made)
    ]
    kinds = {"chosen": dsl.Model, "chosen_model": dsl.Model, "metrics": dsl.Metrics, "page": dsl.HTML}
    outputs = {name: kind(uri=str(tmp_path / name)) for name, kind in kinds.items()}
    choose.python_func(
        candidates=[one["quantized"] for one in made],
        models=[one["distilled"] for one in made],
        evaluations=evaluations,
        recipes=[recipe.to_json() for recipe in recipes],
        decision=dsl.Artifact(uri=str(tmp_path / "decision")),
        **outputs,
    )
    digests = [read_manifest(one["quantized"].path).digest for one in made]
    assert len(set(digests)) == len(recipes) == 3
    assert read_manifest(outputs["chosen"].path).digest in digests
