"""The reference client beside a release: sees what training saw, with numpy, Pillow and onnxruntime alone."""

from pathlib import Path

_SHARED = Path(__file__).with_name("client.py.txt")


def client_text(own: Path) -> str:
    """The program of a task: decoding, which all tasks on images share, and the task's `own` part."""
    return _SHARED.read_text(encoding="utf-8") + own.read_text(encoding="utf-8")
