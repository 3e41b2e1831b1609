"""What whoever starts a run may choose about how it is executed; never what it computes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from components.core.errors import UserError

ENGINES = ("process", "container")


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """How to run.

    `use_cache`: whether equal earlier work may be taken over (new results are kept in any case); `refresh` names tasks
    (a name, or a path in the run) that run even if their result is known; `engine` is one of `ENGINES`; `secrets` maps
    the name of a Kubernetes secret or config map to the file or folder that stands for it here.
    """

    use_cache: bool = True
    refresh: tuple[str, ...] = ()
    engine: str = "process"
    secrets: Mapping[str, Path] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.engine not in ENGINES:
            raise UserError(f"there is no runner {self.engine!r}; known: {', '.join(ENGINES)}")


DEFAULT_OPTIONS = RunOptions()
