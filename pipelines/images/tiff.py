"""16-bit colour to TIFF files, which Pillow does not write. Format: TIFF 6.0 (Adobe, 1992), sections 2, 8, 18."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import numpy.typing as npt


def tiff_bytes(
    samples: npt.NDArray[np.uint16],
    icc: bytes | None = None,
    dpi: tuple[float, float] | None = None,
    xmp: bytes | None = None,
) -> bytes:
    """uint16 H x W x 2 to 4 (grey or RGB, with or without alpha) -> a little-endian TIFF, deflated, in one strip."""
    height, width, channels = samples.shape
    pixels = zlib.compress(samples.astype("<u2").tobytes(), 6)
    across, down = ((round(float(value) * 1000), 1000) for value in (dpi or (72, 72)))
    fields: list[tuple[int, int, int, bytes]] = [
        (256, 4, 1, struct.pack("<I", width)),
        (257, 4, 1, struct.pack("<I", height)),
        (258, 3, channels, struct.pack("<H", 16) * channels),
        (259, 3, 1, struct.pack("<H", 8)),
        (262, 3, 1, struct.pack("<H", 2 if channels > 2 else 1)),
        (273, 4, 1, struct.pack("<I", 8)),
        (277, 3, 1, struct.pack("<H", channels)),
        (278, 4, 1, struct.pack("<I", height)),
        (279, 4, 1, struct.pack("<I", len(pixels))),
        (282, 5, 1, struct.pack("<II", *across)),
        (283, 5, 1, struct.pack("<II", *down)),
        (284, 3, 1, struct.pack("<H", 1)),
        (296, 3, 1, struct.pack("<H", 2)),
    ]
    if channels in (2, 4):
        fields.append((338, 3, 1, struct.pack("<H", 2)))  # alpha that colours are not multiplied by
    if xmp:
        fields.append((700, 1, len(xmp), xmp))
    if icc:
        fields.append((34675, 7, len(icc), icc))
    body = pixels + bytes(len(pixels) % 2)
    start = 8 + len(body)
    place, entries, values = start + 6 + 12 * len(fields), b"", b""
    for tag, kind, count, value in fields:
        entries += struct.pack("<HHI", tag, kind, count)
        entries += value.ljust(4, b"\0") if len(value) <= 4 else struct.pack("<I", place + len(values))
        values += value + bytes(len(value) % 2) if len(value) > 4 else b""
    return b"II*\0" + struct.pack("<I", start) + body + struct.pack("<H", len(fields)) + entries + bytes(4) + values
