from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from toy_translators import SMALL, VARIANTS, network, sentences

from components.core.tasks.translation.config import EncoderDecoderConfig
from components.core.tasks.translation.networks import EncoderDecoder
from components.core.tasks.translation.pruning import (
    choose_units,
    drop_layers,
    keep_layers,
    prune_units,
    taylor_importance,
    units,
)

KEPT = {"encoder_heads.1": [0, 3], "cross_heads.0": [2], "encoder_widths.0": [1, 4, 5, 23], "decoder_widths.1": [0, 19]}
PAST = {"past_heads.0": [1, 2, 3]}


def data(config: EncoderDecoderConfig) -> tuple[Tensor, Tensor]:
    return sentences([5, 3, 6], config.source_size), sentences([4, 7, 3], config.target_size, seed=1)


def masked(whole: EncoderDecoder, kept: dict[str, list[int]]) -> EncoderDecoder:
    """The whole network with zeros where the units that go reach the residual stream."""
    head = whole.config.head_dim
    parts = {"encoder_heads": "attention", "past_heads": "past", "cross_heads": "cross"}
    with torch.no_grad():
        for name, chosen in kept.items():
            kind, number = name.split(".")
            layer = (whole.encoder if kind.startswith("encoder") else whole.decoder)[int(number)]
            if kind in parts:
                weight, width = getattr(layer, parts[kind]).output.weight, head
            else:
                weight, width = layer.ffn.contract.weight, 1
            for unit in range(weight.shape[1] // width):
                if unit not in chosen:
                    weight[:, unit * width : (unit + 1) * width] = 0
    return whole


@pytest.mark.parametrize("config", VARIANTS, ids=lambda config: f"{config.decoder_cell}-{config.norm}")
def test_a_pruned_network_is_the_masked_one_and_reloads_from_its_config(config: EncoderDecoderConfig) -> None:
    kept = {**KEPT, **(PAST if config.decoder_cell == "attention" else {})}
    pruned = prune_units(network(config), kept)
    found, wanted = pruned(*data(config)), masked(network(config), kept)(*data(config))
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)
    assert pruned.config.sizes("encoder_heads") == (4, 2)
    assert pruned.config.sizes("decoder_widths") == (20, 2)
    assert pruned.config.num_parameters == sum(parameter.numel() for parameter in pruned.parameters())
    again = EncoderDecoder(EncoderDecoderConfig.from_json(pruned.config.to_json())).eval()
    again.load_state_dict(pruned.state_dict(), strict=True)
    torch.testing.assert_close(again(*data(config)), found, rtol=0, atol=0)


def test_pruning_twice_counts_in_what_is_left() -> None:
    once = prune_units(network(SMALL), {"encoder_heads.0": [1, 2, 3]})
    twice = prune_units(once, {"encoder_heads.0": [0, 2]})
    torch.testing.assert_close(
        twice(*data(SMALL)), masked(network(SMALL), {"encoder_heads.0": [1, 3]})(*data(SMALL)), rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize(
    ("kept", "said"),
    [
        ({"encoder_heads.7": [0]}, "unknown layer 'encoder_heads.7'"),
        ({"past_heads.0": [0]}, "unknown layer 'past_heads.0'"),
        ({"cross_heads.0": []}, "cross_heads.0: units to keep"),
        ({"cross_heads.0": [0, 4]}, "below 4"),
    ],
)
def test_units_that_cannot_stay_are_refused(kept: dict[str, list[int]], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        prune_units(network(SMALL), kept)


def loss(module: EncoderDecoder, batch: tuple[Tensor, Tensor]) -> Tensor:
    return F.cross_entropy(module(*batch).flatten(0, 1), batch[1].flatten())


def test_importance_is_the_slope_of_the_loss_in_a_gate_on_each_unit() -> None:
    """Reference: the gate g multiplies the unit's columns; |∂L/∂g| at 1 by central differences, in double precision."""
    module, batches = (
        network(SMALL).double(),
        [data(SMALL), (sentences([4, 9], 19, seed=2), sentences([6, 3], 19, seed=3))],
    )
    found = taylor_importance(module, batches, loss)
    assert set(found) == set(units(module))
    for name, unit in [("encoder_heads.1", 2), ("cross_heads.0", 3), ("encoder_widths.0", 7), ("decoder_widths.1", 11)]:
        kind, number = name.split(".")
        layer = (module.encoder if kind.startswith("encoder") else module.decoder)[int(number)]
        part = {"encoder_heads": "attention", "cross_heads": "cross"}.get(kind, "ffn")
        weight = layer.ffn.contract.weight if part == "ffn" else getattr(layer, part).output.weight
        width = 1 if part == "ffn" else SMALL.head_dim
        columns, step, slopes = weight[:, unit * width : (unit + 1) * width], 1e-5, []
        before = columns.detach().clone()
        with torch.no_grad():
            for batch in batches:
                ends = []
                for gate in (1 + step, 1 - step):
                    columns.copy_(before * gate)
                    ends.append(float(loss(module, batch)))
                slopes.append((ends[0] - ends[1]) / (2 * step))
            columns.copy_(before)
        wanted = (sum(slope**2 for slope in slopes) / len(slopes)) ** 0.5
        assert float(found[name][unit]) == pytest.approx(wanted, rel=1e-4)


def test_importance_without_data_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one batch"):
        taylor_importance(network(SMALL), [], loss)


def test_the_least_important_units_of_all_layers_go_in_blocks() -> None:
    scores = {
        "encoder_widths.0": torch.tensor([5.0, 1.0, 6.0, 2.0, 7.0, 8.0]),
        "encoder_widths.1": torch.tensor([0.1, 0.2, 9.0, 0.3, 0.4, 9.5]),
    }
    kept = choose_units(scores, fraction=0.5, round_to=2)
    assert kept == {"encoder_widths.0": [0, 2, 4, 5], "encoder_widths.1": [2, 5]}
    assert choose_units(scores, fraction=1.0, round_to=2) == {name: [0, 1, 2, 3, 4, 5] for name in scores}
    least = choose_units(scores, fraction=0.01, round_to=4)
    assert least == {"encoder_widths.0": [0, 2, 4, 5], "encoder_widths.1": [2, 3, 4, 5]}, "a block of each layer stays"


def test_a_fraction_that_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match=r"must be in \(0, 1\], got 0"):
        choose_units({}, fraction=0)


def test_kept_layers_are_the_network_without_the_others() -> None:
    """Reference: in a pre-norm layer whose matrices into the residual stream are zero, nothing is added to it."""
    config = replace(SMALL, encoder_layers=3, norm="pre", encoder_heads=(4, 2, 4), encoder_widths=(24, 3, 8))
    whole, small = network(config), keep_layers(network(config), encoder=[0, 2], decoder=[1])
    with torch.no_grad():
        gone = [whole.encoder[1].attention.output, whole.encoder[1].ffn.contract, whole.decoder[0].cross.output]
        for layer in (*gone, whole.decoder[0].ffn.contract):
            layer.weight.zero_()
            layer.bias.zero_()
        whole.decoder[0].past.candidate.weight.zero_()
    torch.testing.assert_close(small(*data(config)), whole(*data(config)), rtol=1e-5, atol=1e-5)
    assert small.config.sizes("encoder_widths") == (24, 8)
    with pytest.raises(ValueError, match="decoder layers to keep"):
        keep_layers(whole, encoder=[0], decoder=[])


def test_the_layer_goes_without_which_the_loss_is_least() -> None:
    config = replace(SMALL, encoder_layers=4)
    whole = network(config)
    marks = [0.5, 3.0, 0.1, 2.0]
    with torch.no_grad():
        for layer, mark in zip(whole.encoder, marks, strict=True):
            layer.ffn.contract.bias.fill_(mark)

    def missing(module: EncoderDecoder) -> float:
        return -sum(layer.ffn.contract.bias[0].item() for layer in module.encoder)

    small = drop_layers(whole, missing, encoder=2, decoder=5)
    assert [layer.ffn.contract.bias[0].item() for layer in small.encoder] == [3.0, 2.0]
    assert len(small.decoder) == 2, "a stack with no more layers than asked keeps its own"
    with pytest.raises(ValueError, match="at least 1 layer"):
        drop_layers(whole, missing, encoder=0, decoder=1)
