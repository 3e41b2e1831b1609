"""Describe the machine that a figure was measured on; a latency without it says nothing."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

# Which integer and bfloat16 instructions onnxruntime may use; without VNNI, u8×s8 products are summed in 16 bits.
FLAGS = ("avx2", "avx512f", "avx_vnni", "avx512_vnni", "amx_int8", "amx_bf16", "asimddp", "i8mm")
PACKAGES = ("onnxruntime", "numpy", "torch")


def describe_host(cpuinfo: str | os.PathLike[str] = "/proc/cpuinfo") -> dict[str, Any]:
    """Processor, instruction flags, cores, load and versions; no host name, no user, no path."""
    model, flags = _processor(Path(cpuinfo))
    return {
        "processor": model,
        "machine": platform.machine(),
        "system": platform.system(),
        "cores": available_cores(),
        "flags": [flag for flag in FLAGS if flag in flags],
        "vnni": bool(flags & {"avx_vnni", "avx512_vnni", "asimddp"}),
        "amx": "amx_int8" in flags,
        "load_average_1m": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "versions": {"python": platform.python_version(), **_versions()},
    }


def available_cores() -> int:
    """Cores that this process may use (its affinity, not the machine's total)."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _processor(cpuinfo: Path) -> tuple[str, set[str]]:
    model, flags = platform.processor() or platform.machine(), set[str]()
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = (part.strip() for part in line.partition(":"))
            if key.lower() == "model name":
                model = value
            elif key.lower() in ("flags", "features"):
                flags = set(value.split())
    return model, flags


def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
