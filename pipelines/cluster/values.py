"""The values file: everything that a cluster's owner sets for a pipeline's pods, in one YAML file.

`values.example.yaml` beside this module is its documentation. A stage's settings are the defaults with the stage's own
keys over them; a key replaces the default's as a whole, and `null` takes it away.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from components.core.errors import UserError
from pipelines.cluster import quantities
from pipelines.cluster.sections import Section, near
from pipelines.cluster.stage_values import INEXPRESSIBLE, STAGE_KEYS, StageValues, read_stage
from pipelines.runner.reading.documents import parse_documents

_MOST_BYTES = 2**20
_PER_STAGE = {key: "it is set per stage: write it under defaults (all stages) or stages.NAME" for key in STAGE_KEYS}


@dataclass(frozen=True, kw_only=True)
class Values:
    """Content of a values file: the run's service account ("" is the cluster's default), and each stage's settings."""

    service_account: str = ""
    defaults: StageValues = field(default_factory=StageValues)
    stages: Mapping[str, StageValues] = field(default_factory=dict)

    def of(self, stage: str) -> StageValues:
        """The settings of a stage."""
        return self.stages.get(stage, self.defaults)


NO_VALUES = Values()


def read_values(path: Path | None, stages: Collection[str]) -> Values:
    """Reads and checks a values file for a pipeline with these stages; no file is no values.

    Raises:
        UserError: no such file, no YAML, an unknown stage or key (with the nearest), a value that is none.
    """
    if path is None:
        return NO_VALUES
    top = Section(_content(path), f"{path}: ", refused=INEXPRESSIBLE | _PER_STAGE)
    account = top.take("serviceAccount", "")
    if account:
        quantities.object_name(account, top.at("serviceAccount"))
    # Each part on its own first, so that a mistake is reported where it was written.
    defaults = top.take("defaults", {})
    checked_defaults = read_stage(defaults, top.at("defaults"))
    own = top.section("stages").rest()
    top.finish()
    found = {}
    for name, content in own.items():
        if name not in stages:
            known = ", ".join(sorted(stages))
            raise UserError(
                f"{path}: stages.{name}: there is no such stage{near(name, list(stages))} (stages: {known})"
            )
        read_stage(content, top.at(f"stages.{name}"))
        found[name] = read_stage({**(defaults or {}), **(content or {})}, top.at(f"stages.{name}"))
    return Values(service_account=account, defaults=checked_defaults, stages=found)


def _content(path: Path) -> Any:
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise UserError(f"{path} is larger than {_MOST_BYTES // 2**20} MB, too large for a values file")
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise UserError(f"the values file {path} cannot be read: {reason}") from None
    documents = parse_documents(text, str(path))
    if len(documents) > 1:
        raise UserError(f"{path} holds {len(documents)} documents; a values file must hold one")
    return documents[0] if documents else {}
