"""Which files may be images, by their names and by their first bytes. Nothing is decoded here."""

import posixpath
from collections import Counter
from collections.abc import Iterable

from components.core.data.ingestion.items import Rejection

IMAGE_SUFFIXES = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff",
    ".ppm", ".pgm", ".pbm", ".pnm", ".heic", ".heif", ".avif",
)  # fmt: skip

_OTHER_SUFFIXES = {
    ".txt", ".md", ".rst", ".pdf", ".doc", ".docx", ".html", ".htm", ".xml", ".json", ".jsonl", ".csv", ".tsv", ".xls",
    ".xlsx", ".yaml", ".yml", ".toml", ".ini", ".cfg", ".log", ".py", ".pyc", ".ipynb", ".sh", ".m", ".js", ".css",
    ".zip", ".gz", ".tar", ".tgz", ".7z", ".rar", ".bz2", ".xz", ".parquet", ".arrow", ".npy", ".npz", ".pkl", ".mat",
    ".h5", ".hdf5", ".db", ".sqlite", ".pt", ".pth", ".onnx", ".safetensors", ".mp4", ".avi", ".mov", ".mp3", ".wav",
    ".lnk", ".url", ".bak", ".tmp", ".part", ".crdownload", ".license",
}  # fmt: skip

_OTHER_PICTURES = (
    ".svg", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf", ".raw", ".psd", ".jp2", ".j2k", ".jxl",
    ".tga", ".ico", ".exr", ".dcm",
)  # fmt: skip

_ARRAYS = "write the arrays of the {} as Parquet or as image files"
_REMEDIES = {
    **dict.fromkeys((".zip", ".tar", ".gz", ".tgz", ".7z", ".rar", ".bz2", ".xz"), "unpack the {}"),
    **dict.fromkeys((".npy", ".npz", ".mat", ".h5", ".hdf5", ".pkl", ".pt", ".pth"), _ARRAYS),
    **dict.fromkeys((".xls", ".xlsx", ".ods"), "save the {} as CSV"),
    ".arrow": "write the {} as Parquet (datasets: to_parquet)",
    ".tfrecord": "write the {} as Parquet or as image files",
}

SNIFFED_BYTES = 16
HEIC_STARTS = (b"ftypheic", b"ftypheix", b"ftyphevc", b"ftypmif1", b"ftypmsf1")
"""Of HEIC files, from their fifth byte on."""

_STARTS = (
    b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"BM", b"II*\0", b"MM\0*", b"P1", b"P2", b"P3", b"P4", b"P5", b"P6",
)  # fmt: skip


def may_be_image(name: str) -> bool:
    """Whether a file's name does not speak against it: an image's suffix, an unknown one, or none."""
    return posixpath.splitext(name)[1].lower() not in _OTHER_SUFFIXES


def remedy(names: Iterable[str], noun: str) -> str:
    """The first step with files of a known kind that is not read, by the kind most of them have; "" without one.

    Args:
        names: of files.
        noun: for them, behind the suffix: "file" or "files".
    """
    suffixes = Counter(posixpath.splitext(name)[1].lower() for name in names)
    suffix = next((suffix for suffix, _ in suffixes.most_common() if suffix in _REMEDIES), None)
    return "" if suffix is None else _REMEDIES[suffix].format(f"{suffix} {noun}") + ", then "


def is_image_name(name: str) -> bool:
    """Whether the suffix is an image's."""
    return name.lower().endswith(IMAGE_SUFFIXES)


def is_picture_name(name: str) -> bool:
    """Whether the suffix is that of a picture, also of a kind that is not read."""
    return name.lower().endswith((*IMAGE_SUFFIXES, *_OTHER_PICTURES))


def starts_like_image(data: bytes) -> bool:
    """Whether the first bytes (`SNIFFED_BYTES`) are those of a format that is read."""
    webp = data[:4] == b"RIFF" and data[8:12] == b"WEBP"
    return data.startswith(_STARTS) or webp or data[4:12] in (*HEIC_STARTS, b"ftypavif", b"ftypavis")


def not_read(name: str) -> Rejection | None:
    """Why a file is passed over by its name; None where it may be an image."""
    if may_be_image(name):
        return None
    return Rejection("unsupported", f"files {posixpath.splitext(name)[1].lower()} are not read")
