"""A release measured again, where it is to be served: no torch, and no store if need be."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from finished_run import FinishedRun
from PIL import Image

from components.core.errors import UserError
from components.core.evaluation.document import Evaluation
from pipelines.cli.measure_command import measure

pytestmark = [pytest.mark.e2e, pytest.mark.demo]

WITHOUT_TORCH = """
import sys
sys.modules.update(dict.fromkeys(("torch", "torchvision", "timm", "kfp", "onnx")))
from pipelines.cli import main
main()
"""


@pytest.fixture
def release(reduced_run: FinishedRun, tmp_path: Path) -> Path:
    """A copy of the release's plain files."""
    version = reduced_run.document["outputs"]["release_version"]
    folder = tmp_path / "release"
    folder.mkdir()
    for name in reduced_run.store.releases.files("model", version):
        (folder / name).write_bytes(reduced_run.store.releases.read("model", version, name))
    return folder


def called(*arguments: str, home: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", WITHOUT_TORCH, "measure", *arguments]
    variables = {**os.environ, "TRIMTAB_HOME": str(home), "COLUMNS": "200"}
    return subprocess.run(command, cwd=home, env=variables, capture_output=True, text=True, timeout=300)


def test_the_demo_gives_what_the_card_says(reduced_run: FinishedRun, release: Path, tmp_path: Path) -> None:
    done = called("model", "--store", reduced_run.store_uri, "-p", "dataset=demo", "--json", "out.json", home=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "out.json").read_text())
    card = Evaluation.from_json(json.loads((release / "evaluation.json").read_bytes()))
    assert (found["rows"], found["rows"] + found["left_out"]) == (card.rows, sum(card.dataset.counts.values()))
    assert found["metrics"]["top1"]["value"] == card.primary.candidate.value
    assert found["metrics"]["top1"]["low"] == card.primary.candidate.low
    assert [one["batch"] for one in found["latency"]] == [1, 32]
    assert all(0 < one["p50_ms"] < 1000 for one in found["latency"])
    assert found["self_test_difference"] < 1e-4
    assert f"{found['left_out']:,} rows are left out: the release was trained or chosen on them" in done.stdout


def test_a_folder_is_enough_and_other_rows_are_said_to_be_others(
    release: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(12):
        for name in ("Ankle boot", "Bag"):
            path = tmp_path / "photos" / name / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((28, 28, 3), 9 * number + len(name), dtype=np.uint8)).save(path)
    (tmp_path / "photos" / "Bag" / "broken.png").write_bytes(b"no picture")
    code = measure(str(release), [f"dataset={tmp_path / 'photos'}"], store="", threads=1, json_file=None)
    said = " ".join(capsys.readouterr().out.split())
    assert code == 0
    assert "24 images of" in said
    assert "unusable: 1" in said
    assert "it is not known whether the release was trained on some of them" in said
    assert "The card's top-1 lies outside of the interval measured here" in said


def test_a_network_that_computes_something_else_here_is_said(release: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = json.loads((release / "self_test.json").read_bytes())
    record["graphs"]["model"]["outputs"]["logits"][0] += 10.0
    (release / "self_test.json").write_text(json.dumps(record))
    sums = [line for line in (release / "SHA256SUMS").read_text().splitlines() if "self_test.json" not in line]
    (release / "SHA256SUMS").write_text("\n".join(sums) + "\n")
    assert measure(str(release), [], store="", threads=1, json_file=None) == 1
    assert "gives other outputs here" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        (["dataset=demo", "lable_column=x"], r"unknown parameter 'lable_column'; did you mean 'label_column'\?"),
        (["label_column=x"], r"give -p dataset=… as well"),
        (["dataset={photos}"], r"has the class 'cat', which the release does not know; it knows T-shirt/top, "),
        (["dataset=nowhere"], r"dataset not found: nowhere"),
    ],
)
def test_what_cannot_be_measured_is_refused(release: Path, tmp_path: Path, parameters: list[str], message: str) -> None:
    photos = tmp_path / "photos"
    for name in ("cat", "Bag"):
        (photos / name).mkdir(parents=True)
        Image.new("RGB", (28, 28)).save(photos / name / "1.png")
    with pytest.raises(UserError, match=message):
        measure(str(release), [text.format(photos=photos) for text in parameters], store="", threads=1, json_file=None)


def test_a_changed_or_missing_file_is_refused(release: Path) -> None:
    (release / "labels.json").write_bytes(b"[]")
    with pytest.raises(
        UserError, match=r"labels\.json differs from the file that was released; copy the release again"
    ):
        measure(str(release), [], store="", threads=1, json_file=None)
    (release / "labels.json").unlink()
    with pytest.raises(UserError, match=r"is not a complete release: labels\.json: no such file"):
        measure(str(release), [], store="", threads=1, json_file=None)
    (release / "SHA256SUMS").write_text(f"{'0' * 64}  ../secret\n")
    with pytest.raises(UserError, match="names files outside of the folder"):
        measure(str(release), [], store="", threads=1, json_file=None)
