"""What the runs on this machine still need of a store."""

import os
from collections.abc import Iterator
from pathlib import Path

from components.core.errors import UserError
from components.core.json_documents import parse_json
from components.core.store.care.reachability import MANIFEST, digests_in


def digests_of_runs(home: Path) -> set[str]:
    """The digests of the blobs that the artifacts of all runs under a home folder name, in whichever store they are.

    Raises:
        UserError: a run's folder cannot be read, so nobody knows what it needs.
    """
    found: set[str] = set()
    for path in _manifests(home / "runs"):
        try:
            document = parse_json(path.read_bytes())
        except FileNotFoundError:
            continue  # a run clears a task's outputs before it tries it again
        except OSError as error:
            raise _unreadable(error) from None
        except ValueError:
            continue  # a file of a component's own that happens to have this name
        found.update(digests_in(document))
    return found


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
