"""Marian's binary model files: named arrays, float32 or intgemm's 8 bits, and the options they were trained with.

Little endian: u64 version 1, u64 n; n headers of four u64 (length of the name with its NUL, type, number of dimensions,
bytes of data); the names; the dimensions, i32; u64 and so many bytes of padding; the data. Nothing in a file is
trusted: every size is compared with what is left before anything is read.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

INT8, FLOAT32, INTGEMM8 = 0x0101, 0x0404, 0x4101
OPTIONS = "special:model.yml"
_MAX_ARRAYS, _MAX_NAME, _MAX_DIMENSIONS = 10_000, 300, 8
_QUANTIZED = "_QuantMultA"
_AS_STATED = "Wemb"
"""Ending of the quantized matrices that are not transposed: embeddings, of which rows are picked."""


@dataclass(frozen=True, kw_only=True)
class MarianFile:
    """Content of a file.

    Attributes:
        arrays: float32, by name, in the shape that the file states: a matrix is `[in, out]`.
        options: the YAML text of the training options.
        quantized: whether the weights came as 8 bits.
    """

    arrays: dict[str, np.ndarray]
    options: str
    quantized: bool


class _Header(NamedTuple):
    name_bytes: int
    type: int
    dimensions: int
    data_bytes: int


class _Reader:
    """Takes bytes off the front; ValueError where there are too few."""

    def __init__(self, data: bytes) -> None:
        self._data = memoryview(data)
        self.at = 0

    def take(self, count: int, what: str) -> memoryview:
        if count > len(self._data) - self.at:
            raise ValueError(f"{what} needs {count} bytes at byte {self.at}, and the file has {len(self._data)}")
        taken = self._data[self.at : self.at + count]
        self.at += count
        return taken

    def numbers(self, form: str, what: str) -> tuple[int, ...]:
        return struct.unpack(form, self.take(struct.calcsize(form), what))


def read_marian(data: bytes) -> MarianFile:
    """The arrays and options of a file.

    Raises:
        ValueError: not such a file, cut off, of another version, or with a type that is not read; says where.
    """
    reader = _Reader(data)
    version, count = reader.numbers("<2Q", "the beginning")
    if version != 1:
        raise ValueError(f"not a Marian binary file of version 1: the first number is {version}")
    if count > _MAX_ARRAYS:
        raise ValueError(f"the file states {count} arrays; at most {_MAX_ARRAYS} are read")
    arrays: dict[str, np.ndarray] = {}
    options, quantized = "", False
    for name, header, shape, content in _entries(reader, count):
        if name in arrays:
            raise ValueError(f"array {name!r} occurs twice")
        if name == OPTIONS:
            options = _text(content)
        elif header.type in (FLOAT32, INTGEMM8):
            quantized |= header.type == INTGEMM8
            if not name.endswith(_QUANTIZED):
                arrays[name] = _array(name, header.type, shape, content)
        else:
            raise ValueError(
                f"array {name!r} has type {header.type:#06x}; read are float32 and intgemm8 (not avx-packed)"
            )
    if not options:
        raise ValueError(f"the file has no {OPTIONS}: the options of the network are not known")
    return MarianFile(arrays=arrays, options=options, quantized=quantized)


def _entries(reader: _Reader, count: int) -> Iterator[tuple[str, _Header, tuple[int, ...], memoryview]]:
    headers = [_Header(*reader.numbers("<4Q", f"header {number + 1} of {count}")) for number in range(count)]
    for number, header in enumerate(headers):
        if not 1 <= header.name_bytes <= _MAX_NAME or header.dimensions > _MAX_DIMENSIONS:
            raise ValueError(
                f"header {number + 1} states a name of {header.name_bytes} bytes and {header.dimensions} dimensions"
            )
    names = []
    for number, header in enumerate(headers):
        encoded = bytes(reader.take(header.name_bytes, f"name {number + 1}")).removesuffix(b"\0")
        try:
            names.append(encoded.decode("ascii"))
        except UnicodeDecodeError:
            raise ValueError(f"name {number + 1} is not ASCII") from None
    shapes = []
    for name, header in zip(names, headers, strict=True):
        shape = reader.numbers(f"<{header.dimensions}i", f"the shape of {name!r}")
        if any(size < 1 for size in shape):
            raise ValueError(f"array {name!r} states the shape {shape}")
        shapes.append(shape)
    (padding,) = reader.numbers("<Q", "the padding")
    reader.take(padding, "the padding")
    for name, header, shape in zip(names, headers, shapes, strict=True):
        yield name, header, shape, reader.take(header.data_bytes, f"array {name!r}")


def _array(name: str, kind: int, shape: tuple[int, ...], content: memoryview) -> np.ndarray:
    # Python's integers: a product of hostile sizes must not wrap around.
    count = 1
    for size in shape:
        count *= size
    needed = count * 4 if kind == FLOAT32 else count + 4
    if needed > len(content):
        raise ValueError(f"array {name!r} of shape {shape} needs {needed} bytes and has {len(content)}")
    if kind == FLOAT32:
        values = np.frombuffer(content, dtype="<f4", count=count).reshape(shape)
    else:
        (multiplier,) = struct.unpack_from("<f", content, count)
        if not (np.isfinite(multiplier) and multiplier > 0):
            raise ValueError(f"array {name!r} states the quantization multiplier {multiplier}")
        integers = np.frombuffer(content, dtype=np.int8, count=count)
        if len(shape) == 2 and not name.endswith(_AS_STATED):
            integers = integers.reshape(shape[::-1]).T
        values = integers.reshape(shape).astype(np.float32) / np.float32(multiplier)
    if not np.isfinite(values).all():
        raise ValueError(f"array {name!r} holds values that are not finite")
    return values.astype(np.float32)


def _text(content: memoryview) -> str:
    try:
        return bytes(content).rstrip(b"\0").decode("utf-8")
    except UnicodeDecodeError:
        raise ValueError(f"{OPTIONS} is not UTF-8") from None
