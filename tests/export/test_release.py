"""A release: its files, its digest, its card, and what it refuses."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from evaluation_documents import comparison, cost, onnxruntime, robustness, runtime
from minisign import KeyPair
from PIL import Image

from components.core.artifacts.manifest import Manifest, publish, read_manifest
from components.core.budget import Budget
from components.core.bundles.model_bundle import load_model, save_model
from components.core.bundles.onnx_bundle import load_onnx, save_onnx
from components.core.bundles.released_sources import read_sources
from components.core.data.dataset import open_dataset
from components.core.errors import UserError
from components.core.evaluation.document import Evaluation, NearCopiesFacts, encode_evaluation
from components.core.numbers import milliseconds, percent
from components.core.report.markdown import code, escape
from components.core.runtime.conversion import describe_file
from components.core.runtime.released import load_release
from components.core.signing import check_signature
from components.core.store import ReleaseExists, canonical_json, open_store
from components.evaluate.bundles import Opened
from components.evaluate.comparison import EvaluateConfig, evaluate_pair
from components.export.assembly import assemble
from components.export.release import checksums, publish_release, release_digest
from components.export.verification import VerificationError

SERVING = ["labels.json", "model.onnx", "preprocess.json"]
FILES = [
    "SHA256SUMS",
    "card.md",
    "client.py",
    "decision.json",
    "evaluation.json",
    "labels.json",
    "model.onnx",
    "preprocess.json",
]


def publish_evaluation(path: Path, evaluation: Evaluation, store) -> Path:
    files = {"evaluation.json": encode_evaluation(evaluation)}
    publish(path, kind="evaluation", files=files, metadata={}, store=store)
    return path


def released_evaluation(folder: Path) -> Evaluation:
    return Evaluation.from_json(json.loads((folder / "evaluation.json").read_text()))


def test_release_holds_serving_files_and_evidence_and_its_checksums_hold(run_export, chain):
    outputs = run_export()
    facts = outputs["release"].metadata
    folder = Path(facts["uri"].removeprefix("file://"))
    assert set(FILES) <= {path.name for path in folder.iterdir()}
    done = subprocess.run(["sha256sum", "--check", "SHA256SUMS"], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(": OK") == len(list(folder.iterdir())) - 2
    assert (folder / "card.md").read_bytes() == Path(outputs["card"].path).read_bytes()
    assert released_evaluation(folder).samples == ()
    assert read_manifest(outputs["release"].path, kind="release").metadata["release_digest"] == facts["release_digest"]


def test_with_a_signing_key_in_its_environment_the_stage_signs_what_it_releases(
    run_export, chain, tmp_path, monkeypatch
):
    pair = KeyPair.generate()
    monkeypatch.setenv("TRIMTAB_SIGNING_KEY", str(tmp_path / "trimtab.key"))
    with pytest.raises(UserError, match="cannot be read"):
        run_export(store=open_store(str(tmp_path / "store")), name="signed")
    (tmp_path / "trimtab.key").write_bytes(bytes(pair.secret_key))
    version = run_export(name="signed")["release"].metadata["version"]
    assert check_signature(chain.store, "signed", version, pair.public_key) == f"trimtab release signed/{version}"


def test_the_released_file_alone_repeats_the_accuracy_that_was_stated(run_export, chain, monkeypatch):
    from components.core.data.dataset import open_dataset

    monkeypatch.setenv("TRIMTAB_CACHE", str(chain.folder / "cache"))
    folder = Path(run_export()["release"].metadata["uri"].removeprefix("file://"))
    rows = list(open_dataset(chain.folder / "data", chain.store).iterate("test"))
    release = load_release((folder / "model.onnx").read_bytes())
    predictions = release([row["image"] for row in rows])
    top1 = np.mean([prediction.index == row["label"] for prediction, row in zip(predictions, rows, strict=True)])
    assert top1 == released_evaluation(folder).primary.candidate.value


def test_the_card_names_the_data_set_that_the_network_learnt_from_where_it_is_another(run_export, chain):
    card = Path(run_export()["card"].path).read_text()
    [line] = [line for line in card.splitlines() if "the network learnt from" in line]
    assert read_manifest(chain.folder / "model").metadata["dataset"] in line


def test_the_digest_names_the_serving_files_and_nothing_else(run_export, chain, tmp_path):
    first = run_export()["release"].metadata
    measured = replace(chain.evaluation, size_ratio=99.0, host={**chain.evaluation.host, "processor": "another one"})
    other = publish_evaluation(tmp_path / "other", measured, chain.store)
    (tmp_path / "elsewhere").mkdir()
    elsewhere = copy_of(chain.store, tmp_path / "elsewhere" / "store")
    second = run_export(store=elsewhere, evaluation=other)["release"].metadata
    assert second["release_digest"] == first["release_digest"]
    assert second["version"] == first["release_digest"][:12]
    served = ("labels.json", "model.onnx", "preprocess.json")
    files = {name: chain.store.releases.read("garments", first["version"], name) for name in served}
    expected = sha256(canonical_json({name: sha256(data).hexdigest() for name, data in files.items()})).hexdigest()
    assert first["release_digest"] == expected
    assert release_digest({**files, "labels.json": b"[]"}) != expected


def copy_of(store, folder: Path):
    import shutil

    shutil.copytree(Path(store.uri.removeprefix("file://")), folder)
    shutil.rmtree(folder / "releases", ignore_errors=True)
    return open_store(str(folder))


def test_releasing_the_same_files_again_keeps_the_first_evidence(run_export, chain, tmp_path):
    first = run_export(name="again")["release"].metadata
    other = publish_evaluation(tmp_path / "slower", replace(chain.evaluation, size_ratio=123.0), chain.store)
    second = run_export(name="again", evaluation=other)["release"].metadata
    assert second["uri"] == first["uri"]
    kept = json.loads(chain.store.releases.read("again", first["version"], "evaluation.json"))
    assert kept["size_ratio"] != 123.0


def test_other_serving_files_under_a_published_version_are_refused(tmp_path):
    store = open_store(str(tmp_path / "store"))
    files = {"model.onnx": b"one", "labels.json": b"[]", "preprocess.json": b"{}"}
    publish_release(store, "a", "1", files)
    with pytest.raises(ReleaseExists):
        publish_release(store, "a", "1", {**files, "model.onnx": b"two"})


def test_checksums_are_in_sha256sums_format():
    assert checksums({"b": b"", "a": b"x"}) == f"{sha256(b'x').hexdigest()}  a\n{sha256(b'').hexdigest()}  b\n".encode()


def test_a_missed_budget_stands_first_and_how_it_was_measured_is_said(run_export):
    card = Path(run_export()["card"].path).read_text()
    lines = [line for line in card.splitlines() if line]
    assert lines[1].startswith("**THIS RELEASE MISSES ITS BUDGET.**")
    assert "size is" in lines[1]
    assert "| loss | 50 points |" in card
    for said in (
        "of the test split, which its run read once, after the choice; nothing in that run was selected",
        "1 thread",
        "paired score interval",
        "Apache-2.0",
        "20 images",
    ):
        assert said in card
    prose = re.sub(r"```python\n.*?```", "", card, flags=re.DOTALL)
    for left in ("{{", "{%", " None", "Undefined"):
        assert left not in prose


def test_the_program_in_the_card_runs_and_says_what_the_release_says(run_export, chain, tmp_path):
    outputs = run_export()
    folder = Path(outputs["release"].metadata["uri"].removeprefix("file://"))
    program = Path(outputs["card"].path).read_text().split("```python\n")[1].split("```")[0]
    noise = np.random.default_rng(0).integers(0, 255, (50, 70, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "image.jpg")
    (tmp_path / "model.onnx").write_bytes((folder / "model.onnx").read_bytes())
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    expected = load_release(tmp_path / "model.onnx")([(tmp_path / "image.jpg").read_bytes()])[0].label
    assert done.stdout.strip() == expected


def test_a_release_carries_its_temperature_and_its_client_states_probabilities_by_it(run_export, chain, tmp_path):
    plain = load_onnx(chain.inputs["candidate"], chain.store)
    scaled = replace(plain, assets=replace(plain.assets, temperature=2.5), graphs={"model": tmp_path / "model.onnx"})
    model = onnx.load(plain.graphs["model"])
    describe_file(model, scaled)
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString(deterministic=True))
    manifest = save_onnx(tmp_path / "candidate", scaled, chain.store)
    dataset = open_dataset(chain.inputs["dataset"], chain.store)
    baseline = Opened(bundle=load_onnx(chain.inputs["baseline"], chain.store), digest="0" * 64)
    config = EvaluateConfig(split="test", threads=1, latency_rounds=1, budget=Budget())
    measured = evaluate_pair(dataset, Opened(bundle=scaled, digest=manifest.digest), baseline, config)
    evaluation = publish_evaluation(tmp_path / "measured", measured, chain.store)
    outputs = run_export(name="scaled", candidate=tmp_path / "candidate", evaluation=evaluation)

    folder = Path(outputs["release"].metadata["uri"].removeprefix("file://"))
    assert json.loads((folder / "temperature.json").read_text()) == 2.5
    now, before = (measured.candidate.details[name]["value"] for name in ("calibration", "calibration_unscaled"))
    assert before == chain.evaluation.candidate.details["calibration"]["value"] != now
    card = Path(outputs["card"].path).read_text()
    said = (
        f"Expected calibration error {percent(now)} (",
        f"temperature 2.5 (without: {percent(before)} (",
        "/ 2.5); this",
    )
    assert all(part in card for part in said), card
    noise = np.random.default_rng(0).integers(0, 255, (50, 70, 3), dtype=np.uint8)
    Image.fromarray(noise).save(folder / "image.jpg")
    done = subprocess.run([sys.executable, "client.py"], cwd=folder, capture_output=True, text=True)
    (folder / "image.jpg").rename(tmp_path / "image.jpg")
    assert done.returncode == 0, done.stderr
    release, image = load_release(folder / "model.onnx"), (tmp_path / "image.jpg").read_bytes()
    logits = release.logits([image])[0].astype(float)
    chances = np.exp(logits / 2.5) / np.exp(logits / 2.5).sum()
    label, chance = done.stdout.splitlines()
    assert label == release.labels[int(logits.argmax())]
    assert float(chance) == pytest.approx(chances.max(), abs=1e-4)
    np.testing.assert_allclose(release([image])[0].probabilities, chances, rtol=1e-5)


def test_the_card_states_cold_latency_the_interval_of_the_speed_up_and_what_was_measured_badly(
    run_export, chain, tmp_path
):
    measured = replace(chain.evaluation, warnings=("Latency at batch 1: the machine was busy.",))
    evaluation = publish_evaluation(tmp_path / "busy", measured, chain.store)
    card = Path(run_export(name="busy", evaluation=evaluation)["card"].path).read_text()
    speedup, cold = measured.speedups[0], measured.candidate.at(1).cold_ms
    assert f"× as fast ({speedup.low:.2f} to {speedup.high:.2f}) |" in card
    assert f"| latency, batch 1 (median, cold) | {milliseconds(measured.baseline.at(1).cold_ms)} | " in card
    assert f"| {milliseconds(cold)} |" in card
    assert "**Latency at batch 1: the machine was busy.**" in card


def test_the_card_says_which_runtime_to_serve_with_and_is_as_before_where_one_is_installed(run_export, chain, tmp_path):
    assert "Runtimes" not in Path(run_export(name="alone")["card"].path).read_text()
    measured = replace(chain.evaluation, runtimes=(onnxruntime(), runtime()))
    evaluation = publish_evaluation(tmp_path / "two", measured, chain.store)
    lines = Path(run_export(name="two", evaluation=evaluation)["card"].path).read_text().splitlines()
    first = lines.index("## Runtimes")
    assert lines[first + 2].startswith("**Serve with OpenVINO: it is 1.50× as fast at batch 1 here (")
    assert lines[first + 4] == "| runtime | version | latency, batch 1 | throughput, batch 32 | answers |"
    assert lines[first + 5] == "|---|---|---|---|---|"
    assert lines[first + 7].startswith(
        "| OpenVINO | 2026.4 | 1.00 ms (1.50× as fast) | 2,000 images/s (2.00× as fast) |"
    )


def test_figures_of_made_up_rows_say_so_beside_the_split(run_export, chain, tmp_path):
    described = replace(chain.evaluation.dataset, description="synthetic scenes", near_copies=None)
    evaluation = publish_evaluation(tmp_path / "made", replace(chain.evaluation, dataset=described), chain.store)
    card = Path(run_export(name="made", evaluation=evaluation)["card"].path).read_text()
    assert f" of the {chain.evaluation.split} split (synthetic scenes)" in card


def test_class_names_cannot_become_markup(run_export):
    card = Path(run_export()["card"].path).read_text()
    assert "<script>" not in card
    assert r"a\|b" in card
    assert r"d\_e\*" in card
    assert escape("a\n# title") == r"a \# title"
    assert code("`a`|b") == "`'a'\\|b`"


def test_the_slices_stand_in_the_card_and_their_names_cannot_become_markup(run_export, chain, tmp_path):
    figures = {"points": -5.0, "low": -9.0, "high": -1.0}
    slices = (
        comparison("camera=<script>|", support=120, **figures),
        comparison("camera=dusk", support=5, **figures | {"low": None, "high": None}),
        comparison("camera=dawn", support=0, points=None),
    )
    evaluation = publish_evaluation(tmp_path / "sliced", replace(chain.evaluation, slices=slices), chain.store)
    card = Path(run_export(name="sliced", evaluation=evaluation)["card"].path).read_text()
    lines = [line for line in card.splitlines() if line.startswith("| camera")]
    assert lines == [
        r"| camera=\<script\>\| | 120 | 75.00 % | 70.00 % | −5.00 points (−9.00 to −1.00) |",
        "| camera=dusk | 5 | 75.00 % | 70.00 % | −5.00 points, too few images to tell |",
        "| camera=dawn | 0 | – | – | no images |",
    ]


def test_robustness_and_cost_stand_in_the_card_and_leave_the_version_as_it_is(run_export, chain, tmp_path):
    plain = run_export(name="plain")["release"].metadata
    asked = replace(chain.evaluation, robustness=robustness(), cost=cost(0.036))
    outputs = run_export(name="asked", evaluation=publish_evaluation(tmp_path / "asked", asked, chain.store))
    assert outputs["release"].metadata["release_digest"] == plain["release_digest"]
    card = Path(outputs["card"].path).read_text()
    assert "| cost per million images | 0.0312 | 0.00625, 5.00× cheaper |" in card
    assert "without energy" in card
    assert "## Robustness" in card
    assert (
        "| gaussian noise | 88.0 % → 87.0 % | 86.0 % → 84.0 % | 84.0 % → 81.0 % | 4.00 points → 6.00 points |" in card
    )
    assert "−2.00 points (95% interval −3.50 to −0.50) for the release." in card
    assert "on 200 images of the test split" in card
    folder = Path(outputs["release"].metadata["uri"].removeprefix("file://"))
    assert released_evaluation(folder).cost == asked.cost
    card = (Path(plain["uri"].removeprefix("file://")) / "card.md").read_text()
    assert "Robustness" not in card
    assert "cost per million" not in card


@pytest.mark.parametrize("grouped", [False, True])
def test_the_card_says_of_near_copies_in_the_data(run_export, chain, tmp_path, grouped):
    near = NearCopiesFacts(
        grouped=grouped, rows=12, groups=5, in_training={"test": 0 if grouped else 7, "validation": 0}
    )
    leaky = replace(chain.evaluation, dataset=replace(chain.evaluation.dataset, near_copies=near))
    evaluation = publish_evaluation(tmp_path / "leaky", leaky, chain.store)
    card = Path(run_export(name=f"leaky{grouped}", evaluation=evaluation)["card"].path).read_text()
    total = leaky.dataset.counts[leaky.split]
    assert (f" split (7 of {total:,} have a near copy in training)" in card) is not grouped
    assert ("(12 images in 5 groups) were kept in one split each" in card) is grouped


def test_a_network_that_the_file_was_not_made_of_is_refused(run_export, chain, tmp_path, monkeypatch):
    monkeypatch.setenv("TRIMTAB_CACHE", str(chain.folder / "cache"))
    other = load_model(chain.inputs["model"], chain.store)
    other.module.fc.bias.data += 1
    save_model(tmp_path / "other", other, chain.store, {})
    with pytest.raises(UserError, match="give export the model that quantize was given"):
        run_export(model=tmp_path / "other")


def test_an_evaluation_of_another_candidate_is_refused(run_export, chain, tmp_path):
    other = replace(chain.evaluation, candidate=replace(chain.evaluation.candidate, digest="f" * 64))
    with pytest.raises(UserError, match="the evaluation is of candidate ffffffffffff"):
        run_export(evaluation=publish_evaluation(tmp_path / "other", other, chain.store))


def test_a_file_that_does_not_repeat_the_evaluated_predictions_is_not_released(run_export, chain, tmp_path):
    first, *others = chain.evaluation.samples
    changed = replace(first, said=next(name for name in ("a|b", "d_e*") if name != first.said))
    other = replace(chain.evaluation, samples=(changed, *others))
    with pytest.raises(VerificationError, match="the release alone says"):
        run_export(name="never", evaluation=publish_evaluation(tmp_path / "other", other, chain.store))
    assert not [name for name, _ in chain.store.releases.list() if name == "never"]


def test_a_float32_candidate_is_compared_with_torch_itself(run_export, chain, tmp_path, monkeypatch):
    monkeypatch.setenv("TRIMTAB_CACHE", str(chain.folder / "cache"))
    plain = load_onnx(chain.inputs["baseline"], chain.store)
    manifest = save_onnx(tmp_path / "plain", plain, chain.store, {})
    side = replace(chain.evaluation.candidate, digest=manifest.digest, scheme="float32")
    document = replace(chain.evaluation, candidate=side, samples=())
    evaluation = publish_evaluation(tmp_path / "evaluation", document, chain.store)
    outputs = run_export(name="plain", candidate=tmp_path / "plain", evaluation=evaluation)
    provenance = json.loads(
        chain.store.releases.read("plain", outputs["release"].metadata["version"], "provenance.json")
    )
    assert provenance["verification"]["parity"]["batch_sizes"] == [1, 3]
    assert provenance["verification"]["same_graph"]


def test_a_name_that_cannot_be_a_folder_is_refused_first(run_export):
    with pytest.raises(UserError, match="release name"):
        run_export(name="../up")


@pytest.mark.parametrize("wrong", [5, ["MIT"], {"a": 1}, "x" * 5_000_000, "MIT\x1b[2K", "MIT\nall is well"])
def test_a_network_whose_manifest_has_no_short_licence_or_data_set_is_not_released(wrong):
    made_of = {"source_model": "a", "float32_graph": "b", "backbone": "c"}
    data, model = (Manifest(kind=kind, metadata={}, files=()) for kind in ("dataset", "model"))
    for licence, network in ((wrong, model), (None, replace(model, metadata={"dataset": wrong}))):
        with pytest.raises(UserError, match=r"the network's manifest has a (licence|dataset) that is not one short"):
            assemble(
                "m", SimpleNamespace(provenance=made_of), evaluation=None, decision={}, verification=None, digests={},
                sources={"model": network, "dataset": data}, licence=licence,
            )  # fmt: skip


@pytest.mark.parametrize("name", ["source_model", "float32_graph", "backbone"])
def test_a_file_that_does_not_say_what_it_was_made_of_is_not_released(name):
    made_of = {one: "a" for one in ("source_model", "float32_graph", "backbone") if one != name}
    data, model = (Manifest(kind=kind, metadata={}, files=()) for kind in ("dataset", "model"))
    with pytest.raises(UserError, match=f"the ONNX bundle does not say its {name}"):
        assemble(
            "m", SimpleNamespace(provenance=made_of), evaluation=None, decision={}, verification=None, digests={},
            sources={"model": model, "dataset": data},
        )  # fmt: skip


def test_a_release_names_the_network_and_the_data_that_a_retraining_starts_from(run_export, chain):
    facts = run_export()["release"].metadata
    sources = read_sources(chain.store, "garments", facts["version"])
    assert sources == {"model": read_manifest(chain.inputs["model"]), "dataset": read_manifest(chain.inputs["dataset"])}
    assert load_model(sources["model"], chain.store).assets == load_onnx(chain.inputs["candidate"], chain.store).assets


@pytest.mark.parametrize("content", [None, b"[]", b'{"model": {"format": 9}}', b"\xff"])
def test_a_release_that_does_not_say_what_it_was_made_from_is_refused_by_name(tmp_path, content):
    store = open_store(str(tmp_path / "store"))
    files = {"model.onnx": b"x"} if content is None else {"model.onnx": b"x", "sources.json": content}
    store.releases.publish("old", "1", files)
    with pytest.raises(UserError, match=r"release old/1.*sources\.json"):
        read_sources(store, "old", "1")
