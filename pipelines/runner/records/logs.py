"""Task logs, read from their end."""

from pathlib import Path

_TAIL_BYTES = 64 * 1024


def printable(text: str) -> str:
    """The text as one line without control characters, which could rewrite a terminal or forge a line."""
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)


def tail(log: Path, lines: int) -> list[str]:
    """The last lines of a log that are not empty, `printable`; progress bars count as the line they show at the end."""
    try:
        with log.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - _TAIL_BYTES))
            text = file.read().decode("utf-8", errors="replace")
    except OSError:
        return []
    shown = [line.rstrip().rpartition("\r")[2] for line in text.split("\n")]
    return [printable(line.replace("\t", "    ")) for line in [line for line in shown if line.strip()][-lines:]]
