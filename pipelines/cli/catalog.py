"""The pipelines of this package, and lookup by name or path."""

import difflib
from collections.abc import Mapping
from pathlib import Path

from components.core.errors import UserError

COMPILED = Path(__file__).parent.parent / "compiled"


def pipeline_names() -> list[str]:
    """Names of all pipelines, those of the default task first; `trimtab compile` without a name compiles these."""
    from components.core.tasks.parameters import forms

    return list(forms())


def compiled_names() -> list[str]:
    """Names of the compiled pipelines of this package."""
    return sorted(path.stem for path in COMPILED.glob("*.yaml"))


def find_pipeline(text: str) -> Path:
    """Return the YAML file for a name or path; the default task's name means the default pipeline.

    Raises:
        UserError: neither a compiled pipeline's name nor a file.
    """
    path = Path(text)
    if path.suffix in (".yaml", ".yml", ".json") or path.parent != Path() or path.is_file():
        return path
    if text in compiled_names():
        return COMPILED / f"{text}.yaml"
    if text == _default_task():
        return COMPILED / f"{pipeline_names()[0]}.yaml"
    names = compiled_names()
    close = difflib.get_close_matches(text, names, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    raise UserError(
        f"unknown pipeline {text!r}{hint} (pipelines: {', '.join(names) or 'none compiled'}; or a path to a YAML)"
    )


def find_boxed(text: str, given: Mapping[str, str]) -> tuple[Path, dict[str, str]]:
    """`find_pipeline` and the parameters for it: a search that is given a limit of time is another pipeline."""
    path = find_pipeline(text)
    if path.parent != COMPILED:
        return path, dict(given)
    from pipelines.form_arguments import boxed

    name, left = boxed(path.stem, given)
    return COMPILED / f"{name}.yaml", left


def _default_task() -> str:
    from components.core.tasks import TASKS

    return TASKS[0]
