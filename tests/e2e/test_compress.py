"""A network that a user has trained, from the checkpoint to the release."""

import json

import pytest
import torch
from finished_run import FinishedRun, stage_of
from own_checkpoint import LABELS, OwnNetwork

from components.core.artifacts.manifest import Manifest, parse_manifest
from components.core.bundles.model_bundle import load_model
from components.core.bundles.own_model import stored_model
from components.core.errors import UserError
from components.core.evaluation.document import Evaluation

pytestmark = pytest.mark.e2e


def made_by(run: FinishedRun, stage: str, name: str) -> Manifest:
    (record,) = [record for record in run.records().values() if stage_of(record) == stage]
    return parse_manifest(record["output_artifacts"][name][0]["manifest"])


def released(run: FinishedRun, file: str) -> bytes:
    return run.store.releases.read("own", run.document["outputs"]["release_version"], file)


def test_the_baseline_has_the_accuracy_that_the_users_own_script_found(
    compressed_run: FinishedRun, own_network: OwnNetwork
) -> None:
    evaluation = Evaluation.from_json(json.loads(released(compressed_run, "evaluation.json")))
    assert (evaluation.split, evaluation.rows) == ("test", own_network.total)
    assert evaluation.primary.baseline.value == own_network.right / own_network.total
    # Neither chance nor perfect, or equality would say little.
    assert 0.6 < own_network.right / own_network.total < 0.99


def test_the_networks_tensors_come_through_to_the_bit_when_nothing_is_to_be_trained(
    compressed_run: FinishedRun, own_network: OwnNetwork
) -> None:
    for stage, name in (("adopt", "adopted"), ("prune", "pruned"), ("distill", "distilled")):
        state = load_model(made_by(compressed_run, stage, name), compressed_run.store).module.state_dict()
        assert set(state) == set(own_network.state)
        assert all(torch.equal(state[name], tensor) for name, tensor in own_network.state.items()), stage
    assert "fine_tune" not in {stage_of(record) for record in compressed_run.records().values()}


def test_the_release_keeps_the_order_of_the_classes_and_is_verified(compressed_run: FinishedRun) -> None:
    assert json.loads(released(compressed_run, "labels.json")) == LABELS
    provenance = json.loads(released(compressed_run, "provenance.json"))
    assert provenance["scheme"] == "int8"
    assert provenance["backbone"] == "torchvision:resnet18"
    assert provenance["fused"]["convolutions"] == provenance["fused"]["convolutions_total"] > 5
    assert provenance["verification"]


def test_a_model_of_an_earlier_run_is_found_by_the_beginning_of_its_digest(compressed_run: FinishedRun) -> None:
    adopted = made_by(compressed_run, "adopt", "adopted")
    assert stored_model(adopted.digest[:12], compressed_run.store) == adopted
    with pytest.raises(UserError, match="has made a model with the digest 123456789abc"):
        stored_model("123456789abc", compressed_run.store)


def test_a_release_is_compressed_further_from_its_own_network(
    compressed_run: FinishedRun, own_network: OwnNetwork, trimtab
) -> None:
    version = compressed_run.document["outputs"]["release_version"]
    parameters = own_network.parameters(prune_targets="0.8", distill_epochs="1", model=f"own/{version}", round_to="8")
    for name in ("architecture", "labels", "mean", "std", "image_size"):
        del parameters[name]
    run = trimtab(compressed_run.home, "compress", parameters=parameters)
    assert run.code == 0, run.printed
    adopted = made_by(run, "adopt", "adopted")
    assert adopted.files == made_by(compressed_run, "distill", "distilled").files
    evaluation = Evaluation.from_json(json.loads(released(run, "evaluation.json")))
    assert evaluation.primary.baseline.value == own_network.right / own_network.total
    student = load_model(made_by(run, "distill", "distilled"), run.store)
    assert student.architecture.surgery
    assert student.assets == load_model(adopted, run.store).assets


def test_the_release_says_that_nobody_knows_what_a_users_own_file_was_trained_on(compressed_run: FinishedRun) -> None:
    for file in ("card.md", "evaluation.json"):
        assert "Nothing says which images the given network was trained on" in released(compressed_run, file).decode()
