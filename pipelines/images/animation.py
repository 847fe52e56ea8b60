"""Pictures one after the other, forth and back: as an animated WebP, or as an MP4 where PyAV is installed."""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Sequence
from typing import Final

import numpy as np
from PIL import Image

from pipelines.errors import UsageError
from pipelines.images.films import Film
from pipelines.images.pixels import resize_u8
from pipelines.types import U8Image

SIDE: Final = 512  # px high at most: an animation is for looking at, and decoders of large ones stutter
_FRAME_MS, _END_MS = 150, 500  # the ends stand still for a moment
_RATE = 20  # pictures a second of an MP4, whose pictures all last the same: 3 and 10 of them are those times
_ROUNDS = 3  # of an MP4, which has no mark that it is to be repeated


def check_film(film: Film) -> None:
    """Raises UsageError where this format's writer is not installed."""
    if film == "mp4" and importlib.util.find_spec("av") is None:
        raise UsageError("MP4 needs a writer of films; install it: pip install 'ganinv[video]', or take webp")


def sweep(frames: Sequence[U8Image], film: Film = "webp", quality: int = 85) -> bytes:
    """Pictures forth and back.

    Args:
        frames: uint8 H x W x 3 of one size, at least one; higher ones are shrunk to `SIDE`.
        film: ``webp`` plays for ever; ``mp4`` (H.264, yuv420p, which every browser and phone plays) three times over.
        quality: of the WebP, 0 to 100.

    Returns:
        the file's bytes: of a WebP the same for the same pictures; x264 codes the same pictures a little otherwise at times
        (docs/decisions/0088).

    Raises:
        ValueError: no pictures, or sizes that differ.
    """
    if len({frame.shape for frame in frames}) != 1:
        raise ValueError("an animation takes one or more pictures of one size")
    high, wide = frames[0].shape[:2]
    size = (wide, high) if high <= SIDE else (max(1, round(wide * SIDE / high)), SIDE)
    forth = [resize_u8(frame, *size) for frame in frames]
    order = [*forth, *forth[-2:0:-1]]
    shown = [_END_MS if index in (0, len(forth) - 1) else _FRAME_MS for index in range(len(order))]
    return _mp4(order, shown) if film == "mp4" else _webp(order, shown, quality)


def _webp(order: Sequence[U8Image], shown: Sequence[int], quality: int) -> bytes:
    first, *others = map(Image.fromarray, order)
    buffer = io.BytesIO()
    first.save(
        buffer, "WEBP", save_all=True, append_images=others, duration=list(shown), loop=0, quality=quality, method=2
    )
    return buffer.getvalue()


def _mp4(order: Sequence[U8Image], shown: Sequence[int]) -> bytes:
    import av

    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as film:
        # One thread, as decoding processes are many.
        stream = film.add_stream("libx264", rate=_RATE, options={"crf": "18", "threads": "1"})
        stream.height, stream.width = (length + length % 2 for length in order[0].shape[:2])  # its colours are by twos
        stream.pix_fmt = "yuv420p"
        for picture, time in (*zip(order, shown, strict=True),) * _ROUNDS:
            even = Image.fromarray(picture).crop((0, 0, stream.width, stream.height))
            for _ in range(time * _RATE // 1000):
                film.mux(stream.encode(av.VideoFrame.from_ndarray(np.asarray(even), format="rgb24")))
        film.mux(stream.encode())
    return buffer.getvalue()
