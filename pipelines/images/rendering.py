"""A loaded picture of any mode and depth -> sRGB bytes, band by band, so that only the result comes on top of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms

from pipelines.images.colour import Shaper, shaper, transform
from pipelines.types import U8Image

BAND_PIXELS = 1 << 20  # what is converted at a time
_DEEP_PIXELS = 100_000_000  # 16-bit colour in full depth takes 8 bytes a pixel more: beyond, its upper 8 bits do
_MAX_SAMPLE_VALUE = 281  # TIFF's tag
_GREY = ("L", "LA", "La", "1")

Band = Callable[[Image.Image], U8Image]


def rendered(picture: Image.Image, data: bytes, turn: Image.Transpose | None) -> U8Image:
    """A loaded picture -> uint8 H x W x 3, sRGB, alpha over white, turned; its own memory.

    `data` is the file: Pillow keeps the upper 8 bits of 16-bit colour, and a few files need the others.
    """
    deep, picture_size = _deep_colour(picture, data), picture.size
    bands = _deep_bands(*deep) if deep else _bands(picture)
    width, height = picture_size
    sideways = turn is not None and turn.name in ("ROTATE_90", "ROTATE_270", "TRANSPOSE", "TRANSVERSE")
    result = np.empty((width, height, 3) if sideways else (height, width, 3), np.uint8)
    stored = _as_stored(result, turn)
    for top, band in bands:
        stored[top : top + len(band)] = band
    return result


def white_of(picture: Image.Image) -> float:
    """What is white in a picture of deep or float grey: declared (TIFF), or the smallest usual range that holds it.

    Data of 8, 10 or 12 bits lies in 16-bit files as it is; 8-bit data that was widened has multiples of 257.
    """
    declared = getattr(picture, "tag_v2", {}).get(_MAX_SAMPLE_VALUE)
    declared = declared[0] if isinstance(declared, tuple) else declared
    peak, even = 0.0, True
    for _, values in deep_bands(picture):
        peak, even = max(peak, float(values.max())), even and not (values % 257).any()
    if isinstance(declared, int) and declared in [2**bits - 1 for bits in range(8, 17)] and peak <= declared:
        return float(declared)
    if picture.mode == "F":
        return next((white for white in (1.0, 255.0, 65535.0) if peak <= white), peak)
    return range_of(peak, even)


def range_of(peak: float, even: bool) -> float:
    """The white of whole numbers up to `peak`; `even`: all are multiples of 257, so they fill 16 bits."""
    ranges = (65535.0, 4294967295.0) if even else (255.0, 1023.0, 4095.0, 65535.0, 4294967295.0)
    return next((white for white in ranges if peak <= white), peak)


def deep_bands(picture: Image.Image) -> Iterator[tuple[int, npt.NDArray[np.float32]]]:
    """(first row, float32 rows) of a grey picture of more than 8 bits; what is no number counts as 0."""
    for top, band in _cut(picture):
        yield top, np.nan_to_num(np.asarray(band).astype(np.float32), posinf=0.0, neginf=0.0)


def is_deep(picture: Image.Image) -> bool:
    """Grey of 16 or 32 bits, or float."""
    return picture.mode.startswith("I") or picture.mode == "F"


def _cut(picture: Image.Image) -> Iterator[tuple[int, Image.Image]]:
    width, height = picture.size
    step = max(1, BAND_PIXELS // width)
    for top in range(0, height, step):
        yield top, picture.crop((0, top, width, min(top + step, height)))


def _bands(picture: Image.Image) -> Iterator[tuple[int, U8Image]]:
    if is_deep(picture):
        white, tone = white_of(picture), _tone(shaper(picture.info, b"GRAY"), 65536)
        for top, values in deep_bands(picture):
            if tone is None:
                grey = np.clip(np.rint(values * np.float32(255.0 / white)), 0, 255).astype(np.uint8)
            else:
                grey = tone[np.clip(np.rint(values * np.float32(65535.0 / white)), 0, 65535).astype(np.uint16)]
            yield top, np.repeat(grey[:, :, None], 3, 2)
        return
    convert = _converter(picture)
    for top, band in _cut(picture):
        yield top, np.asarray(_over_white(convert(band)))


def _converter(picture: Image.Image) -> Callable[[Image.Image], Image.Image]:
    """8-bit pixels as stored -> RGB or RGBA, sRGB."""
    info, mode = picture.info, _plain_mode(picture)
    if picture.mode in _GREY:
        tone = _tone(shaper(info, b"GRAY"), 256)
        table = None if tone is None else [*tone.tolist()] * 3 + list(range(256)) * (mode == "RGBA")
        wide = "RGBA" if mode == "RGBA" else "RGB"
        return lambda band: band.convert(wide) if table is None else band.convert(wide).point(table)
    if info.get("icc_profile"):
        way = transform(info["icc_profile"], mode)
        return lambda band: _applied(band if band.mode == mode else band.convert(mode), way)
    shape = shaper(info, b"RGB ") if mode != "CMYK" else None
    return lambda band: _shaped(band if band.mode == mode else band.convert(mode), shape)


def _plain_mode(picture: Image.Image) -> str:
    if picture.mode in ("PA", "LA", "La", "RGBa", "RGBA") or "transparency" in picture.info:
        return "RGBA"
    return "CMYK" if picture.mode == "CMYK" else "RGB"


def _applied(band: Image.Image, way: ImageCms.ImageCmsTransform | None) -> Image.Image:
    return band if way is None else ImageCms.applyTransform(band, way) or band


def _shaped(band: Image.Image, shape: Shaper | None) -> Image.Image:
    if shape is None:
        return band
    pixels = np.asarray(band)
    pixels = np.concatenate([to_bytes(shape.to_srgb(pixels[:, :, :3] / np.float32(255))), pixels[:, :, 3:]], 2)
    return Image.fromarray(pixels)


def _over_white(band: Image.Image) -> Image.Image:
    if band.mode == "RGBA" and band.getchannel("A").getextrema() != (255, 255):
        band = Image.alpha_composite(Image.new("RGBA", band.size, "white"), band)
    return band if band.mode == "RGB" else band.convert("RGB")


def to_bytes(values: npt.NDArray[Any]) -> U8Image:
    """Shares of white -> levels."""
    return np.clip(np.rint(values * np.float32(255)), 0, 255).astype(np.uint8)


def _tone(shape: Shaper | None, codes: int) -> U8Image | None:
    """sRGB level of every grey code, or None where codes are sRGB's."""
    return None if shape is None else to_bytes(shape.to_srgb(np.linspace(0, 1, codes)[:, None])[:, 0])


def _deep_colour(picture: Image.Image, data: bytes) -> tuple[npt.NDArray[np.uint16], float, Shaper | None] | None:
    """16-bit samples (H x W x 3 or 4, RGB), white and curves of colour that 8 bits do not hold, else None."""
    if not has_deep_colour(picture) or picture.width * picture.height > _DEEP_PIXELS:
        return None
    shape = shaper(picture.info, b"RGB ") or (shaper(picture.info, b"GRAY") if picture.mode == "LA" else None)
    extrema = picture.getextrema()
    dark = max(high for _, high in extrema[:3]) <= 15  # type: ignore[misc]
    samples = deep_colour(data) if shape or dark else None
    if samples is None or samples.shape[:2] != (picture.height, picture.width):
        return None
    colours = samples[:, :, :3]
    white = range_of(float(colours.max()), bool(not (colours % 257).any())) if dark else 65535.0
    return samples, white, shape


def has_deep_colour(picture: Image.Image) -> bool:
    """Whether an open picture was stored as 16-bit colour (or grey with alpha), of which Pillow keeps 8 bits."""
    return bool(picture.info.get("ganinv_deep"))


def note_depth(picture: Image.Image) -> None:
    """Remembers, before `load` forgets it, whether the file has 16-bit colour."""
    arguments = [part for tile in getattr(picture, "tile", []) for part in np.atleast_1d(np.array(tile[3], object))]
    names = [part for part in arguments if isinstance(part, str)]
    picture.info["ganinv_deep"] = picture.mode in ("RGB", "RGBA", "RGBX", "LA") and any(";16" in name for name in names)


def deep_colour(data: bytes) -> npt.NDArray[np.uint16] | None:
    """H x W x 3 or 4 samples of 16 bits, RGB(A); None where OpenCV cannot be had, or reads something else."""
    try:
        import cv2
    except ImportError:
        return None
    samples = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if samples is None or samples.dtype != np.uint16 or samples.ndim != 3:
        return None
    return np.asarray(samples[:, :, [2, 1, 0, 3][: samples.shape[2]]])


def _deep_bands(samples: npt.NDArray[np.uint16], white: float, shape: Shaper | None) -> Iterator[tuple[int, U8Image]]:
    step = max(1, BAND_PIXELS // 4 // samples.shape[1])
    for top in range(0, len(samples), step):
        band = samples[top : top + step].astype(np.float32)
        colours = np.minimum(band[:, :, :3] / np.float32(white), 1)
        values = shape.to_srgb(colours) if shape else colours
        if band.shape[2] == 4:
            values = values * (share := band[:, :, 3:] / np.float32(65535)) + (1 - share)
        yield top, to_bytes(values)


def _as_stored(result: U8Image, turn: Image.Transpose | None) -> U8Image:
    """A view of the upright picture with the file's rows and columns."""
    views: dict[str, Callable[[U8Image], U8Image]] = {
        "FLIP_LEFT_RIGHT": lambda a: a[:, ::-1],
        "FLIP_TOP_BOTTOM": lambda a: a[::-1],
        "ROTATE_180": lambda a: a[::-1, ::-1],
        "ROTATE_90": lambda a: np.rot90(a, -1),
        "ROTATE_270": np.rot90,
        "TRANSPOSE": lambda a: a.transpose(1, 0, 2),
        "TRANSVERSE": lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    }
    return result if turn is None else views[turn.name](result)
