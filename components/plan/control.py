"""The control of a search: the next smaller stock backbone, trained and quantized as the students are.

What pruning and smaller inputs make of the selected network must be better than a smaller network from the shelf.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from components.core.bundles.fresh import fresh_bundle
from components.core.bundles.model_bundle import ModelBundle
from components.core.errors import UserError
from components.core.models.catalog import Backbone, check_weights_available, weight_scheme
from components.core.models.complexity import count_macs
from components.core.recipe import CONTROL, Recipe
from components.plan.candidates import Candidate

if TYPE_CHECKING:
    from components.core.data.dataset import Dataset

_AT_HAND = ("package:", "file:")
PLACE = 1
"""Where it stands among the candidates: the first two run in any time box."""


@dataclass(frozen=True, kw_only=True)
class Control:
    """The stock network; without one both fields but `said`, which says why, are None."""

    said: str
    bundle: ModelBundle | None = None
    candidate: Candidate | None = None


def smaller_backbones(selected: str, catalog: Mapping[str, Backbone], *, task: str) -> list[Backbone]:
    """Backbones of the catalog with fewer parameters than the selected one, the largest of them first.

    Those whose weights are on this machine, or come from where the selected one's came from: a run that needed no
    network until here will not need one.
    """
    one = catalog.get(selected)
    if one is None or one.parameters is None:
        return []
    schemes = {*_AT_HAND, weight_scheme(one.weights)} - {"none"}
    found = [
        other
        for other in catalog.values()
        if other.sees_images
        and other.task in ("", task)
        and weight_scheme(other.weights) in schemes
        and (other.parameters or one.parameters) < one.parameters
    ]
    return sorted((other for other in found if _is_there(other)), key=lambda other: -(other.parameters or 0))


def next_smaller(
    bundle: ModelBundle,
    dataset: "Dataset",
    catalog: Mapping[str, Backbone],
    base: Recipe,
    *,
    seed: int,
    settings: Mapping[str, Any],
) -> Control:
    """The first of `smaller_backbones` that can be had, with its published weights, at the selected one's input size.

    Args:
        bundle: the selected network.
        base: what holds for each student.
        seed: of the fresh head.
        settings: the task's own network options.
    """
    selected, task = bundle.architecture.backbone, bundle.task
    smaller = smaller_backbones(selected, catalog, task=dataset.task)
    side = int(bundle.inputs[0].sizes({"batch": 1})[-1])
    troubles = []
    for backbone in smaller:
        try:
            networks = task.candidates([backbone], settings)
            options = _options_alike(networks, bundle.architecture.options)
            made = fresh_bundle(task, backbone, options, dataset, image_size=side, seed=seed, settings=settings)
            task.load_pretrained(made.module, backbone, dataset.classes)
        except (UserError, OSError) as error:
            troubles.append(f"{backbone.name}: {error}")
            continue
        made.module.eval()
        recipe = replace(base, name=f"{backbone.name}, whole (control)", more={**base.more, CONTROL: backbone.name})
        work = count_macs(made.module, made.inputs) / count_macs(bundle.module, bundle.inputs)
        return Control(
            bundle=made, candidate=Candidate(recipe=recipe, work=work),
            said=f"{backbone.name} is the next smaller stock backbone of the catalog, and runs as the control.",
        )  # fmt: skip
    why = f"; none could be loaded ({'; '.join(troubles)})" if troubles else " whose weights are at hand"
    return Control(said=f"There is no control: the catalog has no backbone smaller than {selected}{why}.")


def with_control(tried: Iterable[Candidate], control: Control) -> list[Candidate]:
    """The candidates with the control among the first, or as they are."""
    found = list(tried)
    return found if control.candidate is None else [*found[:PLACE], control.candidate, *found[PLACE:]]


def _options_alike(
    networks: Iterable[tuple[str, Backbone, Mapping[str, Any]]], selected: Mapping[str, Any]
) -> Mapping[str, Any]:
    """Options of the network with the selected one's head, else of the first."""
    return min((one for _, _, one in networks), key=lambda one: one.get("head") != selected.get("head"))


def _is_there(backbone: Backbone) -> bool:
    try:
        check_weights_available(backbone)
    except UserError:
        return False
    return True
