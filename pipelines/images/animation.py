"""Pictures one after the other as an animated WebP, forth and back."""

from __future__ import annotations

import io
from collections.abc import Sequence

from PIL import Image

from pipelines.images.pixels import resize_u8
from pipelines.types import U8Image

SIDE = 512  # px at most: an animation is for looking at, and decoders of large ones stutter
_FRAME_MS, _END_MS = 150, 500  # the ends stand still for a moment


def sweep(frames: Sequence[U8Image], quality: int = 85) -> bytes:
    """uint8 S x S x 3 pictures of one size, at least one -> the bytes of a WebP that plays them forth and back for ever.

    Raises ValueError where there are none, or sizes differ.
    """
    if len({frame.shape for frame in frames}) != 1:
        raise ValueError("an animation takes one or more pictures of one size")
    side = min(SIDE, len(frames[0]))
    forth = [Image.fromarray(resize_u8(frame, side, side)) for frame in frames]
    order = [*forth, *forth[-2:0:-1]]
    shown = [_END_MS if index in (0, len(forth) - 1) else _FRAME_MS for index in range(len(order))]
    buffer = io.BytesIO()
    order[0].save(
        buffer, "WEBP", save_all=True, append_images=order[1:], duration=shown, loop=0, quality=quality, method=2
    )
    return buffer.getvalue()
