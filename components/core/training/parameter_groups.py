"""Which parameters decay, and how fast each layer learns."""

from typing import Any

from torch import nn

# Exact types only: Conv2dNormActivation and torchvision's dense blocks derive from these and are layers themselves.
_CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


def layer_name(module: nn.Module, parameter_name: str) -> str:
    """The layer that a parameter or submodule belongs to: its path down to the first module that is no plain container.

    `layer1.0.conv1.weight` → `layer1.0` (ResNet), `blocks.2.1.bn2.bias` → `blocks.2.1` (EfficientNet),
    `features.3.conv.0.0.weight` → `features.3` (MobileNet), `conv1.weight` → `conv1`, `pos_embed` → ``.
    """
    path: list[str] = []
    current = module
    for part in parameter_name.split("."):
        children = dict(current.named_children())
        if part not in children:
            break
        path.append(part)
        current = children[part]
        if type(current) not in _CONTAINERS:
            break
    return ".".join(path)


def layer_depths(module: nn.Module) -> dict[str, int]:
    """Layer name → depth: 0 is the stem (and bare parameters of the root), the largest is the head.

    Layers are counted in the order in which the module registers them, which for timm's and torchvision's
    networks is the order of execution. A layer that is a normalisation by itself shares the depth of the one before.
    """
    depths: dict[str, int] = {"": 0}
    depth = -1
    for name, _ in module.named_parameters():
        layer = layer_name(module, name)
        if layer in depths:
            continue
        # A layer whose parameters are all vectors is a normalisation: it belongs to the convolution before it.
        is_norm = all(parameter.ndim <= 1 for parameter in module.get_submodule(layer).parameters())
        if depth < 0 or not is_norm:
            depth += 1
        depths[layer] = depth
    return depths


def parameter_groups(
    module: nn.Module, *, weight_decay: float, layer_decay: float = 1.0, by_layer: bool = False
) -> list[dict[str, Any]]:
    """Optimizer groups with `params`, `weight_decay`, `lr_scale`, `depth` and `name`.

    Weight decay is 0 for biases and for every vector (normalisation scales and shifts, layer scales), and for what
    the module itself lists in `no_weight_decay()`. `lr_scale = layer_decay^(L − depth)`, so that the head (depth L)
    learns at the full rate and the stem slowest (ULMFiT, arXiv:1801.06146; BEiT, arXiv:2106.08254); 1.0 means
    the same rate everywhere. `lr_scale` is applied by `set_learning_rate`: torch's own schedulers ignore it.
    Frozen parameters (requires_grad False) are left out. Without `by_layer`, layers that all learn at the same rate
    share their groups.
    """
    depths = layer_depths(module)
    last = max(depths.values())
    listed: Any = getattr(module, "no_weight_decay", None)
    exempt = {str(name) for name in listed()} if callable(listed) else set()
    groups: dict[tuple[int, bool], dict[str, Any]] = {}
    for name, parameter in module.named_parameters():
        if not parameter.requires_grad:
            continue
        depth = depths[layer_name(module, name)]
        decays = parameter.ndim > 1 and not name.endswith("bias") and name not in exempt
        group = groups.setdefault(
            (depth, decays),
            {
                "params": [],
                "weight_decay": weight_decay if decays else 0.0,
                "lr_scale": layer_decay ** (last - depth),
                "depth": depth,
                "name": f"depth {depth}{'' if decays else ', no decay'}",
            },
        )
        group["params"].append(parameter)
    if layer_decay == 1.0 and not by_layer:
        return _merged(groups)
    return list(groups.values())


def _merged(groups: dict[tuple[int, bool], dict[str, Any]]) -> list[dict[str, Any]]:
    """Two groups instead of two per layer: the optimizer's multi-tensor kernels then work on long lists."""
    merged: dict[bool, dict[str, Any]] = {}
    for (_, decays), group in groups.items():
        name = "decay" if decays else "no decay"
        target = merged.setdefault(decays, {**group, "params": [], "name": name})
        target["params"].extend(group["params"])
    return list(merged.values())


def set_learning_rate(groups: list[dict[str, Any]], learning_rate: float) -> None:
    """`lr = learning_rate · lr_scale · factor` in every group; see `layer_rates` for the factor."""
    for group in groups:
        group["lr"] = learning_rate * group.get("lr_scale", 1.0) * group.get("factor", 1.0)
