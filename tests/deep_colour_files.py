"""Files of 16-bit colour, which Pillow reads and does not write."""

import struct
import zlib

import numpy as np

_PNG_COLOURS = {2: 4, 3: 2, 4: 6}
_SHORT, _LONG = 3, 4


def png(pixels: np.ndarray, *, transparent: tuple[int, int, int] | None = None) -> bytes:
    """PNG of `(H, W, 2 to 4)` 16-bit samples: grey with alpha, RGB or RGBA; `transparent` is a colour of the tRNS."""
    height, width, samples = pixels.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, _PNG_COLOURS[samples], 0, 0, 0))]
    if transparent is not None:
        chunks.append((b"tRNS", struct.pack(">3H", *transparent)))
    chunks += [(b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    packed = [
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def tiff(pixels: np.ndarray, *, order: str = "<", deflated: bool = False, planar: bool = False) -> bytes:
    """TIFF of `(H, W, 3 or 4)` 16-bit samples in one strip, or a strip per plane; the fourth is unassociated alpha."""
    height, width, samples = pixels.shape
    planes = np.moveaxis(pixels, 2, 0) if planar else pixels[None]
    strips = [plane.astype(f"{order}u2").tobytes() for plane in planes]
    strips = [zlib.compress(strip) if deflated else strip for strip in strips]
    tags = [
        (256, _SHORT, [width]), (257, _SHORT, [height]), (258, _SHORT, [16] * samples),
        (259, _SHORT, [8 if deflated else 1]), (262, _SHORT, [2]), (273, _LONG, [0] * len(strips)),
        (277, _SHORT, [samples]), (278, _SHORT, [height]), (279, _LONG, [len(strip) for strip in strips]),
        (284, _SHORT, [2 if planar else 1]), *([(338, _SHORT, [2])] if samples == 4 else []),
    ]  # fmt: skip
    letters = {_SHORT: "H", _LONG: "I"}
    lengths = [struct.calcsize(f"{len(values)}{letters[kind]}") for _, kind, values in tags]
    begin = 8 + 2 + 12 * len(tags) + 4
    place = begin + sum(length for length in lengths if length > 4)
    offsets = [place + sum(map(len, strips[:number])) for number in range(len(strips))]
    entries = beside = b""
    for (tag, kind, values), length in zip(tags, lengths, strict=True):
        body = struct.pack(f"{order}{len(values)}{letters[kind]}", *(offsets if tag == 273 else values))
        field = body.ljust(4, b"\0")
        if length > 4:
            field, beside = struct.pack(f"{order}I", begin + len(beside)), beside + body
        entries += struct.pack(f"{order}HHI", tag, kind, len(values)) + field
    header = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}IH", 8, len(tags))
    return header + entries + b"\0\0\0\0" + beside + b"".join(strips)
