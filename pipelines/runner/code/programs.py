"""Where the code of a component is, and the digest that its cached results rest on.

A containerized component's YAML holds only a function name. The code is found in a `kfp_config.ini` beside the
pipeline or in the current folder (as kfp's own executor does inside an image), else among the stages of the installed
package `components`: folders with a `component.py`. They are parsed, not imported: an import of all would cost seconds.
"""

import ast
import configparser
import importlib.util
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

from components import images
from components.core.errors import UserError
from components.core.results.code import VARIANT, digest_of, files_of, stage_digest
from pipelines.runner.code.program import Program, own_program
from pipelines.runner.ir.pipeline import Container, Pipeline
from pipelines.runner.reading.documents import quoting_a_file
from pipelines.runner.reading.executors import Command, EmbeddedFunction, InstalledFunction, OwnFunction, classify
from pipelines.runner.reading.packages import fingerprint, missing

CONFIG_FILE = "kfp_config.ini"
_MOST_PACKAGES = 2000

_HEAVY_MODULES = frozenset({"torch", "torchvision", "timm", "torch_pruning"})


@quoting_a_file()
def programs(pipeline: Pipeline, folders: Sequence[Path]) -> dict[str, Program]:
    """The program of every executor of the pipeline, by executor label, as processes of this machine run it.

    Args:
        pipeline: what is to run.
        folders: where a `kfp_config.ini` may be, first wins.

    Raises:
        UserError: code that is not on this machine, named.
    """
    configured = _configured(folders)
    found: dict[str, Program] = {}
    num_packages = 0
    for component in pipeline.components.values():
        container = component.container
        if container is None or container.label in found:
            continue
        match classify(container):
            case InstalledFunction(function=function):
                found[container.label] = _installed(function, container, configured)
            case EmbeddedFunction(function=function, source=source, packages=wanted):
                num_packages += sum(len(install.requirements) for install in wanted)
                if num_packages > _MOST_PACKAGES:  # each is looked up here, for a millisecond
                    raise UserError(f"the pipeline asks to install more than {_MOST_PACKAGES:,} packages")
                parts = [("source", source), *([("packages", fingerprint(wanted))] if wanted else ())]
                found[container.label] = Program(
                    name=_safe(function), digest=digest_of((name, text.encode()) for name, text in parts),
                    function=function, source=source, packages=missing(wanted),
                    heavy=bool(_imports(source) & _HEAVY_MODULES),
                )  # fmt: skip
            case OwnFunction():
                found[container.label] = own_program(container)
            case Command(program=program):
                found[container.label] = _command(program, container)
    return found


def _safe(name: str) -> str:
    return name.strip("_") or "component"


def _installed(function: str, container: Container, configured: dict[str, Path]) -> Program:
    if function in configured:
        path = configured[function]
        text = path.read_text(encoding="utf-8")
        return Program(
            name=_safe(function), digest=digest_of(files_of(path.parent)), function=function, file=str(path),
            heavy=bool(_imports(text) & _HEAVY_MODULES),
        )  # fmt: skip
    stages = _stages()
    stage = function if function in stages else function.partition(VARIANT)[0]
    if stage not in stages:
        known = ", ".join(sorted({*stages, *configured})) or "none"
        raise UserError(
            f"the code of component {function!r} (executor {container.label!r}) is not on this machine: neither "
            f"in {CONFIG_FILE} beside the pipeline or in the current folder, nor among the installed stages "
            f"({known})"
        )
    folder = stages[stage]
    return Program(
        name=_safe(function),
        digest=stage_digest(folder),
        function=function,
        module=f"components.{folder.name}.component",
        heavy=container.image == images.TRAIN_IMAGE,
    )


def _command(program: str, container: Container) -> Program:
    import shutil

    if program and shutil.which(program) is None:
        raise UserError(
            f"executor {container.label!r} runs {program!r} in the image {container.image!r}; that program is not "
            "on this machine; use --runner container"
        )
    parts = "\0".join([*container.command, *container.args, container.image])
    return Program(name=_safe(container.label), digest=digest_of([("command", parts.encode())]))


def _configured(folders: Sequence[Path]) -> dict[str, Path]:
    """Function name → file, from the first `kfp_config.ini`."""
    for folder in folders:
        path = folder / CONFIG_FILE
        if not path.is_file():
            continue
        parser = configparser.ConfigParser(interpolation=None)
        parser.optionxform = str  # type: ignore[assignment,method-assign]  # function names keep their case
        try:
            parser.read_string(path.read_text(encoding="utf-8"))
        except (configparser.Error, UnicodeDecodeError) as error:
            raise UserError(f"{path} cannot be read: {' '.join(str(error).split())}") from None
        found = {}
        for name, value in parser["Components"].items() if parser.has_section("Components") else ():
            file = (folder / value).resolve()
            if not file.is_file():
                raise UserError(f"{path} names {value} for the component {name!r}, but it does not exist")
            found[name] = file
        return found
    return {}


@cache
def _stages() -> dict[str, Path]:
    """Function name → folder of every stage of the installed package."""
    spec = importlib.util.find_spec("components")
    found: dict[str, Path] = {}
    for root in (spec.submodule_search_locations if spec else None) or ():
        for path in sorted(Path(root).glob("*/component.py")):
            for name in (path.parent.name, *_component_functions(path.read_text(encoding="utf-8"))):
                found.setdefault(name, path.parent)
    return found


def _component_functions(text: str) -> Iterator[str]:
    try:
        tree = ast.parse(text)
    except SyntaxError:
        return  # a stage that is being edited must not stop the others
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and any("component" in ast.unparse(d) for d in node.decorator_list):
            yield node.name


def _imports(text: str) -> set[str]:
    """Top-level names of everything a source imports, anywhere in it."""
    found: set[str] = set()
    try:
        tree = ast.parse(text)
    except SyntaxError:
        return found
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
    return found
