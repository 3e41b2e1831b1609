from dataclasses import replace
from pathlib import Path

import pytest

from components import images
from components.core.errors import UserError
from components.core.results import loaded_files
from pipelines.runner.code import programs as code
from pipelines.runner.code.programs import programs
from pipelines.runner.ir.pipeline import Component, Container, Dag, Pipeline, Resources


def pipeline_of(function: str, image: str = "x/y:1") -> Pipeline:
    container = Container(
        label="exec", image=image, command=("python3", "-m", "kfp.dsl.executor_main"),
        args=("--executor_input", "{{$}}", "--function_to_execute", function), env={}, resources=Resources(),
    )  # fmt: skip
    component = Component(name="comp", container=container)
    return Pipeline(
        name="p",
        description="",
        root=Component(name="root", dag=Dag(tasks={})),
        components={"comp": component},
        text="",
    )


def test_stages_of_the_installed_package_are_found_without_importing_them(tmp_path: Path) -> None:
    found = programs(pipeline_of("preflight"), [tmp_path])["exec"]
    assert found.module == "components.preflight.component"
    assert found.function == "preflight"


def test_only_the_training_image_is_worth_a_worker_with_torch(tmp_path: Path) -> None:
    for image, heavy in ((images.TRAIN_IMAGE, True), (images.DATA_IMAGE, False)):
        assert programs(pipeline_of("preflight", image), [tmp_path])["exec"].heavy is heavy


def test_unknown_component_names_what_is_known(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"'no_such_stage'.*preflight"):
        programs(pipeline_of("no_such_stage"), [tmp_path])


@pytest.mark.parametrize("name", ["f" * 201, "f" * 5000, "a b", "../x", "a.b", "1"])
def test_a_function_that_python_cannot_have_is_refused_in_a_line_that_can_be_read(name: str) -> None:
    with pytest.raises(UserError, match=r"executor 'exec' names no Python function") as caught:
        programs(pipeline_of(name), [])
    assert len(str(caught.value)) < 200


def test_a_refusal_that_quotes_a_long_text_keeps_its_end() -> None:
    container = Container(
        label="exec", image="x/y:1", command=("no-such-program" * 1000,), args=(), env={}, resources=Resources()
    )
    pipeline = replace(pipeline_of("preflight"), components={"comp": Component(name="comp", container=container)})
    with pytest.raises(UserError, match=r"^executor 'exec' runs 'no-such-program.*use --runner container") as caught:
        programs(pipeline, [])
    assert len(str(caught.value)) == 1000


@pytest.fixture
def stages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package of stages of its own: components/{core,one}."""
    root = tmp_path / "components"
    for folder in ("core", "one"):
        (root / folder).mkdir(parents=True)
    (root / "core" / "mean.py").write_text("x = 1\n")
    (root / "one" / "component.py").write_text(
        "from components.core import mean\n@dsl.component()\ndef one(): pass\n\ndef helper(): pass\n"
    )
    (root / "one" / "technique.py").write_text("y = 1\n")
    monkeypatch.setattr(code, "_stages", lambda: {"one": root / "one"})
    return root


def digest() -> str:
    loaded_files.package_at.cache_clear()
    return programs(pipeline_of("one"), [])["exec"].digest


@pytest.mark.parametrize("name", ["one/technique.py", "one/component.py", "core/mean.py", "one/table.yaml"])
def test_the_digest_changes_with_every_file_that_may_change_the_result(stages: Path, name: str) -> None:
    before = digest()
    with (stages / name).open("a") as file:
        file.write("changed = 1\n")
    assert digest() != before


@pytest.mark.parametrize("name", ["one/README.md", "one/__pycache__/x.pyc", "two/component.py", "core/page.py"])
def test_the_digest_does_not_change_with_what_cannot_change_the_result(stages: Path, name: str) -> None:
    before = digest()
    (stages / name).parent.mkdir(exist_ok=True)
    (stages / name).write_text("new")
    assert digest() == before


def test_only_decorated_functions_are_components() -> None:
    text = "@dsl.component(base_image='x')\ndef a(): pass\n@component\ndef b(): pass\ndef c(): pass\n"
    assert list(code._component_functions(text)) == ["a", "b"]
    assert list(code._component_functions("def (")) == []


def test_config_that_names_a_missing_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "kfp_config.ini").write_text("[Components]\nOne = gone.py\n")
    with pytest.raises(UserError, match=r"gone\.py.*'One'"):
        programs(pipeline_of("One"), [tmp_path])


def test_lightweight_source_that_imports_torch_is_heavy() -> None:
    assert code._imports("def f():\n    from torch.nn import Linear\n    import os.path") == {"torch", "os"}
