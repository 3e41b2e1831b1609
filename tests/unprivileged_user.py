"""A user without rights on this machine, for what must be seen as one: rootless podman. Loaded by tests/conftest.py.

The user is made once and stays, with a home for podman's storage. What it runs sees the interpreter and the repository
although they may lie in a folder of root's, and is gone, with all that it started, when it ends.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NAME = "trimtab-test"
_TOOLS = ("useradd", "unshare", "setpriv", "newuidmap", "newgidmap")

_CONTAINERS_CONF = """
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
"""

# What podman would choose without fuse-overlayfs copies the whole image for each container.
_STORAGE_CONF = """
[storage]
driver = "overlay"
"""

# $1: folders that nobody but root comes to; $2: what of them is needed, both as lines; then the command.
_REVEALED = """
stage=$(mktemp -d); mount -t tmpfs tmpfs "$stage"
n=0; IFS='
'
for path in $2; do n=$((n + 1)); mkdir "$stage/$n"; mount --bind "$path" "$stage/$n"; done
for folder in $1; do mount -t tmpfs -o mode=755 tmpfs "$folder"; done
n=0; for path in $2; do n=$((n + 1)); mkdir -p "$path"; mount --bind "$stage/$n" "$path"; done
shift 2; exec "$@"
"""

AsUser = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def as_user(podman: None) -> Iterator[AsUser]:
    """Runs a command as the user, in the repository; with `stdin`, a file, as its input."""
    missing = [tool for tool in _TOOLS if shutil.which(tool) is None]
    if os.getuid() != 0 or missing:
        pytest.fail(f"no user without rights to test with: needs root, and {', '.join(missing) or 'nothing else'}")
    user = _user()
    with tempfile.TemporaryDirectory(prefix="trimtab-user-") as runtime:
        shutil.chown(runtime, user.pw_uid, user.pw_gid)
        for name, text in (("containers.conf", _CONTAINERS_CONF), ("storage.conf", _STORAGE_CONF)):
            Path(runtime, name).write_text(text)
            Path(runtime, name).chmod(0o644)
        env = {
            "HOME": user.pw_dir, "USER": NAME, "LOGNAME": NAME, "XDG_RUNTIME_DIR": runtime, "TMPDIR": runtime,
            "CONTAINERS_CONF": f"{runtime}/containers.conf", "CONTAINERS_STORAGE_CONF": f"{runtime}/storage.conf",
            "PATH": f"{Path(sys.executable).parent}:{os.defpath}:/usr/sbin",
            "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", "LANG": "C.UTF-8",
        }  # fmt: skip
        hidden, needed = _hidden((ROOT, Path(sys.prefix), Path(sys.base_prefix)))

        def run(*words: str, stdin: int = subprocess.DEVNULL) -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                [
                    "unshare", "--mount", "--propagation=private", "--pid", "--fork", "--kill-child", "--mount-proc",
                    "sh", "-euc", _REVEALED, "sh", "\n".join(hidden), "\n".join(needed),
                    "setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--init-groups", "--inh-caps=-all",
                    *words,
                ],
                stdin=stdin, capture_output=True, text=True, cwd=ROOT, env=env, check=False,
            )  # fmt: skip

        yield run


def _user() -> pwd.struct_passwd:
    try:
        return pwd.getpwnam(NAME)
    except KeyError:
        pass
    # With ranges of further ids, which rootless containers need, in /etc/subuid and /etc/subgid.
    made = subprocess.run(
        ["useradd", "--create-home", "--shell=/usr/sbin/nologin", NAME], capture_output=True, text=True, check=False
    )
    if made.returncode != 0:
        pytest.fail(f"no user without rights to test with: {made.stderr.strip()}")
    return pwd.getpwnam(NAME)


def _hidden(needed: tuple[Path, ...]) -> tuple[list[str], list[str]]:
    """The topmost folders that others may not enter, and what is needed below them."""
    above = {
        path: next((p for p in [*reversed(path.parents), path] if not p.stat().st_mode & 1), None) for path in needed
    }
    below = sorted({str(path) for path, folder in above.items() if folder})
    outer = [path for path in below if not any(path.startswith(f"{other}/") for other in below)]
    return sorted({str(folder) for folder in above.values() if folder}), outer
