"""An edited photo back in the file's own terms: format, mode, depth, colours, metadata.

What is not edited stays as it was stored. What is edited changes by as much as its sRGB pixels changed: so 16 bits keep
what 8 do not show, CMYK keeps its black, and a pixel that an edit left alone is the very same inside the mask, too.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms

from pipelines.images import metadata
from pipelines.images.colour import Shaper, shaper, transform
from pipelines.images.decode import open_photo, quiet, turn_of
from pipelines.images.jpeg import mended
from pipelines.images.png import png_bytes
from pipelines.images.rendering import deep_colour, has_deep_colour, is_deep, note_depth, rendered, to_bytes, white_of
from pipelines.images.tiff import tiff_bytes
from pipelines.types import U8Image

Samples = npt.NDArray[Any]
Box = tuple[slice, slice]

_SUFFIXES = {"PNG": "png", "TIFF": "tif", "JPEG": "jpg", "WEBP": "webp", "BMP": "bmp", "PPM": "ppm", "JPEG2000": "jp2"}
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
_QUALITY = 95
_TILE = 256  # px: samples are changed a tile at a time, and only where an edit is


@dataclass(frozen=True)
class Original:
    """A photo as its file holds it, upright.

    Attributes:
        format: the format that `write_like` writes: the file's own; PNG for GIF, JPEG for MPO, HEIC and AVIF.
        mode: Pillow's name of what `samples` are: L, LA, RGB, RGBA, CMYK, I;16, I, F. Palettes become RGB or RGBA.
        bits: of a sample: 8, 16 or 32.
        samples: H x W x C, uint8, uint16, int32 or float32; alpha last.
        white: the sample that shows white.
        pixels: uint8 H x W x 3, exactly what `decode` gives: edits are made in these. The very `samples` where these
            are sRGB of 8 bits.
        info: what Pillow knows beside (profile, resolution, gamma).
        metadata: EXIF, XMP and others, to be written again.
        saving: options of the format's writer: a JPEG's tables and subsampling, a TIFF's compression.
    """

    format: str
    mode: str
    bits: int
    samples: Samples
    white: float
    pixels: U8Image
    info: dict[Any, Any]
    metadata: metadata.Metadata
    saving: dict[str, Any]

    @property
    def suffix(self) -> str:
        """Of the file that `write_like` makes, without a dot."""
        return _SUFFIXES[self.format]

    @property
    def alpha(self) -> bool:
        return self.mode in ("LA", "RGBA")

    @property
    def icc(self) -> bytes | None:
        return self.info.get("icc_profile")


def read_original(data: bytes) -> Original:
    """A photo's file -> what is needed to write it again. Raises PhotoError as `decode` does."""
    with quiet():
        data, _ = mended(data)
        with open_photo(data) as picture:
            saving = _saving(picture, data)
            note_depth(picture)
            picture.load()
            turn = turn_of(picture)
            pixels = rendered(picture, data, turn)
            mode, samples = ("RGB", pixels) if _is_srgb(picture) else _samples(picture, data)
            samples = samples if samples is pixels else _turned(samples, turn)
            white = white_of(picture) if is_deep(picture) else float(np.iinfo(samples.dtype).max)
            form = picture.format if picture.format in _SUFFIXES else "PNG" if picture.format == "GIF" else "JPEG"
            return Original(
                format=str(form), mode=mode, bits=8 * samples.dtype.itemsize, samples=samples, white=white,
                pixels=pixels, info=dict(picture.info), metadata=metadata.read(picture, data), saving=saving,
            )  # fmt: skip


def as_format(original: Original, suffix: str) -> Original:
    """The photo to be written in another format, by its suffix; ``own``: as it is. What the format cannot hold goes:
    CMYK and deep samples become sRGB of 8 bits, unless it is PNG's or TIFF's grey or RGB of 8 or 16 bits."""
    form = {name: form for form, name in _SUFFIXES.items()}.get(suffix, original.format)
    if form == original.format:
        return original
    plain = original.mode in ("L", "RGB") and original.bits == 8
    exact = form in ("PNG", "TIFF") and original.mode in ("L", "LA", "RGB", "RGBA", "I;16") and original.bits <= 16
    saving: dict[str, Any] = {"lossless": True, "exact": True, "method": 4} if form == "WEBP" else {}
    saving = {"compression": "tiff_adobe_deflate"} if form == "TIFF" else saving
    if plain or exact or (form == "WEBP" and original.mode == "RGBA" and original.bits == 8):
        return replace(original, format=form, saving=saving)
    info = {name: value for name, value in original.info.items() if name == "dpi"}
    return replace(
        original, format=form, mode="RGB", bits=8, samples=original.pixels, white=255.0, info=info, saving=saving
    )


def write_like(
    original: Original, pixels: U8Image, mask: npt.NDArray[Any], keep_gps: bool = False, altered: bool = False
) -> bytes:
    """The file of an edited photo.

    Args:
        original: from `read_original`.
        pixels: uint8 H x W x 3, sRGB, upright: `original.pixels` with the edits in it.
        mask: H x W, any numbers: where it is above 0, `pixels` counts; elsewhere the samples stay as they were stored.
        keep_gps: whether the place where the photo was taken is written again.
        altered: whether a note says that a trained model altered the picture (where the format holds XMP).

    Returns:
        the bytes of a file of `original.format`. PNG, TIFF, BMP, PPM, JPEG 2000 and lossless WebP hold the samples
        outside the mask bit by bit; a JPEG is coded anew with its own tables and subsampling.

    Raises:
        ValueError: sizes that differ.
    """
    if pixels.shape != original.pixels.shape or mask.shape != pixels.shape[:2]:
        raise ValueError(f"pixels {pixels.shape} and mask {mask.shape} must fit the photo {original.pixels.shape}")
    return _written(original, _with_edits(original, pixels, mask), keep_gps, altered)


def _with_edits(original: Original, pixels: U8Image, mask: npt.NDArray[Any]) -> Samples:
    """The samples to write, changed tile by tile, and only where an edit is."""
    samples, plain = original.samples, original.samples is original.pixels
    if plain and not _strays(original.pixels, pixels, mask):
        return pixels  # all of it was edited in what is stored: a large photo is not copied for it
    samples = samples.copy()
    for box in _boxes(*mask.shape):
        if mask[box].any() and (pixels[box] != original.pixels[box]).any():
            samples[box] = _edited(original, pixels, mask, box)
    return samples


def _strays(before: U8Image, after: U8Image, mask: npt.NDArray[Any]) -> bool:
    """Whether pixels differ from the photo outside of the mask; OpenCV's pass takes a seventh of NumPy's time."""
    return cv2.norm(before, after, cv2.NORM_INF, mask=(mask == 0).view(np.uint8)) > 0


def _boxes(height: int, width: int) -> Iterator[Box]:
    for top in range(0, height, _TILE):
        for left in range(0, width, _TILE):
            yield slice(top, top + _TILE), slice(left, left + _TILE)


def _edited(original: Original, pixels: U8Image, mask: npt.NDArray[Any], box: Box) -> Samples:
    """The samples of a region, changed as its pixels are."""
    stored = original.samples[box]
    if original.samples is original.pixels:
        return np.where(mask[box][:, :, None] > 0, pixels[box], stored)
    colours = stored[:, :, : stored.shape[2] - original.alpha]
    change = (pixels[box].astype(np.float32) - original.pixels[box]) / 255
    touched = (mask[box] > 0) & (change != 0).any(2)
    if original.alpha:  # what is seen is laid over white: below half transparent pixels the change is twice as large
        share = stored[:, :, -1:].astype(np.float32) / original.white
        touched &= share[:, :, 0] > 0
        change = change / np.maximum(share, 1 / 255)
    forward, back = _ways(original)
    before = forward(colours.astype(np.float32) / np.float32(original.white))
    step = back(np.clip(before + change, 0, 1)) - back(before)
    new = colours + step * np.float64(original.white)
    if stored.dtype.kind != "f":
        new = np.rint(np.clip(new, 0, np.iinfo(stored.dtype).max if original.bits < 32 else original.white))
    result = stored.copy()
    result[:, :, : colours.shape[2]][touched] = new.astype(stored.dtype)[touched]
    return result


Way = Callable[[Samples], Samples]


def _ways(original: Original) -> tuple[Way, Way]:
    """From stored shares to sRGB's (3 channels), and from sRGB's to stored ones."""
    grey = original.mode in ("L", "LA", "I;16", "I", "F")
    if original.mode == "CMYK":
        return _managed(original, "CMYK")
    shape = shaper(original.info, b"GRAY" if grey else b"RGB ")
    if grey:
        return _grey_ways(shape)
    if shape is None and original.icc and transform(original.icc, "RGB"):
        return _managed(original, "RGB")
    return (shape.to_srgb, shape.from_srgb) if shape else (lambda values: values, lambda values: values)


def _grey_ways(shape: Shaper | None) -> tuple[Way, Way]:
    def forward(values: Samples) -> Samples:
        return np.repeat(shape.to_srgb(values) if shape else values, 3, 2)

    def back(values: Samples) -> Samples:
        grey = (values @ _LUMA)[:, :, None]
        return shape.from_srgb(grey) if shape else grey

    return forward, back


def _managed(original: Original, mode: str) -> tuple[Way, Way]:
    """By LittleCMS, or for CMYK without a profile by Pillow's formula; 8 bits."""
    there = transform(original.icc, mode) if original.icc else None
    again = transform(original.icc, mode, back=True) if there and original.icc else None

    def way(values: Samples, old: str, new: str, by: ImageCms.ImageCmsTransform | None) -> Samples:
        picture = Image.frombytes(old, (values.shape[1], values.shape[0]), to_bytes(values).tobytes())
        result = ImageCms.applyTransform(picture, by) if by else picture.convert(new)
        return np.asarray(result or picture).astype(np.float32) / 255

    return (lambda values: way(values, mode, "RGB", there)), (lambda values: way(values, "RGB", mode, again))


def _is_srgb(picture: Image.Image) -> bool:
    """Whether what is stored is what `rendered` gives."""
    profile = picture.info.get("icc_profile")
    plain = picture.mode == "RGB" and "transparency" not in picture.info and not has_deep_colour(picture)
    return plain and shaper(picture.info, b"RGB ") is None and not (profile and transform(profile, "RGB"))


def _samples(picture: Image.Image, data: bytes) -> tuple[str, Samples]:
    """Mode, and H x W x C samples in the file's depth."""
    if has_deep_colour(picture):
        deep = deep_colour(data)
        if deep is not None and deep.shape[:2] == (picture.height, picture.width):
            return (picture.mode, deep[:, :, [0, 3]]) if picture.mode == "LA" else ("RGBA"[: deep.shape[2]], deep)
    if is_deep(picture):
        mode = "I;16" if picture.mode.startswith("I;16") else picture.mode
        return mode, np.array(picture)[:, :, None].astype({"I;16": np.uint16, "I": np.int32, "F": np.float32}[mode])
    if picture.mode == "1":
        picture = picture.convert("L")
    if picture.mode in ("P", "PA", "La", "RGBa") or "transparency" in picture.info:
        clear = picture.mode != "P" or "transparency" in picture.info
        picture = picture.convert("RGBA" if clear else "RGB")
    if picture.mode not in ("L", "LA", "RGB", "RGBA", "CMYK"):
        picture = picture.convert("RGB")
    samples = np.array(picture)
    return picture.mode, samples if samples.ndim == 3 else samples[:, :, None]


def _turned(samples: Samples, turn: Image.Transpose | None) -> Samples:
    ways: dict[str, Callable[[Samples], Samples]] = {
        "FLIP_LEFT_RIGHT": lambda a: a[:, ::-1],
        "FLIP_TOP_BOTTOM": lambda a: a[::-1],
        "ROTATE_180": lambda a: a[::-1, ::-1],
        "ROTATE_90": np.rot90,
        "ROTATE_270": lambda a: np.rot90(a, -1),
        "TRANSPOSE": lambda a: a.transpose(1, 0, 2),
        "TRANSVERSE": lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    }
    return np.ascontiguousarray(samples if turn is None else ways[turn.name](samples))


def _saving(picture: Image.Image, data: bytes) -> dict[str, Any]:
    """How the file was coded, as far as its format's writer can do it again."""
    if picture.format in ("JPEG", "MPO"):
        return metadata.jpeg_coding(picture)
    if picture.format == "TIFF":
        kept = picture.info.get("compression")
        return {"compression": kept if kept in ("raw", "tiff_lzw", "packbits") else "tiff_adobe_deflate"}
    if picture.format == "WEBP":
        lossless = b"VP8L" in data[12:4096]
        return {"lossless": lossless, "exact": True, "quality": 80 if lossless else _QUALITY, "method": 4}
    return {"irreversible": False} if picture.format == "JPEG2000" else {}


def _written(original: Original, samples: Samples, keep_gps: bool, altered: bool) -> bytes:
    if altered:
        original = replace(original, metadata=metadata.altered(original.metadata))
    if original.format == "PNG" and samples.dtype in (np.uint8, np.uint16):
        return png_bytes(samples, metadata.png_chunks(original.metadata, original.info, keep_gps))
    notes = metadata.options(original.metadata, original.info, original.format, keep_gps)
    if original.format == "TIFF" and samples.dtype == np.uint16 and samples.shape[2] > 1:
        xmp = metadata.xmp_bytes(original.metadata, keep_gps)
        return tiff_bytes(samples, notes.get("icc_profile"), notes.get("dpi"), xmp)
    mode = original.mode
    picture = Image.fromarray(samples[:, :, 0] if samples.shape[2] == 1 else samples, mode if mode == "CMYK" else None)
    if original.format == "JPEG" and mode not in ("L", "RGB", "CMYK"):
        picture = picture.convert("RGB")
    saving = original.saving or ({"quality": _QUALITY, "subsampling": 0} if original.format == "JPEG" else {})
    if original.format == "TIFF" and "exif" in notes:  # libtiff, which compresses, takes no EXIF directory from Pillow
        saving = {**saving, "compression": "raw"}
    buffer = io.BytesIO()
    picture.save(buffer, original.format, **{**saving, **notes})
    return buffer.getvalue()
