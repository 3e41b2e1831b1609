"""The script for machines with a GPU works as far as a CPU can show it, and leaves nothing out in silence."""

import subprocess
from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).with_name("check.sh")


def test_without_a_gpu_it_fails_and_says_so() -> None:
    assert not torch.cuda.is_available(), "there is a GPU: run tests/cuda/check.sh"
    done = subprocess.run([SCRIPT], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (
        1, "no CUDA device: nothing was checked; --device cpu tests this script"
    )  # fmt: skip


@pytest.mark.e2e
def test_on_a_cpu_every_check_holds() -> None:
    done = subprocess.run([SCRIPT, "--device", "cpu"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    said = [line.split(":")[0] for line in done.stdout.splitlines() if line.startswith("ok ")]
    assert said == [
        "ok     fine-tune, float32", "ok     fine-tune, bfloat16", "ok     fine-tune, float16", "ok     distil, auto",
        "ok     resume after SIGTERM",
    ]  # fmt: skip
