"""Safe pods, as far as kfp-kubernetes can describe them: no root user, and an own `/tmp` on a read-only root.

It has no word for a read-only root, seccomp or capabilities: see
`infra/decisions/2026-11-25-pod-defaults-in-argo.md` for where those come from.
"""

from typing import Any

from kfp import kubernetes

from components.images import GROUP, USER

RUN_AS = {"run_as_user": USER, "run_as_group": GROUP, "run_as_non_root": True}
"""All of a security context that kfp-kubernetes has."""

TEMPORARY_VOLUME = "trimtab-tmp"
"""As the volume in `infra/kfp/workflow-controller.yaml`, so that the two become one where both are there."""


def set_user(task: Any) -> None:
    """Makes a task's pod run as `RUN_AS`."""
    kubernetes.set_security_context(task, **RUN_AS)


def set_temporary_folder(task: Any) -> None:
    """Gives a task's pod a volume of its own at `/tmp`, without a limit of its own."""
    kubernetes.empty_dir_mount(task, TEMPORARY_VOLUME, "/tmp")
