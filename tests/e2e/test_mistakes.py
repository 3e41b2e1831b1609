"""A user's mistake: one clear line, exit code 2, nothing expensive started."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

pytestmark = pytest.mark.e2e


def mistake(run) -> str:
    """The one line on stderr that says what is wrong."""
    assert run.code == 2, run.printed
    errors = [line for line in run.printed.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, run.printed
    assert "Traceback" not in run.printed
    return errors[0]


@pytest.fixture
def picture():
    def draw(path: Path, shade: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (16, 16), (shade, 255 - shade, shade // 2)).save(path)

    return draw


def test_an_empty_folder(tmp_path, trimtab):
    (tmp_path / "nothing").mkdir()
    line = mistake(trimtab(tmp_path / "home", parameters={"dataset": str(tmp_path / "nothing")}))
    assert "nothing" in line
    assert "empty" in line or "no " in line


def test_a_folder_that_is_not_there(tmp_path, trimtab):
    assert "no-such-folder" in mistake(trimtab(tmp_path, parameters={"dataset": str(tmp_path / "no-such-folder")}))


def test_one_class_only(tmp_path, trimtab, picture):
    for number in range(5):
        picture(tmp_path / "data" / "only" / f"{number}.png", 40 * number)
    line = mistake(trimtab(tmp_path / "home", parameters={"dataset": str(tmp_path / "data")}))
    assert "one class" in line
    assert "only" in line


def test_an_unknown_backbone_gets_the_nearest_name(tmp_path, trimtab):
    line = mistake(trimtab(tmp_path, parameters={"backbones": "eficientnet_lite0"}))
    assert "'eficientnet_lite0'" in line
    assert "efficientnet_lite0" in line.replace("'eficientnet_lite0'", "")


@pytest.mark.parametrize("value", ["0", "-3", "0.0"])
def test_a_budget_of_nothing(tmp_path, trimtab, value):
    line = mistake(trimtab(tmp_path, parameters={"max_latency_ms": value}))
    assert "max_latency_ms must be greater than 0" in line


def test_a_size_that_no_recipe_can_reach(tmp_path, trimtab):
    assert "max_size_mb 0.1 cannot be met" in mistake(trimtab(tmp_path, parameters={"max_size_mb": "0.1"}))


def test_a_store_that_cannot_be_written(tmp_path, trimtab):
    (tmp_path / "file").write_text("not a folder")
    line = mistake(trimtab(tmp_path / "home", store=str(tmp_path / "file" / "store")))
    assert "store" in line


def test_an_s3_store_where_nobody_answers(tmp_path, trimtab):
    environment = {
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "very-secret",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
    }
    run = trimtab(tmp_path, store="s3://bucket/prefix", environment=environment)
    assert "s3://bucket/prefix" in mistake(run)
    assert "very-secret" not in run.printed


def test_a_misspelt_parameter_gets_the_nearest_name(tmp_path, trimtab):
    line = mistake(trimtab(tmp_path, parameters={"epoch": "3"}))
    assert "epoch" in line
    assert "epochs" in line


def test_a_word_that_is_no_choice_lists_the_choices(tmp_path, trimtab):
    assert "polynomial, step, cosine, constant" in mistake(trimtab(tmp_path, parameters={"schedule": "linear"}))


def test_no_weights_package_installed_says_what_to_install(tmp_path, trimtab):
    # A fresh machine without the extra `demo`: its packages are hidden from the interpreter of the run.
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden" / "sitecustomize.py").write_text(
        "from importlib import metadata\n"
        "found = metadata.Distribution.from_name\n"
        "def from_name(name):\n"
        "    if 'efficientnet' in name:\n"
        "        raise metadata.PackageNotFoundError(name)\n"
        "    return found(name)\n"
        "metadata.Distribution.from_name = staticmethod(from_name)\n"
    )
    line = mistake(trimtab(tmp_path / "home", environment={"PYTHONPATH": str(tmp_path / "hidden")}))
    assert "trimtab[demo]" in line


def test_help_answers_without_loading_torch_or_kfp():
    script = (
        "import sys\n"
        "from pipelines.cli import main\n"
        "sys.argv = ['trimtab', '--help']\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print(sorted({'torch', 'kfp', 'timm', 'boto3', 'pyarrow'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=os.environ)
    assert done.stdout.splitlines()[-1] == "[]", done.stdout + done.stderr


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ("camra", "list.csv has no column 'camra' for slice_columns; did you mean 'camera'?"),
        ("path", "slice_columns names 'path'"),
        ("number", "slice column 'number' has more than 100 values"),
    ],
)
def test_a_slice_column_that_is_not_there_or_that_groups_nothing(tmp_path, trimtab, asked, words):
    rows = [f"{number}.png,{'ab'[number % 2]},day,{number}" for number in range(200)]
    (tmp_path / "list.csv").write_text("\n".join(["path,label,camera,number", *rows]))
    run = trimtab(tmp_path / "home", parameters={"dataset": str(tmp_path / "list.csv"), "slice_columns": asked})
    assert words in mistake(run)


def test_slices_of_a_folder_of_images(tmp_path, trimtab, picture):
    for number in range(6):
        picture(tmp_path / "data" / "ab"[number % 2] / f"{number}.png", 40 * number)
    run = trimtab(tmp_path / "home", parameters={"dataset": str(tmp_path / "data"), "slice_columns": "camera"})
    assert "slice_columns needs a table" in mistake(run)
