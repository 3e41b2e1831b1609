"""A network that a user has trained, as a model bundle's parts: out of a checkpoint, a release, or an earlier run.

Both the first task of a pipeline and the stage that takes the network over use it, so that what the one has passed does
not fail in the other.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import TYPE_CHECKING, Any

from components.core.artifacts.manifest import Manifest, parse_manifest, read_file
from components.core.bundles.released_sources import SOURCES, read_sources
from components.core.data.ingestion.labels import check_lengths, class_name
from components.core.errors import UserError
from components.core.json_documents import parse_json
from components.core.models.checkpoint import SUFFIXES
from components.core.store.contents.journal import output_manifests
from components.core.tasks import get_task

if TYPE_CHECKING:
    import torch

    from components.core.models.architecture import Architecture
    from components.core.store import Store
    from components.core.tasks.base import Assets

_DIGEST = re.compile(r"[0-9a-f]{8,64}")
_SHOWN = 5
_PARENTS = ("model", "teacher", "student")
"""Metadata of a model that name the models it was made of, by digest."""


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A user's network as it was trained: the module in eval mode, its architecture, its class names in order."""

    module: "torch.nn.Module"
    architecture: "Architecture"
    classes: tuple[str, ...]


def stored_model(model: str, store: "Store") -> Manifest | None:
    """The manifest of a model that is in the store already; None for a checkpoint, which is a file.

    Args:
        model: a checkpoint's path or ``s3://`` URI; a release as NAME/VERSION, or as a name or version that only one
            has; the first 8 or more digits of a model artifact's digest.
        store: where releases and the journals of earlier runs are.

    Raises:
        UserError: nothing is called so, or several are.
    """
    if not model.strip():
        raise UserError(
            "model is empty; give a checkpoint (.safetensors or .pth) with its architecture and labels, a release "
            "(NAME/VERSION), or the digest of a model in the store"
        )
    if model.startswith(("s3://", "~")) or model.endswith(SUFFIXES) or Path(model).is_file():
        return None
    found = [one for one in store.releases.list() if model in (f"{one[0]}/{one[1]}", *one)]
    if len(found) > 1:
        shown = ", ".join("/".join(one) for one in found[:_SHOWN])
        raise UserError(f"{len(found)} releases are called {model!r}; give one as NAME/VERSION: {shown}")
    if found:
        sources = read_sources(store, *found[0])
        if "model" not in sources:
            raise UserError(f"release {'/'.join(found[0])} does not record the network that it was made from")
        return sources["model"]
    if _DIGEST.fullmatch(model):
        return _by_digest(model, store)
    raise UserError(
        f"model {model!r} is neither a file ({', '.join(SUFFIXES)}) nor a release or the digest of a model in the "
        f"store {store.uri}"
    )


def training_data(model: Manifest, store: "Store") -> tuple[list[Manifest], bool]:
    """The data sets that a model in the store, and the models it was made of, were trained and chosen on.

    Returns:
        The data sets, the model's own first, as far as the store has records of them; and whether that is all: not so
        where the model's own is missing, or where one of the models came from elsewhere.
    """
    from components.core.data.seen_rows import TRAINED_ON

    datasets = {one.digest: one for one in _recorded(store, kind="dataset")}
    models = {one.digest: one for one in _recorded(store, kind="model")}
    of_release: dict[str, Manifest] = {}
    for name, version in store.releases.list():
        if SOURCES in store.releases.files(name, version):
            with suppress(UserError):  # another release than the one that is asked for
                sources = read_sources(store, name, version)
                if {"model", "dataset"} <= sources.keys():
                    of_release[sources["model"].digest] = sources["dataset"]
    found: dict[str, Manifest] = {}
    complete, waiting, met = True, [model], {model.digest}
    while waiting:
        one = waiting.pop(0)
        own = [datasets.get(str(one.metadata.get(key))) for key in ("dataset", TRAINED_ON)]
        known = [data for data in (of_release.get(one.digest), *own) if data is not None]
        found |= {data.digest: data for data in known}
        complete = complete and one.metadata.get(TRAINED_ON, "known") is not None and bool(found)
        for digest in map(str, filter(None, (one.metadata.get(key) for key in _PARENTS))):
            if digest in models and digest not in met:
                met.add(digest)
                waiting.append(models[digest])
    return list(found.values()), complete


def stored_classes(manifest: Manifest, store: "Store", *, task: str) -> tuple[str, ...]:
    """Class names of a model artifact, read without torch.

    Raises:
        UserError: it is for another task, or cannot be read.
    """
    try:
        theirs = str(parse_json(read_file(manifest, "architecture.json", store))["task"])
        if theirs != task:
            raise UserError(f"the model is for {get_task(theirs).title}, this pipeline for {get_task(task).title}")
        files = {
            entry.path: read_file(manifest, entry.path, store)
            for entry in manifest.files
            if not entry.path.endswith(".safetensors")
        }
        return tuple(get_task(task).read_assets(files).labels)
    except (ValueError, KeyError, TypeError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"model {manifest.digest[:12]} cannot be read: {error}") from None


def read_trained(path: Path, *, called: str, task: str, architecture: str, classes: Sequence[str]) -> Trained:
    """The network out of a checkpoint: built, and every tensor of the file in its place.

    Args:
        path: the file.
        called: what messages call it.
        task: the network's task.
        architecture: "timm:NAME" or "torchvision:NAME".
        classes: names of its outputs; empty takes those that the file says.

    Raises:
        UserError: the file cannot be read or is of another architecture, an architecture that nobody knows, no class
            names, or another number of them than outputs.
    """
    from components.core.models.architecture import Architecture
    from components.core.models.checkpoint import read_checkpoint
    from components.core.tasks.networks import build

    owner = get_task(task)
    options = owner.trained_options(architecture)
    checkpoint = read_checkpoint(path, called=called)
    names = tuple(classes) or tuple(class_name(name) for name in checkpoint.classes)
    check_lengths(names, f"model {called}")
    if not names:
        raise UserError(
            "labels is empty, and the checkpoint holds no class names: give a text file with one class per line, "
            "in the order of the model's outputs (for a folder of classes, torchvision and timm sort the folder "
            "names)"
        )
    wanted = Architecture(
        backbone=architecture, source=architecture, num_outputs=len(names), task=task, options=options
    )
    module = build(wanted)
    owner.load_trained(module, checkpoint.tensors, architecture, names)
    return Trained(module=module.eval(), architecture=wanted, classes=names)


def own_assets(
    trained: Trained,
    *,
    metadata: "Mapping[str, Any]" = MappingProxyType({}),
    image_size: int,
    mean: Sequence[float],
    std: Sequence[float],
    settings: "Mapping[str, Any]",
) -> "Assets":
    """Preprocessing and labels of a checkpoint's network; what is not said is that of the library's own weights.

    Args:
        trained: the network.
        metadata: of the data set's manifest, for what only the data know (the levels of 16-bit images, colours).
        image_size: side in pixels; 0 is the library's.
        mean, std: of R, G and B in 0..1; empty is the library's.
        settings: what the task's user chose of its networks.
    """
    from components.core.models.catalog import Backbone
    from components.core.models.published import published_input, triple

    source = trained.architecture.source
    usual = published_input(source)
    entry = Backbone(
        name=source, architecture=source, weights="none", licence="", image_size=image_size or usual.image_size,
        mean=triple(mean or usual.mean), std=triple(std or usual.std), interpolation=usual.interpolation,
        crop_ratio=usual.crop_ratio,
    )  # fmt: skip
    # The classes are the network's: whether the data have the same ones is another question.
    known: Any = SimpleNamespace(classes=list(trained.classes), manifest=SimpleNamespace(metadata=metadata))
    return get_task(trained.architecture.task).assets(entry, known, image_size, settings=settings)


def _by_digest(start: str, store: "Store") -> Manifest:
    found = {one.digest: one for one in _recorded(store, kind="model") if one.digest.startswith(start)}
    if len(found) > 1:
        raise UserError(f"{len(found)} models begin with {start}: {', '.join(sorted(found)[:_SHOWN])}")
    if not found:
        raise UserError(f"no run in the store {store.uri} has made a model with the digest {start}")
    return next(iter(found.values()))


def _recorded(store: "Store", *, kind: str) -> Iterator[Manifest]:
    """The artifacts of a kind that runs have made, as their journals name them."""
    for run in store.journal.runs():
        for record in store.journal.read(run):
            for document in output_manifests(record):
                if document.get("kind") == kind:
                    with suppress(ValueError):  # of another version, or of somebody's own component
                        found = parse_manifest(document)
                        yield found
