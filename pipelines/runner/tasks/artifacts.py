"""The runner's handling of artifacts besides keeping them: showing them to a component, and finding them again."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from components.core.errors import UserError
from components.core.results.payload import Abandoned, always, content_digest, is_remote, local_path, payload_at
from pipelines.runner.beneath import check_tree, copy_tree, inside, remove


def public(artifact: Mapping[str, Any]) -> dict[str, Any]:
    """The artifact as a component sees it."""
    return {key: artifact[key] for key in ("name", "type", "uri", "metadata") if key in artifact}


def is_in_place(artifact: Mapping[str, Any]) -> bool:
    """Whether an artifact's bytes are still where they were written, unchanged; remote ones are taken to be."""
    if is_remote(artifact):
        return True
    try:
        payload = payload_at(Path(local_path(artifact["uri"])))
        return bool(content_digest(artifact, payload) == artifact.get("content"))
    except OSError:
        return False


def take_custom_path(
    artifact: dict[str, Any], custom_path: str, place: Path, is_wanted: Callable[[], bool] = always
) -> None:
    """A component may write to a path of its own choice (`artifact.custom_path`); its bytes come to their place.

    `is_wanted` is asked at each file and folder.

    Raises:
        OSError: it cannot be copied, as links that lead around in circles.
        Abandoned: it is not wanted any longer.
    """

    def ask(folder: str, names: list[str]) -> list[str]:
        if not is_wanted():
            raise Abandoned
        return []

    def copy(source: str, target: str) -> str:
        ask(source, [])
        return shutil.copy2(source, target)

    source = Path(custom_path)
    if not source.exists() or source == place:
        return
    payload_at(source, is_wanted)  # a copy would follow links around in circles, and folders without end
    place.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, place, ignore=ask, copy_function=copy, dirs_exist_ok=True)
    else:
        shutil.copyfile(source, place)
    artifact["uri"] = str(place)


def take_contained(
    artifact: dict[str, Any],
    path: str,
    place: Path,
    roots: Sequence[Path],
    is_wanted: Callable[[], bool] = always,
) -> None:
    """As `take_custom_path`, of a task in a container, which may have put links anywhere below its folders.

    Args:
        artifact: its `uri` is set.
        path: where the task says that its bytes are.
        place: where they belong, directly below the first of the roots.
        roots: the folders that the task could write to.
        is_wanted: asked at each file and folder that is copied.

    Raises:
        UserError: the path is in none of them, or there are links and no files.
        OSError: something cannot be read.
        Abandoned: it is not wanted any longer.
    """
    for root in roots:
        below = inside(root, path)
        if below is None:
            continue
        if root == roots[0]:
            check_tree(root, below)  # it lies where the next task looks for it, and nobody can change it any more
            artifact["uri"] = path
            return
        taken = place.with_name(f".{place.name}.taken")
        remove(taken)
        if copy_tree(root, below, taken, is_wanted):
            remove(place)
            taken.replace(place)
        artifact["uri"] = str(place)
        return
    raise UserError(
        f"it reports the output {artifact['name']!r} at {path[:200]!r}, which is outside of its own folders"
    )
