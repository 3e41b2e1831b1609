"""A program in an environment of its own: its dependencies clash with ours, or are large. Kept between sessions."""

import fcntl
import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest


def own_environment(package: str, version: str, *, timeout: float = 600) -> Path:
    """The folder of an environment with `package==version`, installed once for each version and each Python.

    A test that cannot install it fails, and says by which marker (the package's name) it is left out.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "trimtab-ci"
    folder = cache / f"{package}-{version}-python{sys.version_info.major}.{sys.version_info.minor}"
    complete = folder / "complete"
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another session may be at it
        if not complete.exists():
            venv.create(folder, clear=True, with_pip=True)
            pip = [folder / "bin" / "python", "-m", "pip", "install", "-q", f"{package}=={version}"]
            done = subprocess.run(pip, capture_output=True, text=True, check=False, timeout=timeout)
            if done.returncode:
                pytest.fail(f"{package} cannot be installed; deselect with -m 'not {package}':\n{done.stderr[-2000:]}")
            complete.touch()
    return folder
