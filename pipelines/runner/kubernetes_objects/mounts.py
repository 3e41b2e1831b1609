"""Mounts at absolute paths without a container: a mount namespace of the task's own (Linux).

Nothing of it can be seen outside the task, and nothing is left when it ends. A path that this machine does not have
appears all the same: the folder above it is then a temporary one that holds everything the real one holds.
"""

import base64
import contextlib
import ctypes
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from pipelines.runner import beneath

_NEW_NAMESPACE, _NEW_USER = 0x00020000, 0x10000000
_READ_ONLY, _REMOUNT, _BIND, _RECURSIVE, _UNBINDABLE, _PRIVATE = 1, 32, 4096, 16384, 1 << 17, 1 << 18
_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


@dataclass(frozen=True, kw_only=True)
class Mount:
    """Something that a task sees at `path`: the folder `inside` of the folder `root`, which other tasks may write to as
    well; or, if that is None, `files` that are on no disk.
    """

    path: str
    root: Path | None = None
    inside: str = "."
    files: Mapping[str, bytes] = field(default_factory=dict, repr=False)

    @property
    def source(self) -> Path | None:
        """The folder; None for `files`."""
        return None if self.root is None else self.root / self.inside

    def make_folder(self) -> None:
        """Makes the folder if it is not there.

        Raises:
            UserError: a part of the way inside `root` is a link: another task of the volume may have left it there.
        """
        if self.root is not None:
            self.root.mkdir(parents=True, exist_ok=True)
            beneath.make_folder(self.root, self.inside)

    def as_json(self) -> dict[str, Any]:
        """Arguments of `enter`."""
        files = {name: base64.b64encode(content).decode() for name, content in self.files.items()}
        return {"path": self.path, "source": str(self.source or ""), "files": files}


def possible() -> bool:
    """Whether this kernel lets this user mount in a namespace of the task's own: a process that ends at once tries."""
    if _libc is None:
        return False
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            _unshare()
            _mount("tmpfs", "/", "tmpfs", 0)
            code = 0
        except OSError:
            code = 1
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def enter(mounts: Sequence[Mapping[str, Any]], folder: Path) -> None:
    """Moves this process, which has one thread, into a namespace where everything of `mounts` is mounted.

    Args:
        mounts: each from `Mount.as_json`.
        folder: for the root of what the task sees; an empty folder is made there.

    Raises:
        OSError: the kernel refused.
    """
    ordered = sorted(mounts, key=lambda mount: PurePosixPath(mount["path"]).parts)
    _unshare()
    places = [PurePosixPath(mount["path"]) for mount in ordered]
    if not all(Path(place).is_dir() for place in places):
        _change_root(places, folder / "root")
    for mount in ordered:
        path = mount["path"]
        os.makedirs(path, exist_ok=True)  # noqa: PTH103  (inside a volume that was mounted just now)
        if mount["source"]:
            _mount(mount["source"], path, "", _BIND | _RECURSIVE)
            continue
        _mount("tmpfs", path, "tmpfs", 0, "mode=0755")
        for name, content in mount["files"].items():
            (Path(path) / name).write_bytes(base64.b64decode(content))
        _mount("", path, "", _REMOUNT | _BIND | _READ_ONLY)


def _unshare() -> None:
    assert _libc is not None
    uid, gid = os.geteuid(), os.getegid()
    if _libc.unshare(_NEW_NAMESPACE) != 0:
        _check(_libc.unshare(_NEW_NAMESPACE | _NEW_USER))
        # The same user as outside: what the task writes belongs to whom it always would.
        for name, text in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
            Path("/proc/self", name).write_text(text)
    _mount("", "/", "", _PRIVATE | _RECURSIVE)  # nothing shall reach the outside


def _change_root(places: Sequence[PurePosixPath], root: Path) -> None:
    """A root of links, binds and temporary folders that looks like the real one, and has all the places."""
    root.mkdir(parents=True, exist_ok=True)
    _mount("tmpfs", str(root), "tmpfs", 0, "mode=0755")
    _mount("", str(root), "", _UNBINDABLE)  # the copy of the folder that it is in shall not hold it again
    _copy(PurePosixPath("/"), list(places), root)
    here = Path.cwd()
    os.chroot(root)
    os.chdir(here)


def _copy(folder: PurePosixPath, places: list[PurePosixPath], root: Path) -> None:
    """Recreates `folder` under `root`: its entries are the real ones, but for those on the way to a missing place."""
    on_the_way: dict[str, list[PurePosixPath]] = {}
    for place in places:
        name = place.relative_to(folder).parts[0]
        on_the_way.setdefault(name, []).append(place)
    for name, inside in on_the_way.items():
        target, deeper = root / str(folder / name)[1:], [place for place in inside if place != folder / name]
        if all(Path(place).is_dir() for place in inside):
            continue  # nothing is missing below, so the real one will do
        target.mkdir()
        if deeper:
            _copy(folder / name, deeper, root)
    for entry in _entries(Path(folder)):
        target = root / str(entry)[1:]
        if entry.name in on_the_way and target.exists():
            continue
        if entry.is_symlink():
            target.symlink_to(entry.readlink())
            continue
        if entry.is_dir():
            target.mkdir()
        else:
            target.touch()
        # In a folder like /tmp files come and go.
        with contextlib.suppress(FileNotFoundError):
            _mount(str(entry), str(target), "", _BIND | _RECURSIVE)


def _entries(folder: Path) -> Iterator[Path]:
    if folder.is_dir():
        yield from sorted(folder.iterdir())


def _mount(source: str, target: str, kind: str, flags: int, data: str = "") -> None:
    assert _libc is not None
    words = [text.encode() if text else None for text in (source, target, kind)]
    _check(_libc.mount(*words, ctypes.c_ulong(flags), data.encode() if data else None), target)


def _check(code: int, path: str = "") -> None:
    if code != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), path)
