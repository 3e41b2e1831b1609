"""podman, a base image, and one with Python and kfp, for the tests that ask for them. Loaded by tests/conftest.py.

Built once: the images stay in podman's own storage, and the base that it starts from in the cache folder.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest

CA_BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")
_PULLED_BASE = "docker.io/library/python:3.11-slim"

# For root in a container or a virtual machine, where systemd and nested networks are missing.
_CONTAINERS_CONF = """
[containers]
default_ulimits = ["nofile=16384:16384", "nproc=32768:32768"]
netns = "host"
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
"""

# The secret: a network may have certificates of its own.
_CONTAINERFILE = """
ARG BASE_IMAGE
FROM $BASE_IMAGE
RUN --mount=type=secret,id=ca,target=/run/secrets/ca.pem \\
    if [ -s /run/secrets/ca.pem ]; then export PIP_CERT=/run/secrets/ca.pem; fi; \\
    python3 -m venv /opt/venv && /opt/venv/bin/python -m pip install --no-cache-dir --no-compile -q kfp==KFP_VERSION
ENV PATH=/opt/venv/bin:/usr/local/bin:/usr/bin:/bin
"""


@pytest.fixture(scope="session")
def podman(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """podman is there, and set up to run containers."""
    if shutil.which("podman") is None:
        pytest.fail("no podman to test with: see .ci/run for the packages, or deselect with -m 'not containers'")
    folder = tmp_path_factory.mktemp("podman")
    with pytest.MonkeyPatch.context() as patch:
        if os.getuid() == 0 and "CONTAINERS_CONF" not in os.environ:
            (folder / "containers.conf").write_text(_CONTAINERS_CONF)
            patch.setenv("CONTAINERS_CONF", str(folder / "containers.conf"))
        yield


@pytest.fixture(scope="session")
def base_image(podman: None) -> str:
    """The name of an image with Python and certificates."""
    return _base()


@pytest.fixture(scope="session")
def container_image(base_image: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The name of an image with kfp; podman is set up to run it."""
    return _built(base_image, tmp_path_factory.mktemp("image"))


def _built(base: str, folder: Path) -> str:
    text = _CONTAINERFILE.replace("KFP_VERSION", version("kfp"))
    image = f"localhost/trimtab-test:{hashlib.sha256((base + text).encode()).hexdigest()[:12]}"
    if not _is_there(image):
        (folder / "Containerfile").write_text(text)
        secret = f"--secret=id=ca,src={CA_BUNDLE if CA_BUNDLE.is_file() else os.devnull}"
        _call(
            "podman", "build", "--network=host", secret, f"--build-arg=BASE_IMAGE={base}", f"--tag={image}", str(folder)
        )
    return image


def _base() -> str:
    """A base image from Debian's packages, which needs no image registry; else the usual one."""
    sources = Path("/etc/apt/sources.list.d/debian.sources")
    if shutil.which("mmdebstrap") is None or not sources.is_file():
        return _PULLED_BASE
    image = "localhost/trimtab-test-base:bookworm"
    if not _is_there(image):
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "trimtab-ci" / "bookworm.tar"
        if not cache.is_file():
            cache.parent.mkdir(parents=True, exist_ok=True)
            partial = cache.with_name(f"{os.getpid()}.partial.tar")
            _call(
                "mmdebstrap", "--variant=minbase", "--include=python3,python3-pip,python3-venv,ca-certificates",
                '--aptopt=APT::Install-Recommends "false"', "--dpkgopt=path-exclude=/usr/share/man/*",
                "--dpkgopt=path-exclude=/usr/share/doc/*", "bookworm", str(partial), str(sources),
            )  # fmt: skip
            partial.replace(cache)
        _call("podman", "import", "--change", 'CMD ["python3"]', str(cache), image)
    return image


def _is_there(image: str) -> bool:
    return subprocess.run(["podman", "image", "exists", image], check=False).returncode == 0


def _call(*words: str) -> None:
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.fail(f"the image for tests cannot be built; {words[0]} said:\n{done.stderr[-2000:]}")
