#!/usr/bin/env python3
"""Builds the images with podman or docker, and pushes them. Needs Python's standard library only.

python3 images/build.py                                   both, from PyPI and PyTorch's index
python3 images/build.py --wheels DIR                      torch from a folder of wheels
python3 images/build.py --index URL --ca FILE             everything from a mirror
python3 images/build.py --push registry.example/team      … and write images/images.lock.json
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
LOCK = HERE / "images.lock.json"
ROLES = sorted(path.name.removesuffix(".Containerfile") for path in HERE.glob("*.Containerfile"))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("roles", nargs="*", metavar="ROLE", help=f"{', '.join(ROLES)}; all if none is given")
    parser.add_argument("--base", metavar="IMAGE", help="image with Python 3.11 to start from")
    parser.add_argument("--wheels", metavar="DIR", type=Path, help="folder with wheels, used before any index")
    parser.add_argument(
        "--index", metavar="URL", action="append", default=[], help="package index in place of PyPI; more: beside it"
    )
    parser.add_argument("--ca", metavar="FILE", type=Path, help="certificates that the build trusts; not in the image")
    parser.add_argument("--torch", choices=("cpu", "cuda"), default="cpu", help="which build of torch (default: cpu)")
    parser.add_argument("--push", metavar="REGISTRY", help="registry, with a path if it has one, to push to")
    parser.add_argument("--lock", action="store_true", help="write the lock without a push: digests of this machine")
    parser.add_argument("--engine", choices=("podman", "docker"), help="default: podman if it is there")
    options = parser.parse_args(arguments)

    if unknown := sorted(set(options.roles) - set(ROLES)):
        parser.error(f"no image for the role {unknown[0]!r}; there are: {', '.join(ROLES)}")
    if options.wheels and not options.wheels.is_dir():
        parser.error(f"--wheels: {options.wheels} is no folder")
    if options.ca and not options.ca.is_file():
        parser.error(f"--ca: {options.ca} is no file")
    engine = options.engine or next((name for name in ("podman", "docker") if shutil.which(name)), None)
    if engine is None or shutil.which(engine) is None:
        parser.error(f"{engine or 'neither podman nor docker'} is {'not ' if engine else ''}installed")
    if options.lock and not options.push and engine == "docker":
        parser.error("--lock without --push needs podman: docker gives digests to pushed images only")

    references = {}
    try:
        for role in options.roles or ROLES:
            image = build(engine, role, options)
            if options.push:
                references[f"trimtab/{role}"] = push(engine, image, options.push)
            elif options.lock:
                references[f"trimtab/{role}"] = local_reference(engine, image)
    except subprocess.CalledProcessError as error:
        print(f"error: {' '.join(error.cmd[:2])} failed with exit code {error.returncode}", file=sys.stderr)
        return 1
    if references:
        write_lock(references)
    return 0


def build(engine: str, role: str, options: argparse.Namespace) -> str:
    """Builds one image; returns its name."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    image = f"trimtab/{role}:{version}"
    words = ["build", "--network=host", f"--file={HERE / role}.Containerfile", f"--tag={image}"]
    values = {"VERSION": version, "REVISION": revision()}
    if options.base:
        values["BASE_IMAGE"] = options.base
    if role == "train":
        values["TORCH"] = options.torch
        if options.torch == "cuda" or options.wheels or options.index:
            values["TORCH_INDEX"] = ""  # PyPI's builds are CUDA's; the others say where theirs are
    if options.wheels:
        words.append(f"--build-context=wheels={options.wheels.resolve()}")
    if options.ca:
        words.append(f"--secret=id=ca,src={options.ca.resolve()}")
    with tempfile.TemporaryDirectory() as folder:
        if options.index:
            # A secret, and no build argument: a mirror's address may hold a password, and arguments stay in an image.
            (Path(folder) / "pip.conf").touch(mode=0o600)
            (Path(folder) / "pip.conf").write_text(pip_configuration(options.index))
            words.append(f"--secret=id=pip,src={folder}/pip.conf")
        words += [f"--build-arg={name}={value}" for name, value in values.items()]
        call(engine, *words, str(ROOT))
    return image


def pip_configuration(indexes: list[str]) -> str:
    further = "".join(f"\n    {url}" for url in indexes[1:])
    return f"[global]\nindex-url = {indexes[0]}\n" + (f"extra-index-url ={further}\n" if further else "")


def revision() -> str:
    """The commit that is built, marked if there are changes beside it; `unknown` outside of a repository."""
    git = ["git", "-C", str(ROOT)]
    head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    if head.returncode:
        return "unknown"
    changed = subprocess.run([*git, "status", "--porcelain"], capture_output=True, text=True, check=False).stdout
    return head.stdout.strip() + ("-changed" if changed else "")


def push(engine: str, image: str, registry: str) -> str:
    """Pushes an image; returns its reference by the digest that the registry knows it by."""
    target = f"{registry.rstrip('/')}/{image}"
    call(engine, "tag", image, target)
    repository = target.rpartition(":")[0]
    if engine == "podman":
        # The digest of the local copy is another one: a registry gets compressed layers.
        with tempfile.TemporaryDirectory() as folder:
            call(engine, "push", f"--digestfile={folder}/digest", target)
            return f"{repository}@{(Path(folder) / 'digest').read_text().strip()}"
    call(engine, "push", target)
    known = json.loads(call(engine, "image", "inspect", "--format={{json .RepoDigests}}", target, capture=True))
    return next(reference for reference in known if reference.startswith(f"{repository}@"))


def local_reference(engine: str, image: str) -> str:
    """The reference of an image that is on this machine only."""
    digest = call(engine, "image", "inspect", "--format={{.Digest}}", image, capture=True)
    return f"localhost/{image.rpartition(':')[0]}@{digest}"


def write_lock(references: dict[str, str]) -> None:
    """Sets these entries; other roles' stay. Atomic: the file is replaced whole."""
    before = json.loads(LOCK.read_text(encoding="utf-8")) if LOCK.is_file() else {}
    partial = LOCK.with_name(f"{LOCK.name}.{os.getpid()}")
    partial.write_text(json.dumps({**before, **references}, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    partial.replace(LOCK)
    for name, reference in references.items():
        print(f"{name}: {reference}")


def call(*words: str, capture: bool = False) -> str:
    done = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE if capture else None, check=True)
    return done.stdout.decode().strip() if capture else ""


if __name__ == "__main__":
    sys.exit(main())
