#!/usr/bin/env python3
"""Writes the lock files of the images anew from pyproject.toml; needs `uv` (pip install uv) and the package indexes.

    python3 images/locks/renew.py                  CPU builds of torch from PyTorch's own index
    python3 images/locks/renew.py --wheels DIR     … from a folder of wheels
    python3 images/locks/renew.py --upgrade        newer versions than the locked ones, where there are any

One resolution serves all images, so that a package has the same version wherever it is; it is then divided:

    data.txt        what needs no torch; in every image
    train.txt       what the training image has beyond it
    torch-cpu.txt   torch and torchvision for machines without a GPU
    torch-cuda.txt  the same versions, with CUDA's libraries
    tools.txt       what builds an image and does not stay in it
"""

import argparse
import hashlib
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parent.parent / "pyproject.toml"

TORCH = ("torch==2.13.0", "torchvision==0.28.0")
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
TRAIN_ONLY = ("torch", "torchvision", "timm", "torch-pruning", "onnx", "onnxscript", "onnxruntime", "highspy")
"""Dependencies of trimtab that no stage of the data image imports (tests/images proves it by running them)."""

TOOLS = ("cyclonedx-bom>=7", "hatchling>=1.25", "setuptools>=75", "wheel>=0.45")
_CUDA = re.compile(r"torch|torchvision|triton|(nvidia|cuda)-.*")
_BLOCK = re.compile(r"^(?P<name>[a-z0-9.-]+)==.*(?:\n    --hash=.*)*", re.MULTILINE)

Blocks = dict[str, str]
"""A requirement with its hashes, as text, by the package's name."""


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--wheels", type=Path, help="folder with CPU wheels of torch, in place of PyTorch's index")
    parser.add_argument("--upgrade", action="store_true", help="take newer versions than the locked ones")
    options = parser.parse_args()
    project = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["demo"]]
    common = [line for line in wanted if name_of(line) not in TRAIN_ONLY]
    preferred = [] if options.upgrade else [HERE / f"{lock}.txt" for lock in ("data", "train", "torch-cuda")]

    everything = resolve([*wanted, *TORCH], preferred)
    # Constrained to what was just found, else the smaller set might get newer versions.
    data = resolve(common, [], constraints=list(everything.values()))
    cuda = {name: block for name, block in everything.items() if _CUDA.fullmatch(name) and name not in data}
    train = {name: block for name, block in everything.items() if name not in data and name not in cuda}
    source = ["--find-links", str(options.wheels)] if options.wheels else ["--index", CPU_INDEX]
    torch = resolve(
        [f"{TORCH[0]}+cpu", TORCH[1]], [], constraints=list({**data, **train}.values()),
        words=[*source, "--index-strategy", "unsafe-best-match", "--no-deps"],
    )  # fmt: skip
    if options.wheels:
        torch = {name: hashed(name, block, options.wheels) for name, block in torch.items()}
    tools = resolve(list(TOOLS), [] if options.upgrade else [HERE / "tools.txt"])
    for lock, blocks in {"data": data, "train": train, "torch-cpu": torch, "torch-cuda": cuda, "tools": tools}.items():
        write(HERE / f"{lock}.txt", blocks)
        print(f"{lock}.txt: {len(blocks)} packages")
    return 0


def name_of(requirement: str) -> str:
    """The name in `name>=1.2`, `name[extra]==1`, and so on, as indexes spell it."""
    return re.sub(r"[-_.]+", "-", re.split(r"[^A-Za-z0-9._-]", requirement.strip(), maxsplit=1)[0]).lower()


def resolve(
    requirements: list[str],
    preferred: list[Path],
    *,
    constraints: list[str] | None = None,
    words: list[str] | None = None,
) -> Blocks:
    """The exact versions, with hashes, that satisfy the requirements on the images' Python and platform.

    Args:
        requirements: what is wanted.
        preferred: lock files whose versions are kept where they fit.
        constraints: exact requirements that hold for what is needed beside.
        words: further arguments of `uv pip compile`.
    """
    with tempfile.TemporaryDirectory() as name:
        wanted, limits, out = (Path(name, part) for part in ("wanted.in", "limits.txt", "out.txt"))
        wanted.write_text("\n".join(requirements))
        limits.write_text("\n".join(constraints or []))
        out.write_text("".join(path.read_text() for path in preferred if path.is_file()))  # uv prefers what is there
        command = [
            "uv", "pip", "compile", "--quiet", "--python-version=3.11", "--python-platform=x86_64-manylinux_2_28",
            "--generate-hashes", "--no-annotate", "--no-header", "--no-emit-index-url", "--no-emit-find-links",
            f"--constraints={limits}", f"--output-file={out}", *(words or []), str(wanted),
        ]  # fmt: skip
        done = subprocess.run(command, check=False)
        if done.returncode:
            sys.exit(done.returncode)
        return {found["name"]: found[0] for found in _BLOCK.finditer(out.read_text())}


def hashed(name: str, block: str, folder: Path) -> str:
    """The requirement with the digests of its wheels in a folder, which uv does not compute."""
    version = block.split()[0].partition("==")[2]
    if "--hash" in block:
        return block
    digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.glob(f"{name}-{version}-*.whl"))]
    return "".join([block, *(f" \\\n    --hash=sha256:{digest}" for digest in digests)])


def write(path: Path, blocks: Blocks) -> None:
    head = "# Written by images/locks/renew.py from pyproject.toml; do not edit.\n"
    path.write_text(head + "".join(f"{blocks[name]}\n" for name in sorted(blocks)), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
