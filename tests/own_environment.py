"""Programs that cannot live beside trimtab's own packages: each in a virtual environment of its own."""

import fcntl
import hashlib
import os
import subprocess
import sys
import venv
from collections.abc import Sequence
from pathlib import Path


def own_environment(name: str, requirements: Sequence[str], *, alone: Sequence[str] = ()) -> Path:
    """An environment's folder, made once for these requirements and this Python, and kept from session to session.

    Args:
        name: what it is called, beside a digest of what is in it.
        requirements: pip's, exact versions.
        alone: installed without what they depend on.

    Raises:
        RuntimeError: pip could not install them; with the end of what it said.
    """
    digest = hashlib.sha256("\n".join([*requirements, "", *alone]).encode()).hexdigest()[:8]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "trimtab-ci"
    folder = cache / f"{name}-{digest}-python{sys.version_info.major}.{sys.version_info.minor}"
    complete = folder / "complete"
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another session may be at it
        if not complete.exists():
            venv.create(folder, clear=True, with_pip=True)
            for options in (list(requirements), ["--no-deps", *alone] if alone else []):
                if options:
                    _install(folder, options)
            complete.touch()
    return folder


def _install(folder: Path, options: list[str]) -> None:
    command = [folder / "bin" / "python", "-m", "pip", "install", "-q", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    if done.returncode:
        raise RuntimeError(f"{' '.join(options)} cannot be installed:\n{done.stderr[-2000:]}")
