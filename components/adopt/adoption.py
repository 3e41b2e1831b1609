"""From a user's checkpoint, or a model in the store, to the model bundle that the later stages take."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.core.artifacts.entries import FileEntry
from components.core.artifacts.manifest import Manifest, publish_entries
from components.core.bundles.model_bundle import ModelBundle, load_model, save_model
from components.core.bundles.own_model import own_assets, read_trained, stored_model, training_data
from components.core.data.dataset import Dataset
from components.core.data.reading import read_batches
from components.core.data.seen_rows import SEEN, TRAINED_ON, seen_in_test
from components.core.errors import UserError
from components.core.models.checkpoint import checkpoint_file, digest_of
from components.core.parameters import check_declared
from components.core.store.errors import NotFound
from components.core.tasks import get_task
from components.core.training.data import as_tensors
from components.core.training.device import choose_device, place, use_available_threads
from components.core.training.validation import validate

if TYPE_CHECKING:
    from components.core.store import Store


@dataclass(frozen=True, kw_only=True)
class OwnModel:
    """The stage's parameters, checked. UserError names parameter and value."""

    model: str
    state: str
    task: str
    architecture: str
    classes: tuple[str, ...]
    image_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_declared({"image_size": self.image_size, "mean": self.mean, "std": self.std})


def adopt_model(asked: OwnModel, dataset: "Dataset", artifact: str | Path, store: "Store") -> Manifest:
    """Publishes the network as a "model" artifact, whose weights are the user's to the bit.

    Raises:
        UserError: the file changed since the first task saw it, the data set has other classes than the network, or the
            network was trained or chosen on all of its test rows.
    """
    facts: dict[str, Any] = {
        "stage": "adopt", "dataset": dataset.manifest.digest, "source": asked.state, TRAINED_ON: None,
    }  # fmt: skip
    manifest = stored_model(asked.model, store)
    if manifest is not None:
        if manifest.digest != asked.state:
            raise _changed(asked.model)
        bundle = load_model(manifest, store)
        bundle.task.check_classes(dataset, bundle.assets)
        entries = [one for one in manifest.files if one.path != SEEN]
        trained_on, complete = training_data(manifest, store)
        seen, all_there = _seen(dataset, trained_on, asked.model, store)
        if complete and all_there:
            facts[TRAINED_ON] = trained_on[0].digest
        if seen:
            content = json.dumps(seen).encode()
            entries.append(FileEntry(path=SEEN, bytes=len(content), sha256=store.blobs.put(content)))
        return publish_entries(artifact, kind=manifest.kind, entries=entries, metadata={**manifest.metadata, **facts})
    with checkpoint_file(asked.model) as path:
        if digest_of(path) != asked.state:
            raise _changed(asked.model)
        trained = read_trained(
            path, called=asked.model, task=asked.task, architecture=asked.architecture, classes=asked.classes
        )
    names = ("image_size", "mean", "std", "settings")
    how: dict[str, Any] = {name: getattr(asked, name) for name in names}
    get_task(asked.task).check_classes(dataset, own_assets(trained, **how))
    assets = own_assets(trained, **how, metadata=dataset.manifest.metadata)
    bundle = ModelBundle(module=trained.module, architecture=trained.architecture, assets=assets)
    return save_model(artifact, bundle, store, facts)


def validated(bundle: ModelBundle, dataset: "Dataset") -> dict[str, float]:
    """The network's primary metric on the validation split, by name; nothing where that split is empty."""
    if not dataset.rows("validation"):
        return {}
    use_available_threads()
    device = choose_device()
    module = place(bundle.module, device).eval()
    batches = as_tensors(
        read_batches(
            dataset, "validation", bundle.task.transform(bundle.assets), batch_size=bundle.task.validation_batch
        )
    )
    found = validate(module, batches, task=bundle.task, num_classes=len(dataset.classes), device=device)
    module.cpu()
    return {f"validation_{bundle.task.training_metric.name}": found.metric}


def _seen(dataset: Dataset, trained_on: Sequence[Manifest], model: str, store: "Store") -> tuple[list[str], bool]:
    """Digests of test rows that the network knows, and whether all its data could be read.

    Raises:
        UserError: it knows the whole test split.
    """
    found, all_there = set[str](), True
    for manifest in trained_on:
        try:
            found.update(seen_in_test(dataset, [Dataset(manifest, store)]))
        except NotFound:  # its rows were collected, and only their record is left
            all_there = False
    seen, noun = sorted(found), get_task(dataset.task).row_noun
    if seen and len(seen) == dataset.rows("test"):
        raise UserError(
            f"all {len(seen):,} {noun} of the test split were used to train or choose model {model}; give other "
            f"{noun}, or repeat the data, seed and fractions of the run that made it"
        )
    return seen, all_there


def _changed(model: str) -> UserError:
    return UserError(f"model {model} has changed since this run began; start the run again")
