"""The promises of every task, found by discovery: its folder, its data, its batches, loss, metrics and files.

A toy task that only the tests know passes the same suite, with nothing changed for it elsewhere. A task that cannot do
with the demo and a small image network has `tiny.yaml` in its folder of tests: a `data` table in the same folder, and
the catalog entry of a small network.
"""

import hashlib
import importlib
import json
import subprocess
import sys
from collections import Counter
from contextlib import closing
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
import toy_task
import yaml
from kfp import dsl

from components.core import tasks
from components.core.artifacts.manifest import read_manifest
from components.core.bundles.model_bundle import ModelBundle, load_model, save_model
from components.core.bundles.onnx_bundle import load_onnx, save_onnx
from components.core.data.batch import Share
from components.core.data.dataset import open_dataset, write_dataset
from components.core.data.reading import read_batches
from components.core.errors import UserError
from components.core.models.architecture import Architecture
from components.core.models.catalog import load_catalog
from components.core.models.complexity import count_parameters
from components.core.runtime import latency
from components.core.runtime.conversion import float32_bundle
from components.core.runtime.sessions import open_session
from components.core.store import open_store
from components.core.tasks import TASKS, get_task
from components.core.tasks.networks import fresh_network
from components.core.training.data import as_tensors
from components.core.training.device import place_batch
from components.evaluate.robustness import check_corruptions

CPU = torch.device("cpu")
HERE = Path(__file__).parent
MODULES = ("rows", "examples", "losses", "metrics", "parameters", "serving", "details", "pages", "data_page", "task")


@pytest.fixture(params=[*TASKS, "toy"])
def task(request, monkeypatch):
    monkeypatch.setitem(tasks.REGISTRY, "toy", toy_task.Toy)
    return get_task(request.param)


@pytest.fixture
def tiny(task):
    """The task's data for the suite: where its rows are, and the entry of a small network without weights."""
    file = HERE / task.name / "tiny.yaml"
    if file.is_file():
        own = yaml.safe_load(file.read_text())
        return {**own, "data": str(file.with_name(own["data"]))}
    entry = {**vars(load_catalog()["efficientnet_lite0"]), "weights": "none", "sha256": None}
    entry = {key: list(value) if isinstance(value, tuple) else value for key, value in entry.items() if value}
    return {"data": "demo", "entry": {key: one for key, one in entry.items() if key not in ("name", "origin")}}


@pytest.fixture
def catalog(tiny, tmp_path):
    """The path of a catalog whose entry "bare" is the small network."""
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({"backbones": {"bare": tiny["entry"]}}))
    return str(path)


@pytest.fixture
def dataset(task, tiny, tmp_path, monkeypatch):
    """Sixty rows of the task's own demo or table, read as a user's data are."""
    monkeypatch.setenv("TRIMTAB_CACHE", str(tmp_path / "cache"))
    rows, store = task.rows, open_store(str(tmp_path / "store"))
    (tmp_path / "scratch").mkdir()
    source = rows.open_source(tiny["data"], tmp_path / "scratch")
    inspected = [rows.inspect(item, max_bytes=10**7) for item in islice(source.items(), 60)]
    assert not [one.rejection for one in inspected if one.rejection]
    found = Counter(name for one in inspected for name in one.classes)
    classes = rows.order_classes(found, source.classes, tiny["data"])
    numbers = {name: number for number, name in enumerate(classes)}
    stored = sorted(
        (rows.finished({**one.row, "source": one.name}, numbers) for one in inspected), key=lambda row: row["digest"]
    )
    splits = {"train": stored[:40], "validation": stored[40:50], "test": stored[50:]}
    facts = rows.training_facts([one.row for one in inspected])
    write_dataset(tmp_path / "data", rows=rows, classes=classes, splits=splits, store=store, metadata=facts)
    return open_dataset(tmp_path / "data", store)


@pytest.fixture
def bundle(task, dataset, catalog):
    ((_, backbone, options), *_) = task.candidates([load_catalog(catalog)["bare"]], {})
    assets = task.assets(backbone, dataset, 32)
    architecture = Architecture(
        backbone=backbone.name, source=backbone.architecture, num_outputs=task.num_outputs(assets), task=task.name,
        options=task.network_options(backbone, options, assets),
    )  # fmt: skip
    module = fresh_network(architecture, seed=0).eval()
    return ModelBundle(module=module, architecture=architecture, assets=assets)


def batches(task, dataset, bundle, *, full_size=False, **options):
    transform = task.transform(bundle.assets, full_size=full_size)
    with closing(read_batches(dataset, "train", transform, batch_size=16, **options)) as read:
        return list(read)


def flat(read):
    """Everything in the batches, as bytes."""
    return [
        ([values.tobytes() for values in batch.inputs.values()], np.asarray(batch.targets).tobytes(), batch.digests)
        for batch in read
    ]


def test_every_folder_has_the_same_modules():
    folder = Path(tasks.__file__).parent
    for name in TASKS:
        assert not [module for module in MODULES if not (folder / name / f"{module}.py").is_file()], name


def test_a_task_takes_at_most_sixty_lines():
    assert len(Path(toy_task.__file__).read_text().splitlines()) <= 60


def test_rows_come_back_as_they_were_written(task, dataset):
    rows = list(dataset.iterate("train"))
    assert len(rows) == 40
    assert set(rows[0]) == set(task.rows.schema.names) >= {"digest", "source", *task.rows.target_columns}
    assert dataset.task == task.name
    assert [row["digest"] for row in rows] == sorted(row["digest"] for row in rows)
    assert all(len(bytes.fromhex(row["digest"])) == hashlib.sha256().digest_size for row in rows)
    counts = [task.rows.class_counts(row, len(dataset.classes)) for row in rows]
    if dataset.classes:
        assert np.sum(counts, axis=0).tolist() == dataset.class_counts["train"]
    else:
        assert (dataset.class_counts, counts) == ({}, [None] * 40)


def test_every_row_belongs_to_a_group_whose_share_drift_compares(task, dataset):
    rows, classes = task.rows, dataset.classes
    groups = rows.mix_groups(classes)
    assert len(set(groups)) == len(groups) > 1
    assert all(len(title) > 2 for title in rows.mix_titles)
    for row in dataset.iterate("train", columns=rows.mix_columns):
        counts = rows.mix(row, len(classes))
        assert (counts.shape, counts.dtype) == ((len(groups),), np.int64)
        assert counts.sum() > 0


def test_batches_are_the_same_again_and_after_a_resume_and_in_shares(task, dataset, bundle):
    options = {"seed": 1, "epoch": 2, "augment": True}
    whole = flat(batches(task, dataset, bundle, **options))
    assert flat(batches(task, dataset, bundle, **options)) == whole
    assert flat(batches(task, dataset, bundle, **options, skip=1)) == whole[1:]
    parts = [batches(task, dataset, bundle, **options, share=Share(rank, 3)) for rank in range(3)]
    for number, batch in enumerate(batches(task, dataset, bundle, **options)):
        for name, values in batch.inputs.items():
            found = [as_wide(part[number].inputs[name], values.shape) for part in parts]
            np.testing.assert_array_equal(np.concatenate(found), values)
        assert sum(part[number].count for part in parts) == batch.count
    assert flat(batches(task, dataset, bundle, seed=2)) != flat(batches(task, dataset, bundle, seed=1))


def as_wide(values, shape):
    """The values in a wider batch, where a row is padded on with what it ends with."""
    wider = [(0, 0), *((0, wanted - size) for size, wanted in zip(values.shape[1:], shape[1:], strict=True))]
    return np.pad(values, wider, mode="edge")


def test_the_loss_of_a_batch_is_the_sum_over_its_rows(task, dataset, bundle):
    (batch, *_) = as_tensors(read_batches(dataset, "train", task.transform(bundle.assets), batch_size=8))
    with torch.no_grad():
        outputs = bundle.module(*batch.inputs.values())
        total = float(task.loss(outputs, batch))
        apart = [float(task.loss(outputs[row : row + 1], batch.part(slice(row, row + 1)))) for row in range(8)]
        compared = [task.comparable(outputs[row : row + 1], batch.part(slice(row, row + 1))) for row in range(8)]
    assert total == pytest.approx(sum(apart), rel=1e-4)
    assert batch.count == sum(batch.part(slice(row, row + 1)).count for row in range(8)) > 0
    together = task.comparable(outputs, batch)
    assert together.shape[0] == batch.count
    torch.testing.assert_close(torch.cat(compared), together)


def test_statistics_of_parts_add_up_and_a_perfect_answer_is_perfect(task, dataset, bundle):
    (batch, *_) = batches(task, dataset, bundle)
    tensors = place_batch(next(iter(as_tensors(iter_of([batch])))), CPU)
    with torch.no_grad():
        guessed = task.guess(bundle.module(*tensors.inputs.values()), tensors)
    check_statistics(
        task.training_statistics,
        guessed,
        batch,
        len(dataset.classes),
        [task.training_metric],
        np.asarray(batch.targets),
    )


def check_statistics(statistics, predicted, batch, classes, metrics, targets):
    """Those of parts add up to those of the whole, and the targets themselves are perfect."""
    whole = statistics(predicted, batch, classes)
    assert whole.shape[0] == len(batch)
    halves = [statistics(predicted[part], batch.part(part), classes).sum(axis=0) for part in (slice(5), slice(5, None))]
    np.testing.assert_allclose(halves[0] + halves[1], whole.sum(axis=0))
    for metric in metrics:
        value = metric.value(whole)
        assert np.isnan(value) or 0 <= value <= (1 if metric.percent else 100)
        best = metric.value(statistics(targets, batch, classes))
        assert best == pytest.approx(1 if metric.percent else 100)
        assert not metric.better(value, best)


def iter_of(read):
    yield from read


def test_the_head_and_the_features_are_the_network(task, dataset, bundle):
    (batch, *_) = as_tensors(read_batches(dataset, "train", task.transform(bundle.assets), batch_size=8))
    with torch.no_grad():
        if parts := task.split(bundle.module):
            given = parts[0](*batch.inputs.values())
            torch.testing.assert_close(parts[1](*given), bundle.module(*batch.inputs.values()), rtol=1e-4, atol=1e-5)
        if compute := task.labelled_vectors(bundle.module):
            vectors, labels, rows = compute(batch)
            assert len(vectors) == len(labels) == len(rows) > 0
            assert set(rows.tolist()) <= set(range(8))
        assert bool(compute) == bool(dataset.classes)
        assert task.embeddings(bundle.module)(*batch.inputs.values()).shape[0] == 8
    layers = dict(bundle.module.named_modules())
    assert bool(task.output_layers(bundle.module)) == bool(dataset.classes)
    assert all(name in layers for name in task.output_layers(bundle.module))


def test_a_model_comes_back_and_its_graphs_compute_what_it_computes(task, dataset, bundle, tmp_path):
    store = open_store(str(tmp_path / "store"))
    manifest = save_model(tmp_path / "model", bundle, store, {})
    loaded = load_model(manifest, store)
    assert (loaded.architecture, loaded.assets) == (bundle.architecture, bundle.assets)
    plain = float32_bundle(loaded, tmp_path, source_digest=manifest.digest)
    assert plain.provenance["parity"]["relative_difference"] < 1e-3
    found = load_onnx(save_onnx(tmp_path / "onnx", plain, store), store)
    assert found.assets == bundle.assets
    assert found.serving_files() == plain.serving_files()
    sessions = {name: open_session(path) for name, path in found.graphs.items()}
    (batch, *_) = batches(task, dataset, bundle, full_size=True)
    predicted = task.predict(task.run(sessions, batch, found.assets), batch, found.assets)
    check_statistics(task.statistics, predicted, batch, len(dataset.classes), task.metrics, batch.targets)
    assert task.reference(bundle.module, batch, bundle.assets) in (None, predicted)
    check_timed_calls(task, sessions, batch, found.assets)
    inside = open_session(next(iter(found.graphs.values()))).get_modelmeta().custom_metadata_map
    read = {key.removeprefix("trimtab."): json.loads(value) for key, value in inside.items()}
    assert task.read_metadata(read, bundle.assets.to_files()) == bundle.assets


def check_timed_calls(task, sessions, batch, assets):
    """Call n runs the n-th rows in a circle, whatever the model."""
    call = task.timed_call(sessions, batch, assets, rows=2)
    assert (call is None) == (not task.timed_units)
    if call is not None:
        made = [call(number) for number in range(len(batch) // 2)]
        assert min(made) >= 2
        assert call(len(batch) // 2) == made[0]
        assert task.timed_call(sessions, batch, assets, rows=len(batch))(0) == sum(made)


def check_robustness(task, found):
    """Each kind of damage was measured; on rows that cannot be damaged nothing was."""
    assert (found is None) == (task.corruptions is None)
    if found is not None:
        assert found["rows"] == 2
        assert tuple((one["corruption"], one["severity"]) for one in found["corrupted"]) == task.corruptions.kinds


def test_damaged_rows_keep_their_target_and_become_batches(task, dataset, bundle):
    if task.corruptions is None:
        with pytest.raises(UserError, match=f"{task.row_noun} cannot be corrupted"):
            check_corruptions(dataset, 1)
        return
    transform = task.transform(bundle.assets, full_size=True)
    row = next(iter(dataset.iterate("test", columns=(*transform.columns, "digest"))))
    versions = list(task.corruptions.versions(row, [bundle.assets, bundle.assets]))
    assert len(versions) == 1 + len(task.corruptions.kinds)
    inputs = set(row) - {"digest", *task.rows.target_columns}
    for one in versions:
        assert {name: value for name, value in one.items() if name not in inputs} == {
            name: value for name, value in row.items() if name not in inputs
        }
    batch, clean = (transform.collate([transform.decode(one) for one in some], [row["digest"]] * len(some), None)
                    for some in (versions, [row]))  # fmt: skip
    for name, values in batch.inputs.items():
        assert np.array_equal(values[0], clean.inputs[name][0])
        assert all(np.shape(value) == np.shape(values[0]) for value in values)
        assert not any(np.array_equal(value, values[0]) for value in values[3::3]), "the severest differ"
    again = list(task.corruptions.versions(row, [bundle.assets, bundle.assets]))
    assert again == versions


def test_a_student_sees_the_same_view_smaller(task, dataset, bundle):
    free = {size for spec in bundle.inputs for size in spec.shape if isinstance(size, str)}
    smaller = task.student_assets(bundle.assets, bundle.assets, 24 if free == {"batch"} else 0)
    (batch, *_) = as_tensors(read_batches(dataset, "train", task.transform(bundle.assets), batch_size=4))
    seen = task.student_inputs(batch.inputs, bundle.assets, smaller)
    for spec in task.inputs(smaller):
        found = tuple(seen[spec.name].shape)
        assert found == spec.sizes({size: found[spec.shape.index(size)] for size in free & set(spec.shape)})
        assert found[0] == 4


@pytest.fixture
def run_stage(tmp_path, monkeypatch):
    """Runs a stage on artifacts by name, as KFP's executor would; returns its outputs by name."""
    monkeypatch.setenv("TRIMTAB_STORE", str(tmp_path / "store"))
    monkeypatch.setattr(latency, "_MOST_SECONDS", 0.0)  # the fewest blocks: no figure is looked at here

    def run(stage, folder, *, inputs, **parameters):
        component = getattr(importlib.import_module(f"components.{stage}.component"), stage)
        types = {"metrics": dsl.Metrics, "page": dsl.HTML, "visualization": dsl.ClassificationMetrics}
        (tmp_path / folder).mkdir()
        outputs = {
            output: types.get(output, dsl.Artifact)(uri=str(tmp_path / folder / output))
            for output in component.component_spec.outputs or {}
        }
        component.python_func(**inputs, **outputs, **parameters)
        return outputs

    return run


def test_a_teacher_answers_in_the_columns_of_the_target_or_not_at_all(task, dataset, bundle):
    answers = task.teacher_answers(bundle.module, bundle.assets, beam=2)
    if answers is None:
        return
    rows = list(dataset.iterate("train", limit=3))
    for answer in (found := answers(rows)):
        assert set(answer.target) == set(task.rows.target_columns)
        assert answer.loss > 0
    assert len(found) == len(rows)


@pytest.mark.timeout(600)
def test_a_small_network_passes_through_every_stage(task, dataset, catalog, tiny, bundle, tmp_path, run_stage):
    data = {"dataset": dsl.Dataset(uri=str(tmp_path / "data"))}
    selected = run_stage(
        "backbone_selection", "selected", inputs=data, backbones=["bare"], catalog=catalog, image_size=32,
    )  # fmt: skip
    training = {"batch_size": 16, "epochs": 1}
    tuned = run_stage("fine_tune", "tuned", inputs={**data, "model": selected["model"]}, head_epochs=1, **training)
    recipe = {"name": "80% MACs", "macs_fraction": 0.8, "student_size": 0, **tiny.get("recipe", {})}
    pruned = run_stage(
        "prune", "pruned", inputs={**data, "model": tuned["tuned"]}, recipe=recipe, calibration_images=32
    )
    assert pruned["metrics"].metadata["macs_fraction"] < recipe["macs_fraction"] + 0.05
    distilled = run_stage(
        "distill", "distilled", inputs={**data, "teacher": tuned["tuned"], "student": pruned["pruned"]}, recipe=recipe,
        **training,
    )  # fmt: skip
    quantized = run_stage(
        "quantize", "quantized", inputs={**data, "model": distilled["distilled"]}, recipe=recipe, calibration_images=16
    )
    shares = quantized["metrics"].metadata
    # A mobile network's first three stay float; a network of products has none.
    in_float = shares.get("convolutions", 0) - shares.get("integer_convolutions", 0)
    assert in_float == (3 if shares.get("convolutions") else 0)
    pair = {**data, "candidate": quantized["quantized"], "baseline": tuned["tuned"]}
    measured = run_stage("evaluate", "measured", inputs=pair, split="validation", latency_rounds=2)
    chosen = run_stage(
        "choose", "chosen", recipes=[recipe],
        inputs={
            "candidates": [quantized["quantized"]], "models": [distilled["distilled"]],
            "evaluations": [measured["evaluation"]],
        },
    )  # fmt: skip
    asked = {"corruption_rows": 2 if task.corruptions else 0, "price_per_core_hour": 0.05}
    tested = run_stage("evaluate", "tested", inputs=pair, split="test", latency_rounds=2, **asked)
    released = run_stage(
        "export", "released", name="small",
        inputs={
            **data, "candidate": chosen["chosen"], "model": chosen["chosen_model"], "baseline": tuned["tuned"],
            "evaluation": tested["evaluation"], "decision": chosen["decision"],
        },
    )  # fmt: skip
    facts = released["release"].metadata
    store = open_store(str(tmp_path / "store"))
    files = store.releases.files("small", facts["version"])
    graphs = {f"{name}.onnx" for name in bundle.graphs}
    made = load_onnx(tmp_path / "quantized" / "quantized", store)
    assert {*graphs, *made.assets.to_files(), "card.md", "SHA256SUMS"} <= set(files)
    document = json.loads(store.releases.read("small", facts["version"], "evaluation.json"))
    check_robustness(task, document["robustness"])
    stated = document["candidate"]
    shipped = {*graphs, *made.assets.beside()}
    assert stated["size_bytes"] == sum(len(store.releases.read("small", facts["version"], name)) for name in shipped)
    watches = task.general is not None and bool(task.general.rows(bundle.assets, {}))
    assert ("general" in stated["details"]) is watches, "what training did to inputs outside of the data"
    smaller = load_model(read_manifest(tmp_path / "pruned" / "pruned", kind="model"), store)
    assert count_parameters(smaller.module) < count_parameters(bundle.module)
    assert made.provenance["fused"]["convolutions"] + made.provenance["fused"]["products"] > 0
    assert task.metrics[0].label in store.releases.read("small", facts["version"], "card.md").decode()
    folder = tmp_path / "store" / "releases" / "small" / facts["version"]
    tried = subprocess.run(
        [sys.executable, "-I", folder / "self_test.py"], capture_output=True, text=True, check=False
    )  # fmt: skip
    assert tried.returncode == 0, tried.stdout + tried.stderr
    assert tried.stdout.count("computes the same here") == len(graphs)
