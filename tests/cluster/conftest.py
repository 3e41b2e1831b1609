"""Compiling a small pipeline, and values files written in a line."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from kfp import compiler

from pipelines.cluster.images import Images
from pipelines.cluster.package import Package, make_package

# pytest's importlib mode puts no test folder on the path; cluster_pipelines.py is shared by several files here.
sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from cluster_pipelines import little

    path = tmp_path_factory.mktemp("compiled") / "little.yaml"
    compiler.Compiler().compile(little, str(path))
    return path


@pytest.fixture
def package_with(compiled: Path, tmp_path: Path) -> Callable[[str], Package]:
    """The small pipeline with the settings of this text."""

    def make(values: str, pipeline: Path = compiled) -> Package:
        path = tmp_path / "values.yaml"
        path.write_text(values)
        return make_package(pipeline, images=Images(), values=path)

    return make
