"""A small pipeline of two stages, and looking into what was made of it."""

from typing import Any

from kfp import dsl

from pipelines.cluster.package import Package


@dsl.component(base_image="python:3.11")
def first_stage(n: int) -> int:
    return n + 1


@dsl.component(base_image="python:3.11")
def second_stage(n: int) -> int:
    return n * 2


@dsl.pipeline(name="little", description="Adds and doubles.")
def little(n: int, mode: str = "well", scale: float = 1.0, wanted: bool = True, names: list = ["a"]) -> int:  # noqa: B006
    one = first_stage(n=n)
    again = first_stage(n=one.output)
    with dsl.ParallelFor([1, 2]) as item:
        second_stage(n=item)
    return second_stage(n=again.output).output


@dsl.component(base_image="python:3.11")
def read(path: str) -> str:
    with open(path) as file:  # noqa: PTH123
        return file.read()


@dsl.component(base_image="python:3.11")
def echo(n: int, mode: str, scale: float, wanted: bool, names: list, settings: dict) -> str:
    return repr([n, mode, scale, wanted, names, settings])


@dsl.pipeline(name="echoing")
def echoing(
    n: int = 7,
    mode: str = "well",
    scale: float = 1.5,
    wanted: bool = True,
    names: list = ["a"],  # noqa: B006
    settings: dict = {"a": 1},  # noqa: B006
) -> str:
    return echo(n=n, mode=mode, scale=scale, wanted=wanted, names=names, settings=settings).output


def executors(package: Package) -> dict[str, Any]:
    """Executor label → container."""
    found = package.documents[0]["deploymentSpec"]["executors"]
    return {label: executor["container"] for label, executor in found.items()}


def pods(package: Package) -> dict[str, Any]:
    """Executor label → what stands in the platform's document, as protobuf."""
    from google.protobuf import json_format
    from kfp.kubernetes.kubernetes_executor_config_pb2 import KubernetesExecutorConfig

    found = package.documents[1]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    return {label: json_format.ParseDict(config, KubernetesExecutorConfig()) for label, config in found.items()}
