"""Blobs that the runs on this machine still need."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from components.core.errors import UserError
from components.core.json_documents import parse_json
from components.core.store.care.reachability import MANIFEST


def manifests_of_runs(home: Path) -> Iterator[Any]:
    """The manifests of the artifacts of all runs under a home folder, in whichever store their blobs are.

    Raises:
        UserError: a run's folder cannot be read, so nobody knows what it needs.
    """
    for path in _manifests(home / "runs"):
        try:
            yield parse_json(path.read_bytes())
        except FileNotFoundError:
            continue  # a run clears a task's outputs before it tries it again
        except OSError as error:
            raise _unreadable(error) from None
        except ValueError:
            continue  # a file of a component's own that happens to have this name


def _manifests(runs: Path) -> Iterator[Path]:
    for folder, folders, files in os.walk(runs, onerror=_refuse, followlinks=False):
        if Path(folder).parent == runs:
            # The work folders are of tasks that have not ended: what they put into the store is young.
            folders[:] = [name for name in folders if name in ("artifacts", "inputs")]
        if MANIFEST in files:
            yield Path(folder, MANIFEST)


def _refuse(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise _unreadable(error) from None


def _unreadable(error: OSError) -> UserError:
    return UserError(f"cannot read {error.filename}, so it is not known what that run needs: {error.strerror}")
