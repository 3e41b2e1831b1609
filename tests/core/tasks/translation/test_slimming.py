from dataclasses import replace

import pytest
import torch
from toy_translators import network

from components.core.errors import UserError
from components.core.models.complexity import count_macs
from components.core.tasks.translation.assets import TranslationAssets
from components.core.tasks.translation.config import EncoderDecoderConfig
from components.core.tasks.translation.networks import EncoderDecoder
from components.core.tasks.translation.slimming import SlimConfig, slim, with_vocabulary
from components.core.tasks.translation.vocabulary import SentencePieceVocabulary, train_vocabulary

WORDS = {"open": "abra", "the": "o", "file": "arquivo", "save": "salve", "row": "linha", "cell": "célula"}
PAIRS = [(f"{a} {b}", f"{WORDS[a]} {WORDS[b]}") for a in WORDS for b in WORDS]


@pytest.fixture(scope="module")
def assets() -> TranslationAssets:
    endings = ("", "logy", "pole", "ing", "dor", "lar", "name", "ção", "ment", "mente")
    texts = [f"{word}{ending}" for pair in PAIRS for word in " ".join(pair).split() for ending in endings]
    vocabulary = train_vocabulary(texts, size=310)
    return TranslationAssets(vocabulary=vocabulary, source_language="en", target_language="pt-BR")


@pytest.fixture(scope="module")
def whole(assets: TranslationAssets) -> EncoderDecoder:
    size = assets.vocabulary.source_size
    return network(
        EncoderDecoderConfig(
            source_size=size, target_size=size, dim=16, heads=4, encoder_layers=3, decoder_layers=2, encoder_ffn=64,
            decoder_ffn=48,
        )
    )  # fmt: skip


def slimmed(whole: EncoderDecoder, assets: TranslationAssets, macs_fraction: float, **recipe: float):
    config = SlimConfig.of(recipe, macs_fraction=macs_fraction, round_to=8)
    return slim(whole, assets, config, pairs=PAIRS, sample=PAIRS[:16])


def test_a_recipe_that_asks_for_nothing_changes_nothing(whole: EncoderDecoder, assets: TranslationAssets) -> None:
    found = slimmed(whole, assets, 1.0)
    assert found.assets == assets
    assert found.notes == {}
    assert all(kept == total for kept, total in found.parts.values())
    for name, values in whole.state_dict().items():
        torch.testing.assert_close(found.module.state_dict()[name], values, rtol=0, atol=0)
    assert all(parameter.grad is None for parameter in whole.parameters())


def test_everything_together_reaches_the_share_and_builds_anew(
    whole: EncoderDecoder, assets: TranslationAssets
) -> None:
    before = {name: values.clone() for name, values in whole.state_dict().items()}
    found = slimmed(whole, assets, 0.45, vocabulary_coverage=1.0, heads_fraction=0.75, encoder_layers=2)
    share = count_macs(found.module, found.assets.inputs) / count_macs(whole, assets.inputs)
    assert 0.4 < share < 0.5
    config = EncoderDecoderConfig.from_json(found.options)
    assert config.encoder_layers == 2
    assert sum(config.sizes("encoder_heads")) + sum(config.sizes("cross_heads")) == 12
    assert all(width % 8 == 0 for width in (*config.sizes("encoder_widths"), *config.sizes("decoder_widths")))
    assert config.source_size == found.assets.vocabulary.source_size < assets.vocabulary.source_size
    EncoderDecoder(config).load_state_dict(found.module.state_dict(), strict=True)
    assert found.notes["layers of encoder and decoder"] == "2 of 3, 2 of 2"
    assert found.notes["source sentences cut otherwise"].startswith("0 of 16")
    for name, values in whole.state_dict().items():
        torch.testing.assert_close(values, before[name], rtol=0, atol=0)


def test_more_than_can_go_leaves_a_least_share_of_neurons(whole: EncoderDecoder, assets: TranslationAssets) -> None:
    found = slimmed(whole, assets, 0.01)
    neurons = {name: one for name, one in found.parts.items() if "widths" in name}
    kept, total = (sum(one[place] for one in neurons.values()) for place in (0, 1))
    assert 0.15 <= kept / total < 0.3


def test_a_teacher_speaks_the_students_vocabulary(whole: EncoderDecoder, assets: TranslationAssets) -> None:
    part = slimmed(whole, assets, 1.0, vocabulary_coverage=1.0).assets.vocabulary
    teacher = with_vocabulary(whole, assets.vocabulary, part)
    rows = [part.encode("open the file")], [part.encode_target("abra o arquivo")]
    old = [assets.vocabulary.encode("open the file")], [assets.vocabulary.encode_target("abra o arquivo")]
    numbers = [assets.vocabulary._pieces.piece_to_id(part._target.id_to_piece(n)) for n in range(part.target_size)]
    with torch.no_grad():
        found, wanted = teacher(*map(torch.tensor, rows)), whole(*map(torch.tensor, old))
    torch.testing.assert_close(found, wanted[..., numbers], rtol=1e-5, atol=1e-5)
    assert with_vocabulary(whole, part, part) is whole
    strange = SentencePieceVocabulary(model=train_vocabulary(["zyx wvu tsr"] * 9, size=268).model)
    with pytest.raises(UserError, match="teacher's vocabulary lacks the student's piece"):
        with_vocabulary(whole, assets.vocabulary, strange)


def test_without_training_sentences_nothing_can_be_ranked(whole: EncoderDecoder, assets: TranslationAssets) -> None:
    config = replace(SlimConfig.of({}, macs_fraction=1.0, round_to=8), heads_fraction=0.5)
    with pytest.raises(UserError, match="which has none"):
        slim(whole, assets, config, pairs=[], sample=[])
