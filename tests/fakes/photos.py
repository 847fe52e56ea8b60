"""Picture files of every kind that a folder of photos may hold, made by code: good, odd and broken."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
from PIL import Image

from pipelines.types import U8Image


def scene(width: int = 96, height: int = 64) -> U8Image:
    """Smooth colours, another one in each corner, so that every turn and mirror image differs: uint8 H x W x 3."""
    y, x = np.mgrid[0:height, 0:width] / np.array([height - 1, width - 1]).reshape(2, 1, 1)
    return np.rint(np.stack([40 + 200 * x, 220 - 180 * y, 60 + 150 * x * y], axis=2)).astype(np.uint8)


def saved(picture: Image.Image | U8Image, format: str, **options: Any) -> bytes:
    """The bytes of a file that Pillow writes."""
    buffer = io.BytesIO()
    made = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    made.save(buffer, format, **options)
    return buffer.getvalue()


def chunk(kind: bytes, body: bytes) -> bytes:
    """One PNG chunk."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_claiming(width: int, height: int) -> bytes:
    """A PNG of about 100 bytes whose header claims a size; its pixels are not there."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 64)) + chunk(b"IEND", b"")
    )


def turned(orientation: int) -> bytes:
    """A JPEG that shows `scene()` upright only when its EXIF orientation is obeyed."""
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # the stored pixels are the scene turned the other way
    picture = Image.fromarray(scene())
    if orientation in undo:
        picture = picture.transpose(Image.Transpose(undo[orientation]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    return saved(picture, "JPEG", quality=98, subsampling=0, exif=exif)
