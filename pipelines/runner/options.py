"""Options of a run: how it is executed, never what it computes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from components.core.errors import UserError

ENGINES = ("process", "container")
GRANTS = {
    "network": "the engine's default network",
    "host-network": "this machine's network, loopback included",
    "store": "the store may be changed at will; credentials for it if it is a bucket",
}
"""Rights that `--allow` gives to tasks in containers, which have none of them by default."""


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """How to run.

    `use_cache`: whether equal earlier work may be taken over (new results are kept in any case); `refresh` names tasks
    (a name, or a path in the run) that run even if their result is known; `engine` is one of `ENGINES`; `secrets` maps
    the name of a Kubernetes secret or config map to the file or folder that stands for it here.

    For containers only: `allow` is a part of `GRANTS`, and below the folders of `allow_paths` importers may take files
    of this machine.
    """

    use_cache: bool = True
    refresh: tuple[str, ...] = ()
    engine: str = "process"
    secrets: Mapping[str, Path] = field(default_factory=dict)
    allow: frozenset[str] = frozenset()
    allow_paths: tuple[Path, ...] = ()

    def __post_init__(self) -> None:
        if self.engine not in ENGINES:
            raise UserError(f"unknown runner {self.engine!r}; known: {', '.join(ENGINES)}")
        for name in sorted(self.allow - GRANTS.keys()):
            known = "; ".join(f"{name} ({what})" for name, what in GRANTS.items())
            raise UserError(f"--allow {name!r} is not known; known: {known}")
        if self.engine == "process" and (self.allow or self.allow_paths):
            raise UserError(
                "--allow and --allow-path only apply to --runner container; leave them out: a process already has your "
                "permissions"
            )

    @property
    def has_network(self) -> bool:
        """Whether tasks in containers get a network."""
        return not self.allow.isdisjoint(("network", "host-network"))

    def allows_file(self, path: Path) -> bool:
        """Whether an importer may take this file or folder of this machine; links are followed first."""
        if self.engine == "process":
            return True
        real = path.resolve()
        return any(real.is_relative_to(folder.resolve()) for folder in self.allow_paths)


DEFAULT_OPTIONS = RunOptions()
