"""The program of a task, as data."""

from dataclasses import dataclass

from components.core.results.code import digest_of
from pipelines.runner.ir.pipeline import Container
from pipelines.runner.kubernetes_objects import volume_tasks
from pipelines.runner.reading.executors import VOLUME_FUNCTIONS
from pipelines.runner.reading.packages import Install


@dataclass(frozen=True, kw_only=True)
class Program:
    """The program of a task.

    `name` is the component's name in the store's results; `heavy` says that it will import torch, so that a worker
    that has done so already is worth waiting for. Exactly one of `module`, `file`, `source` is set, or none for a
    plain command. `packages` is what must be installed for it first. In containers `image_id` says it all. `on_host`:
    the runner's own, which changes this machine: it never runs in a container, and its results are not kept.
    """

    name: str
    digest: str
    function: str = ""
    module: str = ""
    file: str = ""
    source: str = ""
    heavy: bool = False
    packages: tuple[Install, ...] = ()
    image_id: str = ""
    on_host: bool = False


def own_program(container: Container) -> Program:
    """CreatePVC or DeletePVC, by the image that stands for it."""
    function = VOLUME_FUNCTIONS[container.image]
    return Program(name=function, digest=digest_of([]), function=function, module=volume_tasks.__name__, on_host=True)
