"""Options that all cluster commands share: images and settings."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipelines.cluster.package import Package


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """Where settings and images come from.

    `values`: settings file. `lock`: lock file of the images, by default the repository's if it exists. `registry`: a
    mirror, by default $TRIMTAB_REGISTRY.
    """

    values: Path | None = None
    lock: Path | None = None
    registry: str = ""

    @property
    def given(self) -> bool:
        """Whether any of these options was given on the command line."""
        return bool(self.values or self.lock or self.registry)

    def package(self, path: Path) -> "Package":
        """Prepare the compiled pipeline at `path` for the cluster.

        Raises:
            UserError: the pipeline, the values or the lock file are wrong.
        """
        from pipelines.cluster.images import REGISTRY_VARIABLE, read_images
        from pipelines.cluster.package import make_package

        images = read_images(self.lock, self.registry or os.environ.get(REGISTRY_VARIABLE, ""))
        return make_package(path, images=images, values=self.values)
