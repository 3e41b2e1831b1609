"""Task logs, read from their end."""

from pathlib import Path

_TAIL_BYTES = 64 * 1024


def tail(log: Path, lines: int) -> list[str]:
    """The last lines of a log that are not empty; progress bars count as the line they show at the end."""
    try:
        with log.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - _TAIL_BYTES))
            text = file.read().decode("utf-8", errors="replace")
    except OSError:
        return []
    shown = [line.rstrip().rpartition("\r")[2] for line in text.split("\n")]
    return [line for line in shown if line.strip()][-lines:]
