"""Lexical shortlists of Marian's students: which target pieces a source sentence makes likely.

The binary file is little endian: six u64 (magic, checksum, first, best, n, m), n offsets u64, m pieces u32. Pieces of
source piece w are those from offset w to offset w + 1. `best` was used when the list was made and is not needed again.
"""

import struct
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

_MAGIC = 0xF11A48D5013417F5
_HEADER = struct.Struct("<6Q")
_MULTIPLE = 8
"""Marian rounds the number of pieces up to this, as its integer product needs it."""


@dataclass(frozen=True, kw_only=True)
class Shortlist:
    """Attributes:
    first: the most frequent pieces, 0 … first − 1, which every sentence may use.
    offsets: int64 `(source pieces + 1,)`.
    pieces: int64 target pieces.
    shared: whether source and target have one vocabulary: then the source's pieces may be copied.
    """

    first: int
    offsets: np.ndarray
    pieces: np.ndarray
    shared: bool = True

    def allowed(self, source: Iterable[int]) -> np.ndarray:
        """The target pieces for a source sentence, sorted."""
        found = set(range(self.first))
        for piece in set(source):
            if self.shared:
                found.add(piece)
            found.update(self.pieces[self.offsets[piece] : self.offsets[piece + 1]].tolist())
        extra = self.first
        while len(found) % _MULTIPLE:
            found.add(extra)
            extra += 1
        return np.array(sorted(found), dtype=np.int64)

    def forbidden(self, source: Iterable[int], size: int) -> np.ndarray:
        """Bool `(size,)`: every piece but the allowed ones, as decoding takes it."""
        barred = np.ones(size, dtype=bool)
        allowed = self.allowed(source)
        barred[allowed[allowed < size]] = False
        return barred


def read_shortlist(data: bytes, *, source_size: int, target_size: int, shared: bool = True) -> Shortlist:
    """The shortlist of a binary file.

    Raises:
        ValueError: not such a file, cut off, or with pieces that the vocabularies do not have.
    """
    if len(data) < _HEADER.size:
        raise ValueError(f"a shortlist begins with {_HEADER.size} bytes, and the file has {len(data)}")
    magic, _, first, _, num_offsets, num_pieces = _HEADER.unpack_from(data)
    if magic != _MAGIC:
        raise ValueError("not a binary shortlist of Marian")
    needed = _HEADER.size + 8 * num_offsets + 4 * num_pieces
    if needed != len(data):
        raise ValueError(f"the shortlist states {needed} bytes, and the file has {len(data)}")
    if num_offsets != source_size + 1 or first + _MULTIPLE > target_size:
        raise ValueError(
            f"the shortlist is for {num_offsets - 1} source pieces and {first} frequent ones; the vocabularies have "
            f"{source_size} and {target_size}"
        )
    offsets = np.frombuffer(data, dtype="<u8", count=num_offsets, offset=_HEADER.size)
    pieces = np.frombuffer(data, dtype="<u4", count=num_pieces, offset=_HEADER.size + 8 * num_offsets)
    if (offsets[1:] < offsets[:-1]).any() or int(offsets[-1]) > num_pieces:
        raise ValueError("the shortlist's offsets do not ascend within its pieces")
    if num_pieces and int(pieces.max()) >= target_size:
        raise ValueError(f"the shortlist names piece {int(pieces.max())}, and the vocabulary has {target_size}")
    return Shortlist(first=first, offsets=offsets.astype(np.int64), pieces=pieces.astype(np.int64), shared=shared)
