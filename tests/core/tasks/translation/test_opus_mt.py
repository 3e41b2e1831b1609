import hashlib
import json
import shutil
from pathlib import Path

import pytest
import torch

from components.core.errors import UserError
from components.core.models.catalog import Backbone
from components.core.tasks.translation import pretrained
from components.core.tasks.translation.networks import EncoderDecoder
from components.core.tasks.translation.opus_mt import WEIGHTS, load_opus_mt
from components.core.tasks.translation.vocabulary import train_vocabulary

WORDS = ("open", "the", "file", "abra", "o", "arquivo", "save", "salve", "row", "linha", "cell", "célula")
PIECES = 60


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders that transformers has written, with random weights: shared embeddings, and separate ones."""
    transformers = pytest.importorskip("transformers")
    sentences = [f"{a} {b} {c}" for a in WORDS for b in WORDS for c in WORDS[:4]]
    spm = train_vocabulary(sentences, size=280)
    pieces = [spm._pieces.id_to_piece(number) for number in range(280)][-(PIECES - 4) :]
    numbers = {piece: number for number, piece in enumerate(["</s>", "<unk>", ">>por<<", *pieces, "<pad>"])}
    made = {}
    for name, shared in (("shared", True), ("separate", False)):
        folder = tmp_path_factory.mktemp(name)
        torch.manual_seed(3)
        model = transformers.MarianMTModel(
            transformers.MarianConfig(
                vocab_size=PIECES, d_model=32, encoder_layers=2, decoder_layers=3, encoder_attention_heads=4,
                decoder_attention_heads=4, encoder_ffn_dim=48, decoder_ffn_dim=40, activation_function="swish",
                scale_embedding=True, pad_token_id=PIECES - 1, eos_token_id=0, decoder_start_token_id=PIECES - 1,
                forced_eos_token_id=0, max_position_embeddings=64, share_encoder_decoder_embeddings=shared,
            )
        ).eval()  # fmt: skip
        with torch.no_grad():
            model.final_logits_bias.normal_()
            for parameter in model.model.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.1)
        model.save_pretrained(folder)
        (folder / "source.spm").write_bytes(spm.model)
        (folder / "target.spm").write_bytes(spm.model)
        (folder / "vocab.json").write_text(json.dumps(numbers, ensure_ascii=False))
        made[name] = folder
    return made


@pytest.fixture
def folder(folders: dict[str, Path], tmp_path: Path) -> Path:
    """A copy to damage."""
    return shutil.copytree(folders["shared"], tmp_path / "model")


@pytest.mark.parametrize("name", ["shared", "separate"])
def test_logits_equal_those_of_transformers(folders: dict[str, Path], name: str) -> None:
    transformers = pytest.importorskip("transformers")
    reference = transformers.MarianMTModel.from_pretrained(folders[name]).eval()
    ours, _ = load_opus_mt(folders[name])
    generator = torch.Generator().manual_seed(0)
    source = torch.randint(1, PIECES - 1, (3, 8), generator=generator)
    target = torch.randint(1, PIECES - 1, (3, 6), generator=generator)
    source[0, 3:], source[1, 7:], source[2, 5:] = 0, 0, 0
    lengths = torch.tensor([4, 8, 6])
    start = torch.full((3, 1), PIECES - 1)
    with torch.no_grad():
        expected = reference(
            input_ids=source,
            attention_mask=(torch.arange(8) < lengths[:, None]).long(),
            decoder_input_ids=torch.cat([start, target[:, :-1]], dim=1),
        ).logits
        given = ours(source, target)
    assert expected.std() > 0.5, "the reference is no network of zeros"
    torch.testing.assert_close(given, expected, rtol=1e-4, atol=1e-4)


def test_pieces_equal_those_of_the_tokenizer_of_transformers(folders: dict[str, Path]) -> None:
    transformers = pytest.importorskip("transformers")
    tokenizer = transformers.MarianTokenizer(
        source_spm=str(folders["shared"] / "source.spm"), target_spm=str(folders["shared"] / "target.spm"),
        vocab=str(folders["shared"] / "vocab.json"),
    )  # fmt: skip
    _, vocabulary = load_opus_mt(folders["shared"])
    for sentence in ("open the file", ">>por<< save row", "célula €", ""):
        assert vocabulary.encode(sentence) == tokenizer(sentence).input_ids
    pieces = tokenizer(text_target="abra o arquivo").input_ids
    assert vocabulary.encode_target("abra o arquivo") == pieces
    assert vocabulary.decode(pieces) == tokenizer.decode(pieces, skip_special_tokens=True) == "abra o arquivo"


def test_a_vocabulary_that_does_not_belong_to_the_weights_is_refused(folder: Path) -> None:
    numbers = json.loads((folder / "vocab.json").read_text())
    numbers["more"] = len(numbers)
    (folder / "vocab.json").write_text(json.dumps(numbers))
    with pytest.raises(UserError, match="61 source and 61 target pieces, the weights have 60 and 60"):
        load_opus_mt(folder)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("config.json", b"{", "config.json: "),
        ("config.json", b'{"model_type": "t5"}', "config.json: model_type must be 'marian', got 't5'"),
        ("vocab.json", b"[1]", "vocab.json must be an object"),
        ("vocab.json", b'{"</s>": 0, "<unk>": 2}', "vocab.json must number its 2 pieces from 0"),
        ("source.spm", b"x", "source.spm is not a SentencePiece model"),
        ("model.safetensors", b"\xff" * 40, "model.safetensors cannot be read"),
        ("target.spm", None, "cannot read target.spm of the OPUS-MT folder: no such file"),
    ],
)
def test_a_damaged_folder_is_refused_in_one_line(folder: Path, name: str, content: bytes | None, said: str) -> None:
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_bytes(content)
    with pytest.raises(UserError, match=said) as refused:
        load_opus_mt(folder)
    assert "\n" not in str(refused.value)
    assert str(folder) not in str(refused.value)


def test_a_tensor_of_another_shape_is_named(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    stored = load_file(folder / "model.safetensors")
    stored["model.encoder.layers.1.fc1.bias"] = torch.zeros(7)
    save_file(stored, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"model.encoder.layers.1.fc1.bias' has shape \(7,\); .* needs \(48,\)"):
        load_opus_mt(folder)


def test_a_folder_is_an_entry_of_the_catalog(folders: dict[str, Path]) -> None:
    names = ("config.json", "source.spm", "target.spm", "vocab.json")
    digests = {name: hashlib.sha256((folders["shared"] / name).read_bytes()).hexdigest() for name in (*names, WEIGHTS)}
    entry = Backbone(
        name="opus", architecture="marian:transformer", licence="CC-BY-4.0", task="translation",
        weights=f"file:{folders['shared']}/{WEIGHTS}", sha256=digests[WEIGHTS],
        files={name: digests[name] for name in names},
    )  # fmt: skip
    described, (wanted, _) = pretrained.describe(entry), load_opus_mt(folders["shared"])
    assert (described.config, described.vocabulary.target_size) == (wanted.config, PIECES)
    assert described.config.never == (PIECES - 1,)
    network = EncoderDecoder(described.config)
    pretrained.load_weights(entry, network)
    for name, tensor in wanted.state_dict().items():
        assert torch.equal(network.state_dict()[name], tensor), name
