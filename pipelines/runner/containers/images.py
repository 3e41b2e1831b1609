"""The images that a pipeline names: brought here before anything starts, and known by what they hold."""

import hashlib
import itertools
import re

from components.core.errors import UserError
from pipelines.runner.code.program import Program, own_program
from pipelines.runner.containers.engine import Engine, EngineError, find_engine
from pipelines.runner.ir.pipeline import Container, Pipeline
from pipelines.runner.reading.documents import quoting_a_file
from pipelines.runner.reading.executors import VOLUME_FUNCTIONS

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._/@-]|:[A-Za-z0-9_])*")


@quoting_a_file()
def image_programs(pipeline: Pipeline) -> dict[str, Program]:
    """The program of every executor, by label: its image's id, and the command line as the YAML has it.

    Raises:
        UserError: no engine, or an image that is neither here nor can be pulled, named.
    """
    engine = find_engine()
    ids: dict[str, str] = {}
    found: dict[str, Program] = {}
    for component in pipeline.components.values():
        container = component.container
        if container is None or container.label in found:
            continue
        if container.image in VOLUME_FUNCTIONS:
            found[container.label] = own_program(container)  # there is no image of that name
            continue
        if container.image not in ids:
            ids[container.image] = _image_id(engine, container)
        found[container.label] = _program(container, ids[container.image])
    return found


def _image_id(engine: Engine, container: Container) -> str:
    """The digest of the image's configuration, which names its layers: it is the same wherever the image is."""
    image = container.image
    if "{{$" in image:
        raise UserError(f"executor {container.label!r} takes its image from a parameter, which is not supported")
    if not _NAME.fullmatch(image):
        # An option of the engine's, or a file of this machine ("docker-archive:/…"), is none.
        raise UserError(
            f"executor {container.label!r}: {image[:100]!r} is not the name of an image (registry/name:tag)"
        )
    for pulled in (False, True):
        try:
            return engine.ask("image", "inspect", "--format", "{{.Id}}", image).removeprefix("sha256:")
        except EngineError as error:
            if pulled:
                raise UserError(f"image {image} was pulled but cannot be found: {error}") from None
        try:
            engine.ask("pull", "--quiet", image)
        except EngineError as error:
            raise UserError(f"image {image} is not on this machine and cannot be pulled: {error}") from None
    raise AssertionError("either found or refused")


def _program(container: Container, image_id: str) -> Program:
    words = [*container.command, *container.args]
    names = dict(itertools.pairwise(words))
    name = names.get("--function_to_execute", container.label)
    digest = hashlib.sha256("\0".join(["image", image_id, *words]).encode()).hexdigest()
    return Program(name=name.strip("_") or "component", digest=digest, image_id=image_id)
