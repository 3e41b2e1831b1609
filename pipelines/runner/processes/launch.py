"""Instructions for one task's process: program, inputs, environment and folders."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.runner.beneath import remove_folder
from pipelines.runner.code.program import Program
from pipelines.runner.ir.pipeline import ArtifactPort, Container
from pipelines.runner.kubernetes_objects.mounts import Mount
from pipelines.runner.processes.resources import Request

_ENDINGS = {"system.HTML": ".html", "system.Markdown": ".md"}


@dataclass(frozen=True, kw_only=True)
class Folders:
    """A task's folders: `artifacts` for its output artifacts, `work` for everything else; `log` is its log file."""

    artifacts: Path
    work: Path
    log: Path

    def clear(self) -> None:
        """Removes what an earlier attempt left."""
        remove_folder(self.artifacts)
        remove_folder(self.work)
        self.work.mkdir(parents=True)
        self.log.parent.mkdir(parents=True, exist_ok=True)

    def artifact(self, name: str, port: ArtifactPort) -> Path:
        """Where an output artifact goes. Pages get the ending by which a browser knows them."""
        return self.artifacts / f"{name}{_ENDINGS.get(port.schema_title, '')}"


@dataclass(frozen=True, kw_only=True)
class Launch:
    """Everything that one task's process needs to know. `path` is the task's path in the run.

    `given` is KFP's executor input, `facts` the text of the job and task placeholders, `env` the container's resolved
    environment variables, with secrets among them; `secret` says which those are.
    """

    path: str
    program: Program
    container: Container
    given: Mapping[str, Any]
    facts: Mapping[str, str]
    env: Mapping[str, str]
    request: Request
    folders: Folders
    mounts: tuple[Mount, ...] = ()
    secret: frozenset[str] = frozenset()
