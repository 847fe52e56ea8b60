"""Pixels to PNG files: one filter for all rows, compressed by ISA-L, because that takes a seventh of Pillow's time. Large
pictures are compressed in bands of rows side by side; a band's end is a byte's end, so bands follow each other as they are.

The format is that of the W3C's recommendation "Portable Network Graphics (PNG) Specification (Third Edition)": chunks in
section 5, filters in 9. What is gained, and why Pillow does not do it: docs/decisions/0020.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt
from isal import isal_zlib

from pipelines.types import U8Image

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_COLOUR = {1: 0, 2: 4, 3: 2, 4: 6}  # channels -> the format's number for them
_UP = 2  # a row less the row above: photos shrink by it as by any filter that all rows share, and it is the quickest
_LEVEL = 2  # of ISA-L's 0 to 3, its own choice: 1 % smaller than 1; 3 takes a fifth longer for nothing
_BAND_BYTES = 4 << 20  # rows are filtered and compressed in bands, so that a large photo takes little memory
_THREADS = 4  # bands at a time; more gain little, and other photos are written beside
_HEADER = b"\x78\x5e"  # deflate, a window of 32 KB
_PRIME = 65521  # Adler-32's


def png_bytes(image: npt.NDArray[Any], notes: Sequence[tuple[bytes, bytes]] = ()) -> bytes:
    """uint8 or uint16 H x W x 1 to 4 (grey, grey and alpha, RGB, RGBA) -> the bytes of a PNG file of that depth.

    `notes` are further chunks, kind and body, to stand before the pixels. ValueError for another shape or an empty one.
    """
    if image.ndim != 3 or image.shape[2] not in _COLOUR or image.dtype not in (np.uint8, np.uint16) or not image.size:
        shape = " x ".join(map(str, image.shape))
        raise ValueError(f"a picture to save is uint8 or uint16 H x W x 1 to 4, not {image.dtype} {shape}")
    height, width, channels = image.shape
    depth = 8 * image.dtype.itemsize
    header = struct.pack(">IIBBBBB", width, height, depth, _COLOUR[channels], 0, 0, 0)  # not interlaced
    parts = [_SIGNATURE, _chunk(b"IHDR", header), *(_chunk(kind, body) for kind, body in notes)]
    stored = image if depth == 8 else np.ascontiguousarray(image.astype(">u2")).view(np.uint8)
    parts.extend(_chunk(b"IDAT", data) for data in _packed(stored.reshape(height, -1)))
    return b"".join([*parts, _chunk(b"IEND", b"")])


def _packed(rows: U8Image) -> Iterator[bytes]:
    """A zlib stream (RFC 1950) of filtered rows, in pieces."""
    step = max(1, _BAND_BYTES // rows.shape[1])
    starts = range(0, len(rows), step)
    yield _HEADER
    total = 1
    with ThreadPoolExecutor(min(_THREADS, len(starts))) as pool:
        for data, size, check in pool.map(lambda first: _band(rows, first, first + step), starts):
            total = _joined(total, check, size)
            yield data
    yield struct.pack(">I", total)


def _band(rows: U8Image, first: int, end: int) -> tuple[bytes, int, int]:
    """Compressed (RFC 1951), and its size and Adler-32 before that."""
    coded = _filtered(rows, first, end).reshape(-1)
    packer = isal_zlib.compressobj(_LEVEL, isal_zlib.DEFLATED, -15)
    flush = isal_zlib.Z_FINISH if end >= len(rows) else isal_zlib.Z_FULL_FLUSH
    return packer.compress(coded) + packer.flush(flush), coded.size, zlib.adler32(coded.data)


def _joined(first: int, second: int, size: int) -> int:
    """Adler-32 of two pieces from that of each; `size` is the second's. Both of its sums are known modulo 65521."""
    a, b = first & 0xFFFF, first >> 16
    c, d = second & 0xFFFF, second >> 16
    return (b + d + size * (a - 1)) % _PRIME << 16 | (a + c - 1) % _PRIME


def _filtered(rows: U8Image, first: int, end: int) -> U8Image:
    """Rows `first` to `end` with their filter's number before each; the row above the picture counts as zeros."""
    band = rows[first:end]
    coded = np.empty((len(band), 1 + band.shape[1]), np.uint8)
    coded[:, 0] = _UP
    coded[0, 1:] = band[0] - rows[first - 1] if first else band[0]
    np.subtract(band[1:], band[:-1], out=coded[1:, 1:])
    return coded


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(data, zlib.crc32(kind)))
