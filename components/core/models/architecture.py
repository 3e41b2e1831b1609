"""A network as data: where it comes from and which channels were cut out of it.

Structured pruning changes the shapes of a network, so its weights alone cannot be reloaded. The usual answer is to
pickle the whole module; ours is to record the surgery. `tasks.networks.build` makes the original network and cuts the
same channels again, and the result loads the pruned weights strictly.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

FORMAT = 1
Dimension = Literal["out", "in"]
_LATER = {"options", "sparse"}
_MOST_OUTPUTS = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Cut:
    """Keeps the channels `kept` of the `total` that one dimension of one module has at the time of the cut.

    `module` is the dotted name. `dimension` is "out" or "in"; a batch norm and a depthwise convolution have one kind
    of channel only, and either word means it (give it once). `kept` is ascending and not empty, in the order of the
    flattened input for a linear layer behind a flatten. Raises ValueError when it is built wrong.
    """

    module: str
    dimension: Dimension
    kept: tuple[int, ...]
    total: int

    def __post_init__(self) -> None:
        if self.dimension not in ("out", "in"):
            raise ValueError(f"{self.module}: dimension must be 'out' or 'in', got {self.dimension!r}")
        if not self.kept:
            raise ValueError(f"{self.module}: a cut must keep at least one {self.dimension} channel")
        ascending = all(a < b for a, b in zip(self.kept, self.kept[1:], strict=False))
        if not ascending or self.kept[0] < 0 or self.kept[-1] >= self.total:
            raise ValueError(f"{self.module}: kept channels must be ascending, unique and in [0, {self.total})")


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """All that is needed to build a network of the right shapes.

    `backbone` is the catalog's name (for people), `source` the library's ("timm:…", "torchvision:…"), `num_outputs`
    the number of logits, `task` the name in `core.tasks`. `options` is what else the task needs to build the network (a
    decoder's kind and width), JSON-able. `surgery` is applied in order: the indices of a cut count in the network as
    the cuts before it left it, so a second pruning is appended to the first. `sparse` names the layers of the result in
    which weights were set to zero and stay zero.
    """

    backbone: str
    source: str
    num_outputs: int
    task: str
    options: Mapping[str, Any] = field(default_factory=dict)
    surgery: tuple[Cut, ...] = ()
    sparse: tuple[str, ...] = ()

    def with_surgery(self, cuts: Iterable[Cut]) -> "Architecture":
        """This architecture with further cuts after those it has."""
        return replace(self, surgery=(*self.surgery, *cuts))

    def with_sparse(self, names: Iterable[str]) -> "Architecture":
        """This architecture with further layers whose zeros stay."""
        return replace(self, sparse=tuple(sorted({*self.sparse, *names})))

    def rebuilt(self, *, options: Mapping[str, Any], num_outputs: int) -> "Architecture":
        """This architecture with other options: a network of the same kind in other sizes."""
        return replace(self, options=options, num_outputs=num_outputs)

    def to_json(self) -> dict[str, Any]:
        """The content of ``architecture.json``; without `options` or `sparse` where there are none, as before."""
        document = {"format": FORMAT, **asdict(self)}
        return {name: value for name, value in document.items() if value or name not in _LATER}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "Architecture":
        """The inverse of `to_json`; ValueError naming a missing, unknown or wrong entry."""
        names = {field.name for field in fields(cls)}
        if not isinstance(document, Mapping):
            raise ValueError(f"architecture.json must hold an object, got {type(document).__name__}")
        if document.get("format") != FORMAT:
            raise ValueError(f"architecture.json must have format {FORMAT}, got {document.get('format')!r}")
        if not names - _LATER <= set(document) - {"format"} <= names:
            raise ValueError(f"architecture.json must have exactly {sorted(names)}, got {sorted(document)}")
        values = {name: document[name] for name in names if name in document}
        if not isinstance(values.get("options", {}), dict):
            raise ValueError(f"architecture.json: options must be an object, got {values['options']!r}")
        for name in ("backbone", "source", "task"):
            if not isinstance(values[name], str):
                raise ValueError(f"architecture.json: {name} must be a text, got {values[name]!r}")
        outputs = values["num_outputs"]
        if type(outputs) is not int or not 0 <= outputs <= _MOST_OUTPUTS:
            raise ValueError(f"architecture.json: num_outputs must be in 0..{_MOST_OUTPUTS:,}, got {outputs!r}")
        sparse = values.get("sparse", [])
        if not isinstance(sparse, list) or not all(isinstance(name, str) for name in sparse):
            raise ValueError(f"architecture.json: sparse must be names of layers, got {sparse!r}")
        values["sparse"] = tuple(sparse)
        try:
            values["surgery"] = tuple(Cut(**{**cut, "kept": tuple(cut["kept"])}) for cut in document["surgery"])
        except (TypeError, KeyError) as error:
            raise ValueError(f"architecture.json: surgery: {error}") from None
        return cls(**values)


def apply_surgery(module: nn.Module, cuts: Iterable[Cut]) -> None:
    """Cuts channels out of `module` in place, one cut after the other: weights, buffers and attributes.

    Convolutions (plain, grouped, depthwise), batch norms (timm's `BatchNormAct2d` too) and linear layers. The kept
    weights keep their values, so applying the cuts to a trained network prunes it. Parameters are replaced: make
    optimizers and averages afterwards. Raises ValueError naming the module when it is not there, has another number
    of channels, or is of a kind that cannot be cut.
    """
    parts = dict(module.named_modules())
    for cut in cuts:
        if cut.module not in parts:
            raise ValueError(f"surgery names the module {cut.module!r}, which {type(module).__name__} does not have")
        part = parts[cut.module]
        kept = torch.tensor(cut.kept)
        if isinstance(part, nn.Conv1d | nn.Conv2d | nn.Conv3d):
            _cut_convolution(part, cut, kept)
        elif isinstance(part, _BatchNorm):
            _check_total(cut, part.num_features)
            _slice(part, ("weight", "bias", "running_mean", "running_var"), kept, axis=0)
            part.num_features = len(kept)
        elif isinstance(part, nn.Linear) and cut.dimension == "out":
            _check_total(cut, part.out_features)
            _slice(part, ("weight", "bias"), kept, axis=0)
            part.out_features = len(kept)
        elif isinstance(part, nn.Linear):
            _check_total(cut, part.in_features)
            _slice(part, ("weight",), kept, axis=1)
            part.in_features = len(kept)
        else:
            raise ValueError(f"{cut.module}: channels of a {type(part).__name__} cannot be cut")


def _cut_convolution(layer: nn.Conv1d | nn.Conv2d | nn.Conv3d, cut: Cut, kept: torch.Tensor) -> None:
    _check_total(cut, layer.out_channels if cut.dimension == "out" else layer.in_channels)
    if layer.groups == layer.in_channels == layer.out_channels and layer.groups > 1:
        _slice(layer, ("weight", "bias"), kept, axis=0)
        layer.in_channels = layer.out_channels = layer.groups = len(kept)
        return
    # A group's channels must stay together, so each of the groups keeps the same number of its own.
    width = cut.total // layer.groups
    by_group = [kept[kept // width == group] % width for group in range(layer.groups)]
    if len({len(channels) for channels in by_group}) != 1:
        raise ValueError(f"{cut.module}: each of its {layer.groups} groups must keep the same number of channels")
    if cut.dimension == "out":
        _slice(layer, ("weight", "bias"), kept, axis=0)
        layer.out_channels = len(kept)
        return
    rows = layer.weight.chunk(layer.groups, dim=0)
    pieces = [row.index_select(1, own.to(row.device)) for row, own in zip(rows, by_group, strict=True)]
    layer.weight = nn.Parameter(torch.cat(pieces).detach(), requires_grad=layer.weight.requires_grad)
    layer.in_channels = len(kept)


def _check_total(cut: Cut, actual: int) -> None:
    if actual != cut.total:
        raise ValueError(f"{cut.module}: the cut was made for {cut.total} {cut.dimension} channels, it has {actual}")


def _slice(layer: nn.Module, names: tuple[str, ...], kept: torch.Tensor, *, axis: int) -> None:
    for name in names:
        tensor = getattr(layer, name)
        if tensor is None:
            continue
        sliced = tensor.detach().index_select(axis, kept.to(tensor.device))
        if isinstance(tensor, nn.Parameter):
            sliced = nn.Parameter(sliced, requires_grad=tensor.requires_grad)
        setattr(layer, name, sliced)
