"""`trimtab compile`: Python pipeline → YAML, and the check that the checked-in YAML has not drifted from the code."""

import importlib
import tempfile
from pathlib import Path
from typing import Any

from components.core.errors import UserError
from pipelines.cli.catalog import COMPILED
from pipelines.runner.documents import read_documents


def compile_command(name: str, output: Path | None, *, check: bool) -> int:
    """Compiles `pipelines.NAME.NAME`; returns the exit code: 1 when `check` finds a difference."""
    target = output or COMPILED / f"{name}.yaml"
    with tempfile.TemporaryDirectory() as folder:
        fresh = Path(folder) / "pipeline.yaml"
        _compile(name, fresh)
        if check:
            same = target.is_file() and _content(fresh) == _content(target)
            print(f"{target} {'is up to date' if same else f'differs from the code: run trimtab compile {name}'}")
            return 0 if same else 1
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(fresh.read_bytes())
        except OSError as error:
            raise UserError(f"{target} cannot be written: {error.strerror}") from None
    print(f"wrote {target}")
    return 0


def _compile(name: str, path: Path) -> None:
    module_name = f"pipelines.{name}"
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name != module_name:
            raise
        raise UserError(f"there is no pipeline {name!r}: no module {module_name}") from None
    pipeline = getattr(module, name, None)
    if pipeline is None:
        raise UserError(f"{module_name} defines no pipeline {name!r}")
    from kfp.compiler import Compiler

    Compiler().compile(pipeline, str(path))


def _content(path: Path) -> list[Any]:
    """The documents without the version of the SDK, which changes with every release of it."""
    _, documents = read_documents(path)
    if documents and isinstance(documents[0], dict):
        documents[0].pop("sdkVersion", None)
    return documents
