"""Result of a task that prunes its networks in its own way."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, kw_only=True)
class Slimmed:
    """A smaller network.

    Attributes:
        module: with the weights that are left, in eval mode.
        options: of its architecture, from which it is rebuilt.
        assets: that belong to it now.
        parts: name of a part → (kept, total) of its units, in the network's order.
        notes: what else was done, for people, by title.
    """

    module: "nn.Module"
    options: Mapping[str, Any]
    assets: Any
    parts: Mapping[str, tuple[int, int]]
    notes: Mapping[str, str] = field(default_factory=dict)
