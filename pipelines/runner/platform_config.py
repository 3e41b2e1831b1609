"""The second document of a compiled pipeline: settings for Kubernetes (kfp-kubernetes).

What only says where or how a pod runs is listed once as a warning; what would change the result is refused by name.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from components.core.errors import UserError
from pipelines.runner.fields import Fields
from pipelines.runner.settings import NO_SETTINGS, ExecutorSettings

_PLACEMENT = (
    "nodeSelector", "tolerations", "nodeAffinity", "podAffinity", "podMetadata", "imagePullSecret",
    "imagePullPolicy", "enabledSharedMemory", "securityContext",
)  # fmt: skip
_PLACEMENT_OF_PIPELINE = ("resourceTtlOnCompletion", "resourceTtlOnSuccess", "resourceTtlOnFailure")


@dataclass(frozen=True, kw_only=True)
class PlatformConfig:
    """What the runner honours, by executor label, and what it says it does not."""

    executors: Mapping[str, ExecutorSettings] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def of(self, label: str) -> ExecutorSettings:
        """The settings of an executor."""
        return self.executors.get(label, NO_SETTINGS)


NOTHING = PlatformConfig()


def read(document: Any, name: str) -> PlatformConfig:
    """Reads the platform document.

    Raises:
        UserError: a setting that would change what the pipeline computes (a secret, a volume, a config map, …).
    """
    fields = Fields(document, f"{name} (second document)")
    executors: dict[str, ExecutorSettings] = {}
    unused: dict[str, None] = {}
    for platform, settings in fields.groups("platforms"):
        if platform != "kubernetes":
            raise UserError(f"{settings.where}: the platform {platform!r} is not supported by the local runner")
        _read_kubernetes(settings, executors, unused)
    fields.finish()
    listed = ", ".join(unused)
    warnings = (f"settings for Kubernetes that mean nothing on one machine: {listed}",) if unused else ()
    return PlatformConfig(executors=executors, warnings=warnings)


def _read_kubernetes(fields: Fields, executors: dict[str, ExecutorSettings], unused: dict[str, None]) -> None:
    deployment = fields.group("deploymentSpec")
    for label, executor in deployment.groups("executors"):
        seconds = executor.number("activeDeadlineSeconds", 0.0)
        executors[label] = ExecutorSettings(timeout_seconds=seconds or None)
        _skip(executor, _PLACEMENT, unused)
    deployment.finish()
    pipeline = fields.group("pipelineConfig")
    _skip(pipeline, _PLACEMENT_OF_PIPELINE, unused)
    fields.ignore("platform")
    fields.finish()


def _skip(fields: Fields, harmless: tuple[str, ...], unused: dict[str, None]) -> None:
    for key in harmless:
        if fields.has(key):
            fields.ignore(key)
            unused[key] = None
    fields.finish()
