"""One tiny network of each family goes from selection to release, or is refused by name before anything is trained."""

import pytest
import torch
from families import BEGIN, CARD, END, TARGET, World, make_world, take_through
from tiny_networks import NETWORKS, SIZE, register

from components.core.errors import UserError
from components.core.models.inputs import InputSpec
from components.core.models.zoo import create_module
from components.core.pruning.trial import check_network

WHOLE = {"RegNetX", "RegNetY"}
"""Families that are quantized and not pruned: their convolutions work in groups."""

FLOAT_FRONT = {"MobileNetV2"}
"""Families that begin with a plain chain of stem, depthwise convolution and projection, which stays float."""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    register()
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("families")
        patch.setenv("TRIMTAB_CACHE", str(folder / "cache"))
        return make_world(folder)


@pytest.mark.parametrize("family", NETWORKS)
def test_a_network_of_the_family_is_pruned_or_refused_by_name_and_quantized_and_reloads(
    world: World, family: str
) -> None:
    found = take_through(NETWORKS[family], SIZE, world)
    if family in WHOLE:
        assert found.refusal.startswith(f"{NETWORKS[family]} cannot be pruned: at most ")
        assert "is a convolution in" in found.refusal
        assert found.macs_fraction == 1
    else:
        assert found.refusal == ""
        assert 0.6 < found.macs_fraction <= TARGET
    assert found.convolutions[0] == found.convolutions[1] - found.float_convolutions
    assert found.float_convolutions == (3 if family in FLOAT_FRONT else 0)
    assert found.operators[0] >= 0.5 * found.operators[1]
    assert found.signal_to_noise_db > 8


def test_the_card_lists_every_family_and_says_which_are_pruned() -> None:
    rows = CARD.read_text().partition(BEGIN)[2].partition(END)[0].splitlines()[2:]
    listed = {row.split("|")[1].strip(): row.split("|")[2].strip() for row in rows}
    assert list(listed) == list(NETWORKS)
    assert {family for family, pruned in listed.items() if pruned.startswith("no: ")} == WHOLE


def images(size: int) -> tuple[InputSpec, ...]:
    return (InputSpec(name="images", dtype="float32", shape=("batch", 3, size, size)),)


def test_a_network_that_cannot_take_the_images_is_refused_with_the_layer() -> None:
    register()
    module = create_module("timm:tiny_deit", 3)
    with pytest.raises(UserError, match=r"mine cannot take inputs of 3×48×48: in layer 'patch_embed': Input height"):
        check_network(module, images(48), called="mine", output_layers=("head",), prunes=False)
    check_network(module, images(32), called="mine", output_layers=("head",), prunes=True)


def test_a_network_with_several_outputs_in_training_is_refused() -> None:
    class Two(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return x, x

    with pytest.raises(UserError, match="in training mode mine gives a tuple instead of one tensor of logits"):
        check_network(Two(), images(8), called="mine", output_layers=(), prunes=False)
