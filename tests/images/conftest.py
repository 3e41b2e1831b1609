"""The real images, built once a session, and a small run of the main pipeline in them and in one of them."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from container_image import CA_BUNDLE
from finished_run import REDUCED, RETRAINED, FinishedRun, call_trimtab, run_trimtab

FOLDER = Path(__file__).resolve().parents[2] / "images"
CPU_INDEX = "https://download.pytorch.org/whl/cpu"

# A seventh of the demo to train on, once: what is tested is that stages work, and alike, not how good they are.
TINY = {
    **REDUCED,
    "image_size": "32",
    "epochs": "1",
    "head_epochs": "5",
    "calibration_images": "64",
    "latency_rounds": "5",
    "test_fraction": "0.75",
    "validation_fraction": "0.1",
    "max_drop": "90",
}


@pytest.fixture(scope="session")
def images(base_image: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Role → image name. The CPU build of torch comes from where pip finds it: a local folder, or PyTorch's index."""
    wheels = tmp_path_factory.mktemp("wheels")
    (torch,) = re.findall(r"^torch==\S+", (FOLDER / "locks" / "torch-cpu.txt").read_text(), re.MULTILINE)
    pip = [sys.executable, "-m", "pip", "download", "-q", "--retries=1", f"--extra-index-url={CPU_INDEX}"]
    called([*pip, "--no-deps", f"--dest={wheels}", torch])
    certificates = ["--ca", str(CA_BUNDLE)] if CA_BUNDLE.is_file() else []
    called([
        sys.executable, str(FOLDER / "build.py"), "--engine=podman", "--base", base_image, "--wheels", str(wheels),
        *certificates,
    ])  # fmt: skip
    return {role: f"localhost/trimtab/{role}:0.1.0" for role in ("data", "train")}


def called(words: list[str]) -> str:
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.fail(f"{' '.join(words[:4])} failed:\n{done.stderr[-3000:]}")
    return done.stdout


@pytest.fixture(scope="session")
def container_run(images: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    """The pipeline with each task in a container of its image."""
    run = run_trimtab(tmp_path_factory.mktemp("containers"), "--runner", "container", parameters=TINY)
    assert run.code == 0, run.printed
    return run


@pytest.fixture(scope="session")
def retraining_run(container_run: FinishedRun) -> FinishedRun:
    """A retraining of that run's release, fine-tuned on the same data, with each task in a container of its image."""
    champion = f"model/{container_run.document['outputs']['release_version']}"
    promoted = call_trimtab(container_run.home, "promote", champion, "--why", "the first one")
    assert promoted.returncode == 0, promoted.stderr
    parameters = {**TINY, **RETRAINED, "action": "fine-tune", "max_loss": "100", "max_class_loss": "100"}
    run = run_trimtab(container_run.home, "retrain", "--runner", "container", "--allow", "store", parameters=parameters)
    assert run.code == 0, run.printed
    return run


@pytest.fixture(scope="session")
def compressing_run(container_run: FinishedRun) -> FinishedRun:
    """That run's release quantized and verified again, nothing trained, with each task in a container of its image."""
    version = container_run.document["outputs"]["release_version"]
    shared = ("test_fraction", "validation_fraction", "calibration_images", "latency_rounds", "max_drop")
    parameters = {
        **{name: TINY[name] for name in shared},
        "model": f"model/{version}", "prune_targets": "1", "distill_epochs": "0", "release_name": "compressed",
    }  # fmt: skip
    run = run_trimtab(container_run.home, "compress", "--runner", "container", parameters=parameters)
    assert run.code == 0, run.printed
    return run


@pytest.fixture(scope="session")
def process_run(images: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    """The pipeline with each task in a process, inside the training image: the same versions of all libraries."""
    home = tmp_path_factory.mktemp("processes")
    home.chmod(0o777)
    words = [
        "podman", "run", "--rm", "--network=none", "--read-only", "--cap-drop=ALL", f"--volume={home}:{home}",
        f"--workdir={home}", f"--env=TRIMTAB_HOME={home}/out", f"--env=TRIMTAB_CACHE={home}/cache", images["train"],
        "python3", "-m", "pipelines.cli", "run", "--json", f"{home}/result.json",
    ]  # fmt: skip
    for name, value in TINY.items():
        words += ["-p", f"{name}={value}"]
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return FinishedRun(
        home=home, store_uri=str(home / "out" / "store"), code=0, printed=done.stdout + done.stderr,
        document=json.loads((home / "result.json").read_text()), parameters=TINY,
    )  # fmt: skip
