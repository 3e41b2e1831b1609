"""Entries of the catalog become networks with their vocabularies; what cannot be is refused in one line."""

import hashlib
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
import yaml
from marian_files import file_of
from toy_translators import SMALL, network
from trained_vocabulary import vocabulary_of

from components.core.errors import UserError
from components.core.models.catalog import Backbone, load_catalog
from components.core.tasks import get_task
from components.core.tasks.translation import pretrained
from components.core.tasks.translation.networks import EncoderDecoder

TASK = get_task("translation")
CONFIG = replace(SMALL, source_size=400, target_size=400)
FRESH = load_catalog()["small_translator"]


def data_set(languages=("en", "pt-BR")):
    rows = [{"text": f"the page number {n}", "translation": f"a página número {n}"} for n in range(300)]
    manifest = SimpleNamespace(metadata={"languages": list(languages)})
    return SimpleNamespace(manifest=manifest, iterate=lambda split, columns, limit: iter(rows))


@pytest.fixture
def own(tmp_path):
    """A Marian file of random weights with its vocabulary, and their entry."""
    module = network(CONFIG)
    content = {"model.bin": file_of(module), "vocab.spm": vocabulary_of().model}
    for name, data in content.items():
        (tmp_path / name).write_bytes(data)
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in content.items()}
    entry = {
        "task": "translation", "architecture": "marian:transformer", "licence": "none", "weights": "file:model.bin",
        "sha256": digests["model.bin"], "files": {"vocab.spm": digests["vocab.spm"]},
        "options": {"source_language": "en", "target_language": "pt"},
    }  # fmt: skip
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({"backbones": {"own": entry}}))
    return module, load_catalog(tmp_path / "mine.yaml")["own"]


def test_a_marian_file_with_its_vocabulary_becomes_the_network(own):
    module, entry = own
    ((name, backbone, options),) = TASK.candidates([entry], {})
    assets = TASK.assets(backbone, data_set(), 64, settings={"beam_size": 3})
    assert (name, assets.vocabulary.model, assets.beam_size) == ("own", vocabulary_of().model, 3)
    assert (assets.source_language, assets.target_language) == ("en", "pt-BR")
    config = TASK.network_options(backbone, options, assets)
    built = TASK.create_network(SimpleNamespace(options=config)).eval()
    assert TASK.num_outputs(assets) == 400
    assert TASK.load_pretrained(built, backbone, []).startswith("all weights")
    source, target = torch.tensor([[7, 9, 0]]), torch.tensor([[8, 0]])
    torch.testing.assert_close(built(source, target), module(source, target))


def test_other_weights_than_the_networks_are_refused(own):
    _, entry = own
    other = EncoderDecoder(replace(CONFIG, dim=8))
    with pytest.raises(UserError, match="backbone 'own': its weights belong to another network than the one described"):
        TASK.load_pretrained(other, entry, [])


def test_a_vocabulary_that_does_not_belong_to_the_weights_is_refused(own, tmp_path):
    _, entry = own
    data = vocabulary_of(size=390).model
    (tmp_path / "vocab.spm").write_bytes(data)
    wrong = replace(entry, files={"vocab.spm": hashlib.sha256(data).hexdigest()})
    with pytest.raises(UserError, match="'own': the vocabulary has 390 source and 390 target pieces, the weights have"):
        TASK.assets(wrong, data_set(), 0)


def test_languages_of_the_entry_are_held_against_those_of_the_data(own):
    _, entry = own
    with pytest.raises(UserError, match="backbone 'own' translates en to pt, the data set is en to de; give other ba"):
        TASK.assets(entry, data_set(("en", "de")), 0)
    assert pretrained.base_code("pt_BR") == pretrained.base_code("pt-BR") == pretrained.base_code("PT") == "pt"
    assets = TASK.assets(entry, data_set(), 0)
    with pytest.raises(UserError, match="the teacher translates en to pt-BR, the data set is pt-BR to en"):
        TASK.check_classes(data_set(("pt-BR", "en")), assets, model="teacher")
    TASK.check_classes(data_set(("en", "pt-PT")), assets)


def test_a_fresh_network_has_a_vocabulary_of_the_training_split():
    entry = replace(FRESH, options={**FRESH.options, "vocabulary": 300})
    assets = TASK.assets(entry, data_set(), 0)
    assert assets.vocabulary.source_size == 300
    assert assets.vocabulary.decode(assets.vocabulary.encode("a página número 7")) == "a página número 7"
    config = TASK.network_options(entry, {}, assets)
    assert (config["source_size"], config["target_size"], config["dim"]) == (300, 300, 128)
    with pytest.raises(UserError, match="give more sentence pairs, or an entry with a smaller vocabulary"):
        TASK.assets(FRESH, data_set(), 0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task": "", "options": {}}, "is not a translation network; name an entry with 'task: translation'"),
        ({"options": {"dim": 30}}, "dim must be even, at least 4, and a multiple of heads"),
        ({"options": {"depth": 3}}, "unknown option 'depth'; known: source_language"),
        ({"options": {"vocabulary": 12}}, "vocabulary must be a whole number of pieces from 270 on"),
        ({"weights": "hf-hub:a/b"}, "'files' must name what lies beside the weights"),
        ({"weights": "hf-hub:a/b", "options": {"dim": 8}}, "options must be some of source_language, target_language"),
    ],
)
def test_an_entry_that_cannot_be_is_refused_before_anything_is_read(changes, message):
    fields = {"options": {}, **changes}
    with pytest.raises(UserError, match=message):
        TASK.candidates([replace(FRESH, **fields)], {})


def test_a_backbone_for_images_is_refused():
    with pytest.raises(UserError, match="backbone 'resnet18' is not a translation network"):
        TASK.candidates([load_catalog()["resnet18"]], {})


def test_an_opus_mt_folder_is_described_by_its_files(tmp_path):
    entry = Backbone(
        name="opus", architecture="marian:transformer", licence="none", task="translation",
        weights=f"file:{tmp_path}/model.safetensors", sha256=hashlib.sha256(b"w").hexdigest(),
        files={"vocab.spm": hashlib.sha256(b"v").hexdigest()},
    )  # fmt: skip
    (tmp_path / "model.safetensors").write_bytes(b"w")
    (tmp_path / "vocab.spm").write_bytes(b"v")
    with pytest.raises(UserError, match=r"files must name config\.json, source\.spm, target\.spm and vocab\.json"):
        pretrained.describe(entry)
