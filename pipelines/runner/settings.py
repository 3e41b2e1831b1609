"""What a pipeline's platform document (kfp-kubernetes) says about one executor, as far as the runner honours it."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class ExecutorSettings:
    """One executor's settings; the default says nothing."""

    timeout_seconds: float | None = None


NO_SETTINGS = ExecutorSettings()
