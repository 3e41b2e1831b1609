"""Executors of the compiled YAML, and how each can run on this machine.

Three kinds run: containerized Python components (the code is on this machine), lightweight Python components (the
code is in the YAML), and plain commands whose program is on this machine.
"""

import ast
from dataclasses import dataclass

from components.core.errors import UserError
from pipelines.quantities import num_bytes, num_cores
from pipelines.runner.ir.parameters import plain
from pipelines.runner.ir.pipeline import Container, Importer, Resources
from pipelines.runner.ir.placeholders import check as check_placeholders
from pipelines.runner.ir.placeholders import check_command, is_literal
from pipelines.runner.ir.settings import ExecutorSettings
from pipelines.runner.reading.fields import Fields
from pipelines.runner.reading.packages import Install, installs

CREATE_VOLUME, DELETE_VOLUME = "argostub/createpvc", "argostub/deletepvc"
"""The images by which kfp-kubernetes names CreatePVC and DeletePVC; there are none of these names."""

VOLUME_FUNCTIONS = {CREATE_VOLUME: "create_volume", DELETE_VOLUME: "delete_volume"}

_LONGEST_NAME = 200  # it becomes a folder's
_EXECUTOR_MODULES = ("kfp.dsl.executor_main", "kfp.components.executor_main")


def read_executor(fields: Fields, label: str, settings: ExecutorSettings) -> Container:
    """One entry of `deploymentSpec.executors`.

    Raises:
        UserError: an executor that is not a container, or a container with a life cycle of its own.
    """
    for key, what in (
        ("resolver", "a resolver"),
        ("customJob", "a Vertex AI custom job"),
    ):
        fields.refuse(key, what)
    container = fields.group("container")
    container.refuse("lifecycle", "a container life cycle")
    resources = container.group("resources")
    env = {}
    for item in container.sequence("env"):
        env[item.needed("name")] = str(item.raw("value", ""))
        item.finish()
    found = Container(
        label=label, image=container.text("image"), command=container.strings("command"),
        args=container.strings("args"), env=env, resources=_resources(resources), settings=settings,
    )  # fmt: skip
    resources.finish()
    container.finish()
    fields.finish()
    check_placeholders([*found.command, *found.args, env], f"executor {label!r}")
    check_command([*found.command, *found.args], f"executor {label!r}")
    return found


def read_importer(fields: Fields, label: str) -> Importer:
    """The entry of `deploymentSpec.executors` of a `dsl.importer`.

    Raises:
        UserError: it has no URI, or a key that is not supported.
    """
    part = fields.group("importer")
    address = part.group("artifactUri")
    old = address.group("constantValue")  # SDK 2.0's first versions
    constant = address.text("constant") or old.text("stringValue")
    metadata = plain(part.group("metadata").value, f"{part.where}.metadata")
    found = Importer(
        label=label, uri=constant, uri_input=address.text("runtimeParameter") or "uri", metadata=metadata,
        reimport=part.flag("reimport"),
    )  # fmt: skip
    # The type stands in the component's interface as well; and what is imported is at hand without a workspace.
    part.ignore("typeSchema", "downloadToWorkspace")
    part.refuse("properties", "typed properties of an importer")
    part.refuse("customProperties", "custom properties of an importer")
    for item in (old, address, part, fields):
        item.finish()
    check_placeholders(metadata, f"executor {label!r}")
    return found


def _resources(fields: Fields) -> Resources:
    """A limit without a request is the request, as in Kubernetes. Memory numbers of old SDKs are in GB."""

    def pick(name: str, kind: str, unit: str) -> str | None:
        # The `resource…` form is newer, and may be a placeholder; the plain one is a number.
        number = fields.raw(f"{name}{kind}", None)
        quantity = fields.raw(f"resource{name.capitalize()}{kind}", None)
        text = str(quantity) if quantity else f"{number}{unit}" if number else None
        if text and "{{" not in text:  # a placeholder is checked when its value is known
            (num_cores if name == "cpu" else num_bytes)(text, fields.where)
        return text

    cpu_limit, memory_limit = pick("cpu", "Limit", ""), pick("memory", "Limit", "G")
    found = Resources(
        cpu=pick("cpu", "Request", "") or cpu_limit, memory=pick("memory", "Request", "G") or memory_limit,
        cpu_limit=cpu_limit, memory_limit=memory_limit,
    )  # fmt: skip
    fields.ignore("accelerator")  # a hint where to run: code that finds no accelerator runs on the CPU
    check_placeholders([found.cpu, found.memory, cpu_limit, memory_limit], fields.where)
    return found


@dataclass(frozen=True, kw_only=True)
class InstalledFunction:
    """A containerized Python component: the function's name; where it lives is found by `code/programs.py`."""

    function: str


@dataclass(frozen=True, kw_only=True)
class EmbeddedFunction:
    """A lightweight Python component: its source stands in the YAML. `packages` is what it wants installed."""

    function: str
    source: str
    packages: tuple[Install, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Command:
    """A container component: a command line, which runs on this machine if its program is there. `program` is "" if
    only the task's inputs tell which one it is."""

    program: str


@dataclass(frozen=True, kw_only=True)
class OwnFunction:
    """A task that has no code of its own in any image, such as CreatePVC: a function of `volume_tasks.py`."""

    function: str


def classify(container: Container) -> InstalledFunction | EmbeddedFunction | Command | OwnFunction:
    """Which of the kinds an executor is.

    Raises:
        UserError: none of them, or a source or a list of packages that cannot be read.
    """
    words = container.command + container.args
    where = f"executor {container.label!r}"
    if container.image in VOLUME_FUNCTIONS:
        return OwnFunction(function=VOLUME_FUNCTIONS[container.image])
    if not container.command:
        raise UserError(
            f"{where} has no command: it relies on the default command of the image {container.image!r}; use "
            "--runner container"
        )
    if not any(module in word for word in words for module in _EXECUTOR_MODULES):
        program = container.command[0]
        return Command(program=program if is_literal(program) else "")
    function = _option(words, "--function_to_execute")
    if not function:
        raise UserError(f"{where} names no function (--function_to_execute)")
    if not function.isidentifier() or len(function) > _LONGEST_NAME:
        raise UserError(f"{where} names no Python function (--function_to_execute): {function[:60]!r}")
    if any("ephemeral_component.py" in word for word in container.command):
        return EmbeddedFunction(
            function=function, source=_checked_source(container.command[-1], where),
            packages=installs(container.command[:-1], where),
        )  # fmt: skip
    return InstalledFunction(function=function)


def _option(words: tuple[str, ...], name: str) -> str:
    for index, word in enumerate(words[:-1]):
        if word == name:
            return words[index + 1]
    return ""


def _checked_source(source: str, where: str) -> str:
    try:
        ast.parse(source)
    except (
        SyntaxError,
        ValueError,
        RecursionError,
        MemoryError,
    ) as error:  # the last: nested too deeply for the parser
        raise UserError(
            f"{where} holds Python source that cannot be read: {str(error) or 'nested too deeply'}"
        ) from None
    return source
