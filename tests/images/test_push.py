"""A push to a real registry on this machine, and back by the digest that was written down."""

import importlib.util
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.containers

BUILD = Path(__file__).resolve().parents[2] / "images" / "build.py"

CONFIGURATION = """
version: 0.1
log: {level: error}
storage: {filesystem: {rootdirectory: FOLDER}}
http: {addr: "127.0.0.1:PORT"}
"""


@pytest.fixture
def registry(podman: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """HOST:PORT of a registry without encryption, which podman is told to accept."""
    program = shutil.which("docker-registry")
    if program is None:
        pytest.fail("no docker-registry to test with: see .ci/run for the packages")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (tmp_path / "config.yml").write_text(
        CONFIGURATION.replace("FOLDER", str(tmp_path / "kept")).replace("PORT", str(port))
    )
    (tmp_path / "registries.conf").write_text(f'[[registry]]\nlocation = "127.0.0.1:{port}"\ninsecure = true\n')
    monkeypatch.setenv("CONTAINERS_REGISTRIES_CONF", str(tmp_path / "registries.conf"))
    server = subprocess.Popen([program, "serve", str(tmp_path / "config.yml")], stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 30
        while socket.socket().connect_ex(("127.0.0.1", port)):
            assert server.poll() is None, "the registry did not start"
            assert time.monotonic() < deadline, "the registry does not answer"
            time.sleep(0.05)
        yield f"127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait()


def test_what_is_pushed_can_be_had_again_by_its_digest(registry: str, tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("images_build", BUILD)
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    (tmp_path / "Containerfile").write_text("FROM scratch\nCOPY Containerfile /\nLABEL one=1\n")
    podman("build", "--quiet", "--tag=trimtab/tiny:1", str(tmp_path))
    image = podman("image", "inspect", "--format={{.Id}}", "trimtab/tiny:1")

    reference = script.push("podman", "trimtab/tiny:1", f"{registry}/team")
    try:
        assert reference.startswith(f"{registry}/team/trimtab/tiny@sha256:")
        podman("rmi", "--force", image)
        podman("pull", "--quiet", reference)
        assert podman("image", "inspect", "--format={{.Id}} {{.Labels.one}}", reference) == f"{image} 1"
    finally:
        subprocess.run(["podman", "rmi", "--force", image], capture_output=True, check=False)


def podman(*words: str) -> str:
    done = subprocess.run(["podman", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
