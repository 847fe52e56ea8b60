"""Aligning as FFHQ's dataset script does, for comparison: everything at full resolution, four samples a result pixel.

Written from the procedure as it is published (Karras, Laine, Aila 2019, "A Style-Based Generator Architecture for GANs",
appendix A; Karras et al. 2018, appendix C), on Pillow and numpy. Two things are cheaper here than in the field's scripts:
the blur is Pillow's box approximation, and the photo is not enlarged twofold before the search.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from pipelines.images.geometry import F64Array, ffhq_quad, side
from pipelines.images.pixels import encode

SAMPLED = 4096


class FullSizeFinder:
    """dlib's detector and 68-point predictor on the photo as it is; `predictor` is the model's file."""

    def __init__(self, predictor: Path) -> None:
        import dlib

        self._detector = dlib.get_frontal_face_detector()
        self._predictor = dlib.shape_predictor(str(predictor))

    def __call__(self, photo: Image.Image) -> F64Array:
        """RGB photo -> 68 x 2 landmarks (x, y) in pixels of the largest face; ValueError where there is none."""
        pixels = np.array(photo)
        boxes = sorted(self._detector(pixels, 0), key=lambda box: -box.area())
        if not boxes:
            raise ValueError("no face was found")
        return np.array([(part.x, part.y) for part in self._predictor(pixels, boxes[0]).parts()], np.float64)


def ffhq_crop(photo: Image.Image, landmarks: F64Array, size: int = 1024, sampled: int = SAMPLED) -> Image.Image:
    """RGB photo and 68 x 2 landmarks -> the aligned size x size crop, sampled at `sampled` px and reduced."""
    quad = ffhq_quad(landmarks)
    photo, quad = _reduced(photo, quad, size)
    photo, quad = _cut(photo, quad)
    photo, quad = _extended(photo, quad)
    corners = (quad + 0.5).flatten().tolist()
    picture = photo.transform((sampled, sampled), Image.Transform.QUAD, corners, Image.Resampling.BILINEAR)
    return picture if sampled == size else picture.resize((size, size), Image.Resampling.LANCZOS)


def ffhq_align(finder: FullSizeFinder, paths: Sequence[Path], output: Path) -> list[float]:
    """Aligns photo by photo into `output`, in one thread; seconds of each. ValueError where a photo has no face."""
    output.mkdir(parents=True, exist_ok=True)
    seconds = []
    for path in paths:
        started = time.perf_counter()
        with Image.open(path) as file:
            photo = file.convert("RGB")
        crop = ffhq_crop(photo, finder(photo))
        (output / f"{path.stem}.png").write_bytes(encode(np.array(crop), "png"))
        seconds.append(time.perf_counter() - started)
    return seconds


def _reduced(photo: Image.Image, quad: F64Array, size: int) -> tuple[Image.Image, F64Array]:
    """A photo whose square spans four result sides or more is first divided by a whole number."""
    factor = int(side(quad) / size * 0.5)
    if factor <= 1:
        return photo, quad
    small = (round(photo.width / factor), round(photo.height / factor))
    return photo.resize(small, Image.Resampling.LANCZOS), quad / factor


def _border(quad: F64Array) -> int:
    return max(round(side(quad) * 0.1), 3)


def _cut(photo: Image.Image, quad: F64Array) -> tuple[Image.Image, F64Array]:
    """The part around the square, a tenth of its side more on every edge."""
    border = _border(quad)
    low = np.maximum(np.floor(quad.min(0)).astype(int) - border, 0)
    high = np.minimum(np.ceil(quad.max(0)).astype(int) + border, photo.size)
    left, top, right, bottom = map(float, (*low, *high))
    return photo.crop((left, top, right, bottom)), quad - low


def _extended(photo: Image.Image, quad: F64Array) -> tuple[Image.Image, F64Array]:
    """Where the square leaves the photo: mirrored edges that fade into blur and then into the median colour."""
    border, length = _border(quad), side(quad)
    low = np.maximum(border - np.floor(quad.min(0)), 0)
    high = np.maximum(np.ceil(quad.max(0)) + border - photo.size, 0)
    pads = np.concatenate([low, high])
    if pads.max() <= border - 4:
        return photo, quad
    left, top, right, bottom = np.maximum(pads, round(length * 0.3)).astype(int)
    pixels = np.pad(np.array(photo, np.float32), ((top, bottom), (left, right), (0, 0)), mode="reflect")
    height, width = pixels.shape[:2]
    x, y = np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)
    across = 1 - np.minimum(x / left, (width - 1 - x) / right)
    down = 1 - np.minimum(y / top, (height - 1 - y) / bottom)
    mask = np.maximum(across[None, :], down[:, None])[:, :, None]
    blur = ImageFilter.GaussianBlur(length * 0.02)
    soft = np.array(Image.fromarray(np.rint(pixels).astype(np.uint8)).filter(blur), np.float32)
    pixels += (soft - pixels) * np.clip(3 * mask + 1, 0, 1)
    pixels += (np.median(pixels, axis=(0, 1)) - pixels) * np.clip(mask, 0, 1)
    return Image.fromarray(np.clip(np.rint(pixels), 0, 255).astype(np.uint8)), quad + (left, top)
