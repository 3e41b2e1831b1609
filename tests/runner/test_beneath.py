"""Files that a container left: what is opened, and what is not."""

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from components.core.errors import UserError
from pipelines.runner.beneath import check_tree, copy_tree, inside, make_folder, read_file, remove


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "key").write_text("secret")
    folder = tmp_path / "root"
    (folder / "a" / "b").mkdir(parents=True)
    (folder / "a" / "b" / "file").write_text("mine")
    return folder


def fifo(path: Path) -> None:
    os.mkfifo(path)


def socket_at(path: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)  # a socket's path has at most 107 bytes
    try:
        socket.socket(socket.AF_UNIX).bind(path.name)
    finally:
        os.chdir(here)


def link_to_file(path: Path) -> None:
    path.symlink_to(path.parents[3] / "elsewhere" / "key")


def link_to_folder(path: Path) -> None:
    path.symlink_to(path.parents[3] / "elsewhere")


def link_to_itself(path: Path) -> None:
    path.symlink_to(path)


@pytest.mark.parametrize("leave", [fifo, socket_at, link_to_file, link_to_folder, link_to_itself])
def test_what_is_no_file_or_folder_is_refused_by_name_and_at_once(root: Path, leave: Callable[[Path], None]) -> None:
    leave(root / "a" / "b" / "x")
    for attempt in (
        lambda: read_file(root, "a/b/x", most_bytes=100),
        lambda: check_tree(root, "a"),
        lambda: check_tree(root, "a/b/x"),
        lambda: copy_tree(root, "a", root.parent / f"copy-{os.urandom(4).hex()}"),
    ):
        with pytest.raises(UserError, match="b/x"):
            attempt()


def test_a_link_on_the_way_is_not_followed(root: Path) -> None:
    (root / "way").symlink_to(root.parent / "elsewhere")
    with pytest.raises(UserError, match="behind a link"):
        read_file(root, "way/key", most_bytes=100)
    with pytest.raises(UserError, match="behind a link"):
        make_folder(root, "way/made")
    assert not (root.parent / "elsewhere" / "made").exists()
    with pytest.raises(UserError, match="leads out"):
        read_file(root, "a/../../elsewhere/key", most_bytes=100)


def test_plain_files_and_folders_pass(root: Path) -> None:
    assert read_file(root, "a/b/file", most_bytes=4) == b"mine"
    assert read_file(root, "a/nothing", most_bytes=4) is None
    check_tree(root, "a")
    check_tree(root, "nothing")
    assert copy_tree(root, "a", root.parent / "copy")
    assert (root.parent / "copy" / "b" / "file").read_text() == "mine"
    assert not copy_tree(root, "nothing", root.parent / "other")
    make_folder(root, "a/c/d")
    assert (root / "a" / "c" / "d").is_dir()


def test_too_much_and_too_deep_are_refused(root: Path) -> None:
    with pytest.raises(UserError, match="more than"):
        read_file(root, "a/b/file", most_bytes=3)
    at = os.open(root, os.O_RDONLY)
    for _ in range(150):
        os.mkdir("d", dir_fd=at)
        below = os.open("d", os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = below
    os.close(at)
    with pytest.raises(UserError, match="more than 100 deep"):
        check_tree(root)
    with pytest.raises(UserError, match="more than 100 deep"):
        copy_tree(root, "d", root.parent / "copy")


def test_a_name_of_megabytes_is_one_short_line(root: Path) -> None:
    for call in (lambda path: copy_tree(root, path, root / "copy"), lambda path: read_file(root, path, most_bytes=9)):
        with pytest.raises(UserError, match="too long for a path") as caught:
            call("x" * 5_000_000)
        assert len(str(caught.value)) < 4000


def test_removing_a_link_leaves_what_it_names(root: Path) -> None:
    (root / "way").symlink_to(root.parent / "elsewhere")
    remove(root / "way")
    remove(root / "nothing")
    assert (root.parent / "elsewhere" / "key").exists()


@pytest.mark.parametrize(
    ("path", "expected"),
    [("/r/a", "a"), ("/r", "."), ("/r/../etc", None), ("/rest/a", None), ("r/a", None), ("/r/a\0", None), ("", None)],
)
def test_a_path_is_inside_by_its_text(path: str, expected: str | None) -> None:
    assert inside(Path("/r"), path) == expected
