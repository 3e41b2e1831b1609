"""Reading a pipeline's YAML, which may be hostile: bounded in size, and as `core/yaml_documents.py` says."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from components.core.errors import UserError
from components.core.yaml_documents import parse_documents
from pipelines.runner.records import logs

MOST_BYTES = 16 * 2**20


def read_documents(path: Path) -> tuple[str, list[Any]]:
    """The text of a YAML file and its documents, as dicts, lists and scalars.

    Raises:
        UserError: no such file, no text, no YAML, or larger, deeper or wider (by aliases) than any pipeline is.
    """
    try:
        # Not by its size alone: a device or a pipe has none.
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise UserError(f"{path} is larger than {MOST_BYTES // 2**20} MB, too large for a pipeline")
        text = content.decode("utf-8")
    except FileNotFoundError:
        raise UserError(
            f"there is no pipeline file {path}; give a compiled KFP v2 YAML, or the name of a pipeline"
        ) from None
    except IsADirectoryError:
        raise UserError(f"{path} is a folder; a compiled pipeline is a YAML file") from None
    except UnicodeDecodeError:
        raise UserError(f"{path} is not a text file; a compiled pipeline is YAML") from None
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
    return text, parse_documents(text, str(path))


def printable(message: str) -> str:
    """A message that quotes a file, as one line without control characters, which could rewrite a terminal."""
    shown = logs.printable(message)
    # The end says what would work.
    return shown if len(shown) <= 1000 else f"{shown[:600]}...{shown[-397:]}"


@contextmanager
def quoting_a_file() -> Iterator[None]:
    """Makes the block's refusals `printable`. Also a decorator."""
    try:
        yield
    except UserError as error:
        if (message := printable(str(error))) == str(error):
            raise
        raise UserError(message) from None
