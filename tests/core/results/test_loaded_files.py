"""Which files a stage's results rest on."""

import ast
import io
import shutil
import tokenize
from collections.abc import Iterator
from pathlib import Path

import grimp
import pytest

import components
from components.core.results import loaded_files
from components.core.results.code import stage_digest
from components.core.results.loaded_files import imported_names, without_comments

ROOT = Path(components.__file__).parent
STAGES = sorted(path.parent.name for path in ROOT.glob("*/component.py"))


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A package with one stage that imports nothing yet, and with modules that it may import."""
    root = tmp_path / "components"
    write(
        root,
        {
            "__init__.py": "",
            "one/component.py": "",
            "other/component.py": "",
            "core/__init__.py": "",
            "core/data/__init__.py": "from components.core.data.shards import x\n",
            "core/data/shards.py": "x = 1\n",
            "core/data/catalog.yaml": "a: 1\n",
            "core/data/README.md": "",
            "core/data/templates/html/page.jinja": "",
            "core/data/ingestion/tables.py": "",
            "core/data/ingestion/formats.json": "",
            "core/models.py": "",
            "core/tasks/__init__.py": "",
            "core/tasks/base.py": "",
            "core/tasks/segmentation/task.py": "from components.core import models\n",
            "core/tasks/segmentation/demo/scenes.parquet": "",
        },
    )
    return root


DATA = {
    "__init__.py", "core/__init__.py", "core/data/__init__.py", "core/data/shards.py", "core/data/catalog.yaml",
    "core/data/templates/html/page.jinja",
}  # fmt: skip
MODELS = {"__init__.py", "core/__init__.py", "core/models.py"}
TASKS = {
    *MODELS,
    "core/tasks/__init__.py",
    "core/tasks/base.py",
    "core/tasks/segmentation/task.py",
    "core/tasks/segmentation/demo/scenes.parquet",
}


@pytest.mark.parametrize(
    ("source", "loaded"),
    [
        ("import components.core.models\n", MODELS),
        ("import json, components.core.models as models\n", MODELS),
        ("from components.core import models\n", MODELS),
        ("from components.core import (\n    errors,  # (of all)\n    models as zoo,\n)\n", MODELS),
        ("from components.core import errors, \\\n    models\n", MODELS),
        ("from components.core.models import Model\n", MODELS),
        ("from ..core.models import Model\n", MODELS),
        ("from ..core import models\n", MODELS),
        ("def f():\n    if True: from components.core import models\n", MODELS),
        ("try:\n    import components.core.models\nexcept ImportError: pass\n", MODELS),
        ("from components.core.data import anything\n", DATA),
        ("importlib.import_module('components.core.models')\n", MODELS),
        ('ENTRY = "components.core.models:train"\n', MODELS),
        ("from components.core.tasks.base import Task\n", TASKS),
        ("# from components.core import models\n", set()),
        ('"""Not like components.core.models."""\n', set()),
        ("if TYPE_CHECKING:\n    from components.core import models\n\n    import components.core.data\n", set()),
        ("if typing.TYPE_CHECKING:\n    from components.core import models\n", set()),
        (
            "class A:\n    if TYPE_CHECKING:\n        import components.core.models\n    import components\n",
            {"__init__.py"},
        ),
        (
            "if TYPE_CHECKING:\n    from components.core import data\nelse:\n    from components.core import models\n",
            MODELS,
        ),
        ("import components_of_others.core.models\nfrom other.components.core import models\n", set()),
    ],
)
def test_imports_are_followed_as_python_would_at_run_time(package: Path, source: str, loaded: set[str]) -> None:
    write(package, {"one/component.py": source})
    assert set(loaded_files.loaded_files(package / "one")) == {"one/component.py", *loaded}


def test_all_of_the_stage_s_own_folder_counts_with_its_data(package: Path) -> None:
    write(package, {"one/demo/build.py": "", "one/demo/pictures.parquet": "", "one/README.md": "", "one/.notes": ""})
    write(package, {"one/__pycache__/component.pyc": ""})
    found = loaded_files.loaded_files(package / "one")
    assert found == ["one/component.py", "one/demo/build.py", "one/demo/pictures.parquet"]


def test_a_module_that_cannot_be_parsed_stops_nobody(package: Path) -> None:
    write(package, {"one/component.py": "def f(:\nfrom components.core import models\n"})
    assert "core/models.py" in loaded_files.loaded_files(package / "one")


def names_by_parser(path: Path) -> set[str]:
    """The imports of a module by Python's parser: the reference for the search by pattern."""
    package = ["components", *path.relative_to(ROOT).parts[:-1]]

    def walk(node: ast.AST) -> Iterator[str]:
        if isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            for child in node.orelse:
                yield from walk(child)
            return
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*start, *([node.module] if node.module else [])])
            yield from (source, *(f"{source}.{alias.name}" for alias in node.names))
        for child in ast.iter_child_nodes(node):
            yield from walk(child)

    return set(walk(ast.parse(path.read_text(encoding="utf-8"))))


@pytest.mark.parametrize("path", sorted(ROOT.rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT)))
def test_the_search_finds_the_imports_that_the_parser_finds(path: Path) -> None:
    text = without_comments(path.read_text(encoding="utf-8"))
    found = set(imported_names(text, ["components", *path.relative_to(ROOT).parts[:-1]]))
    assert names_by_parser(path) <= found
    of_ours = {name for name in found - names_by_parser(path) if name.startswith("components.")}
    assert not {name for name in of_ours if (ROOT.parent / name.replace(".", "/")).with_suffix(".py").exists()}


def test_only_tasks_and_the_processes_that_train_are_imported_by_a_name_that_is_no_constant() -> None:
    found = {
        path.relative_to(ROOT).as_posix()
        for path in ROOT.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func).rpartition(".")[2] in ("import_module", "__import__", "spec_from_file_location")
        and not (node.args and isinstance(node.args[0], ast.Constant))
    }
    assert {name for name in found if not name.startswith("core/tasks/")} == {"core/training/rank_entry.py"}


@pytest.fixture(scope="session")
def import_graph() -> grimp.ImportGraph:
    return grimp.build_graph("components", exclude_type_checking_imports=True, cache_dir=None)


@pytest.mark.parametrize("stage", STAGES)
def test_all_that_a_stage_imports_counts_by_the_graph_of_import_linter(
    stage: str, import_graph: grimp.ImportGraph
) -> None:
    upstream = import_graph.find_upstream_modules(f"components.{stage}", as_package=True)
    files = {ROOT.parent / name.replace(".", "/") for name in upstream}
    wanted = {path.with_suffix(".py") if path.with_suffix(".py").exists() else path / "__init__.py" for path in files}
    found = {ROOT / path for path in loaded_files.loaded_files(ROOT / stage)}
    assert {path for path in wanted if path.exists()} <= found


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A copy of the whole package, to change."""
    shutil.copytree(ROOT, tmp_path / "components", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path / "components"


def digest(root: Path, stage: str) -> str:
    loaded_files.package_at.cache_clear()
    return stage_digest(root / stage)


@pytest.mark.parametrize(
    ("changed", "affected", "unaffected"),
    [
        ("prune/importance.py", {"prune"}, {"fine_tune", "distill", "quantize", "evaluate", "data_prep"}),
        ("fine_tune/tuning.py", {"fine_tune"}, {"distill", "prune", "evaluate"}),
        ("core/report/page.py", {"fine_tune", "run_report"}, {"decide", "promote"}),
        ("core/report/page.css", {"fine_tune", "run_report"}, {"decide", "promote"}),
        ("core/models/catalog.yaml", {"backbone_selection"}, {"choose", "decide", "judge"}),
        ("core/training/loop.py", {"fine_tune", "distill"}, {"data_prep", "choose", "judge", "export"}),
        ("core/errors.py", set(STAGES), set()),
        ("trainjob.py", set(), set(STAGES)),
    ],
)
def test_a_change_loses_the_results_of_the_stages_that_load_the_file_and_of_no_other(
    copied: Path, changed: str, affected: set[str], unaffected: set[str]
) -> None:
    before = {stage: digest(copied, stage) for stage in STAGES}
    with (copied / changed).open("a") as file:
        file.write("x = 1\n")
    different = {stage for stage in STAGES if digest(copied, stage) != before[stage]}
    assert affected <= different
    assert not unaffected & different


def test_the_digest_of_a_copy_is_the_digest(copied: Path) -> None:
    assert digest(copied, "prune") == digest(ROOT, "prune")


def test_a_changed_comment_loses_no_result(copied: Path) -> None:
    before = {stage: digest(copied, stage) for stage in STAGES}
    for path in (copied / "core" / "report" / "page.py", copied / "fine_tune" / "tuning.py"):
        path.write_text(f"# A comment.\n\n{path.read_text()}\n    # and one more\n")
    assert {stage: digest(copied, stage) for stage in STAGES} == before


@pytest.mark.parametrize("path", sorted(ROOT.rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT)))
def test_without_its_comments_a_module_means_the_same_and_has_none(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    left = without_comments(source)
    assert ast.dump(ast.parse(left)) == ast.dump(ast.parse(source))
    kinds = [token.type for token in tokenize.generate_tokens(io.StringIO(left).readline)]
    assert tokenize.COMMENT not in kinds


@pytest.mark.parametrize(
    ("source", "left"),
    [
        ("x = 1  # one\n", "x = 1"),
        ("# one\n\nx = 1\n\n\n    # two\ny = 2", "x = 1\ny = 2"),
        ("x = '#1' # one\n", "x = '#1'"),
        ('x = "a\\"#b" # "one"\n', 'x = "a\\"#b"'),
        ("x = '''\n\n# no comment \"'''\n", "x = '''\n\n# no comment \"'''"),
        ('x = """a " # b\n\n"""  # c\n', 'x = """a " # b\n\n"""'),
        ("x = r'\\\\'  # it's\n", "x = r'\\\\'"),
        ("x = ''  # it's\ny = ''\n", "x = ''\ny = ''"),
    ],
)
def test_comments_and_empty_lines_are_taken_out_and_nothing_in_a_text(source: str, left: str) -> None:
    assert without_comments(source) == left


def test_a_second_runtime_loses_the_results_of_the_stage_that_measures_it_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {stage: stage_digest(ROOT / stage) for stage in STAGES}
    (tmp_path / "openvino-1.2.3.dist-info").mkdir()
    (tmp_path / "openvino-1.2.3.dist-info" / "METADATA").write_text("Name: openvino\nVersion: 1.2.3\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert {stage for stage in STAGES if stage_digest(ROOT / stage) != before[stage]} == {"evaluate"}
