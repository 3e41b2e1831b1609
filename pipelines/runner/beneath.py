"""Files below a folder that somebody else could write to.

Every part of a path is opened in the folder before it and never through a link, so that what a container left cannot
lead the runner, which has more rights, to another place of this machine. The folder itself (`root`) is the runner's.
"""

import errno
import os
import shutil
import stat
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath

from components.core.errors import UserError
from components.core.results.payload import Abandoned, always

MOST_DEPTH = 100
"""Folders inside each other: each costs an open file, and a level of Python's stack."""

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Without waiting: a pipe that nobody writes to would hold up the runner for ever.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def inside(root: Path, path: str) -> str | None:
    """The path relative to `root`, by its text alone; None if it is not a path below `root`, or holds `..`."""
    pure = PurePosixPath(path)
    if "\0" in path or ".." in pure.parts or not pure.is_relative_to(root):
        return None
    return str(pure.relative_to(root))


def read_file(root: Path, path: str, *, most_bytes: int) -> bytes | None:
    """The content of a regular file; None if nothing is there.

    Raises:
        UserError: a link on the way, something that is no file, or more than `most_bytes`.
        OSError: it cannot be read.
    """
    try:
        with _opened(root, path) as file:
            if not stat.S_ISREG(os.fstat(file).st_mode):
                raise UserError(f"it left {path!r}, which is not a plain file")
            found = _read(file, most_bytes + 1)
    except FileNotFoundError:
        return None
    if len(found) > most_bytes:
        raise UserError(f"it left more than {most_bytes // 2**20} MB in {path!r}")
    return found


def check_tree(root: Path, path: str = ".") -> None:
    """Passes a file, or a folder that holds files and folders only, or nothing at all.

    Raises:
        UserError: a link, a device, a socket or a pipe, named.
        OSError: a folder that cannot be read.
    """
    try:
        with _opened(root, path) as found:
            _check(found, path)
    except FileNotFoundError:
        return


def copy_tree(root: Path, path: str, target: Path, is_wanted: Callable[[], bool] = always) -> bool:
    """Copies a file or folder to `target`, where nothing may be; False if there is nothing to copy.

    `is_wanted` is asked at each file and folder.

    Raises: as `check_tree`; Abandoned: it is not wanted any longer.
    """
    try:
        with _opened(root, path) as found:
            _copy(found, path, target, is_wanted)
    except FileNotFoundError:
        return False
    return True


def make_folder(root: Path, path: str) -> None:
    """Makes a folder and those above it.

    Raises:
        UserError: a part of the path is a link or a file.
    """
    at = os.open(root, _FOLDER & ~os.O_NOFOLLOW)
    try:
        for part in PurePosixPath(path).parts:
            with suppress(FileExistsError):  # whatever it is, the next line looks
                os.mkdir(part, dir_fd=at)
            with _naming(path):
                below = os.open(part, _FOLDER, dir_fd=at)
            os.close(at)
            at = below
    finally:
        os.close(at)


def remove(path: Path) -> None:
    """Removes a file, a link or a folder, if there is one; what a link names stays."""
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
    else:
        remove_folder(path, ignore_errors=False)


def remove_folder(folder: Path, *, ignore_errors: bool = True) -> None:
    """As `shutil.rmtree`, however deep the folder is."""
    try:
        shutil.rmtree(folder, ignore_errors=ignore_errors)
    except RecursionError:
        # Python goes a level deeper for each folder inside another (before 3.13); coreutils' rm does not.
        subprocess.run(
            ["rm", "-rf", "--", str(folder)], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False
        )


@contextmanager
def _opened(root: Path, path: str) -> Iterator[int]:
    at = os.open(root, _FOLDER & ~os.O_NOFOLLOW)
    try:
        parts = PurePosixPath(path).parts
        if ".." in parts:
            raise UserError(f"the path {path!r} leads out of its folder")
        for index, part in enumerate(parts):
            with _naming(path):
                below = os.open(part, _FILE if index == len(parts) - 1 else _FOLDER, dir_fd=at)
            os.close(at)
            at = below
        yield at
    finally:
        os.close(at)


@contextmanager
def _naming(path: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        # ENXIO: a socket, or a pipe without a reader; ENOTDIR: a link, or a file, where a folder should be.
        if error.errno in (errno.ELOOP, errno.ENOTDIR, errno.ENXIO):
            raise _refused(path) from None
        if error.errno == errno.ENAMETOOLONG:
            raise UserError(f"it left {path!r}, which is too long for a path") from None
        raise


def _refused(path: str) -> UserError:
    return UserError(f"it left {path!r}, which is or lies behind a link or a special file; leave a copy of the file")


def _check(found: int, path: str, depth: int = 0) -> None:
    mode = os.fstat(found).st_mode
    if stat.S_ISREG(mode):
        return
    for name in _names(found, mode, path, depth):
        kind = os.stat(name, dir_fd=found, follow_symlinks=False).st_mode
        if stat.S_ISDIR(kind):
            below = os.open(name, _FOLDER, dir_fd=found)
            try:
                _check(below, f"{path}/{name}", depth + 1)
            finally:
                os.close(below)
        elif not stat.S_ISREG(kind):
            raise _refused(f"{path}/{name}")


def _copy(found: int, path: str, target: Path, is_wanted: Callable[[], bool], depth: int = 0) -> None:
    if not is_wanted():
        raise Abandoned
    mode = os.fstat(found).st_mode
    if stat.S_ISREG(mode):
        with target.open("xb") as out, os.fdopen(os.dup(found), "rb") as source:
            shutil.copyfileobj(source, out, 2**20)
        return
    names = _names(found, mode, path, depth)
    target.mkdir()
    for name in names:
        with _naming(f"{path}/{name}"):
            below = os.open(name, _FILE, dir_fd=found)
        try:
            _copy(below, f"{path}/{name}", target / name, is_wanted, depth + 1)
        finally:
            os.close(below)


def _names(found: int, mode: int, path: str, depth: int) -> list[str]:
    """The names in a folder."""
    if not stat.S_ISDIR(mode):
        raise _refused(path)
    if depth >= MOST_DEPTH:
        raise UserError(f"it left folders nested more than {MOST_DEPTH} deep")
    return sorted(os.listdir(found))


def _read(file: int, size: int) -> bytes:
    with os.fdopen(os.dup(file), "rb") as source:
        return source.read(size)
