"""Real servers of the Open Inference Protocol (V2), and a real client, in an environment of their own.

Triton is NVIDIA's `tritonserver`, which PyPI carries in `nvidia-pytriton` with its Python backend alone. So ONNX files
are run by onnxruntime in a backend of ours (`triton_backend.py`) under the name of the one it lacks: repository,
configuration, batching and protocol are Triton's own. KServe is its Python server, with a model of ours around
onnxruntime (`kserve_server.py`). The client is `tritonclient`, which speaks to both.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from own_environment import own_environment

SERVERS = ("triton", "kserve")
_HERE = Path(__file__).parent
_PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
_START_SECONDS = 60

# Triton 2.51's Python backend was built against numpy 1. The extras of tritonclient would bring CUDA.
_PACKAGES = (
    "numpy==1.26.4",
    f"onnxruntime=={version('onnxruntime')}",
    f"pillow=={version('pillow')}",
    "tritonclient==2.73.0",
    "geventhttpclient==2.6.1",
    "kserve==0.21.0",
)
_ALONE = ("nvidia-pytriton==0.7.0",)


@dataclass(frozen=True, kw_only=True)
class Server:
    """A running server: `address` is host:port, `folder` the model repository that it serves."""

    address: str
    folder: Path
    process: subprocess.Popen[bytes]

    def get(self, path: str) -> Any:
        """The JSON answer to `GET path`."""
        with urllib.request.urlopen(f"http://{self.address}{path}", timeout=10) as answer:
            return json.loads(answer.read() or b"null")

    def post(self, path: str, document: Any) -> Any:
        """The JSON answer to a document posted to `path`."""
        data = json.dumps(document).encode()
        request = urllib.request.Request(f"http://{self.address}{path}", data, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.loads(answer.read())

    @property
    def resident_bytes(self) -> int:
        """Resident memory of the server and all its children; what they share counts for each of them."""
        return sum(_resident(pid) for pid in _family(self.process.pid))

    @property
    def cpu_seconds(self) -> float:
        """CPU time that the server and its children have taken."""
        return sum(_cpu_seconds(pid) for pid in _family(self.process.pid))


class StartError(RuntimeError):
    """A server did not come up; holds the end of its log."""


def environment() -> Path:
    """The environment of servers and client; RuntimeError if it cannot be made."""
    return own_environment("inference-servers", _PACKAGES, alone=_ALONE)


@contextmanager
def serving(kind: str, repository: Path, *, threads: int = 1) -> Iterator[Server]:
    """The server with every model of the repository ready, on a free loopback port; stopped at the end.

    Args:
        kind: one of `SERVERS`.
        repository: folder that `trimtab layout` wrote.
        threads: of onnxruntime, per model instance.

    Raises:
        StartError: it ended, or was not ready in time.
    """
    home = environment()
    with tempfile.TemporaryDirectory(prefix="inference-server-") as name:
        folder = Path(name)
        port = _free_port()
        command, variables = {"triton": _triton, "kserve": _kserve}[kind](home, folder, repository, port)
        log = folder / "server.log"
        with log.open("wb") as written:
            process = subprocess.Popen(
                command, stdout=written, stderr=subprocess.STDOUT, cwd=folder,
                env={**os.environ, **variables, "ONNXRUNTIME_THREADS": str(threads), "OMP_NUM_THREADS": str(threads)},
            )  # fmt: skip
        server = Server(address=f"127.0.0.1:{port}", folder=repository, process=process)
        try:
            _wait(server, log)
            yield server
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def ask(server: Server, model: str, images: Sequence[Path], release: Path, **options: int | bool) -> dict[str, Any]:
    """What the client (`client.py`) got for encoded images: `outputs` and `seconds` per request, `wall` and `cpu`.

    Args:
        server: that is asked.
        model: its name there.
        images: files, sent in turn.
        release: folder of the release's files: its `client.py` makes inputs of images.
        options: of the client: `requests`, `concurrency`, `prepared`.
    """
    python = environment() / "bin" / "python"
    flags = [f"--{name}={int(value)}" for name, value in options.items()]
    command = [python, _HERE / "client.py", server.address, model, release, *flags, *images]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    if done.returncode:
        raise RuntimeError(f"the client failed:\n{done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _triton(home: Path, folder: Path, repository: Path, port: int) -> tuple[list[str | Path], dict[str, str]]:
    (packages,) = home.glob("lib/python*/site-packages")
    triton = packages / "pytriton" / "tritonserver"
    backends = folder / "backends"
    shutil.copytree(triton / "backends", backends)
    shutil.copy(triton / "python_backend_stubs" / _PYTHON / "triton_python_backend_stub", backends / "python")
    (backends / "onnxruntime").mkdir()
    shutil.copy(_HERE / "triton_backend.py", backends / "onnxruntime" / "model.py")
    program = triton / "bin" / "tritonserver"
    program.chmod(0o755)  # pip installs it as data
    options = [
        f"--model-repository={repository}", f"--backend-directory={backends}", "--http-address=127.0.0.1",
        f"--http-port={port}", "--allow-grpc=false", "--allow-metrics=false", "--disable-auto-complete-config",
    ]  # fmt: skip
    libraries = str(packages / "nvidia_pytriton.libs")  # the backends' own search path is relative to where they were
    return [program, *options], {"LD_LIBRARY_PATH": libraries, "ONNXRUNTIME_PACKAGES": str(packages)}


def _kserve(home: Path, folder: Path, repository: Path, port: int) -> tuple[list[str | Path], dict[str, str]]:
    return [home / "bin" / "python", _HERE / "kserve_server.py", str(repository), str(port)], {}


def _wait(server: Server, log: Path) -> None:
    end = time.monotonic() + _START_SECONDS
    while time.monotonic() < end:
        if server.process.poll() is not None:
            break
        try:
            server.get("/v2/health/ready")
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
        else:
            return
    # Not Triton's tables of its settings.
    lines = [line for line in log.read_text(errors="replace").splitlines() if line[:1] not in ("", "|", "+")]
    raise StartError("the server is not ready:\n" + "\n".join(lines)[-4000:])


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _family(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(member for child in children for member in _family(int(child)))]


def _resident(pid: int) -> int:
    lines: Mapping[str, str] = dict(
        line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":" in line
    )
    return 1024 * int(lines.get("VmRSS", "0 kB").split()[0])


def _cpu_seconds(pid: int) -> float:
    # Behind the program's name, which may hold spaces: state is the first field, user and system time 12th and 13th.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
