"""Photos to measure with, made where none are given: generated faces, and a camera-sized portrait."""

from __future__ import annotations

import io
import math
import os
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from pipelines.images.decode import decode
from pipelines.images.pixels import encode, resize_u8, to_uint8
from pipelines.types import Generator, U8Image

DISTINCT = 8  # further photos are links to these: they are read and computed all the same
_TRUNCATION = 0.7
_GRAIN = 5.0  # grey levels: without it an enlarged picture would be an unusually small file, quick to decode


def generated_faces(generator: Generator, folder: Path, count: int, seed: int = 0) -> Path:
    """`count` aligned faces as PNG files, `DISTINCT` of them different; returns `folder`."""
    random = torch.Generator().manual_seed(seed)
    folder.mkdir(parents=True, exist_ok=True)
    made: list[Path] = []
    for number in range(min(count, DISTINCT)):
        z = torch.randn(1, len(generator.w_avg), generator=random).to(generator.device)
        with torch.no_grad():
            w = generator.w_avg + _TRUNCATION * (generator.map(z) - generator.w_avg)
            image = to_uint8(generator.synthesize(w).image)[0]
        made.append(folder / f"{number:06d}.png")
        made[-1].write_bytes(encode(image, "png"))
    return repeated(made, folder, count)


def camera_photos(portrait: bytes, folder: Path, count: int, megapixels: float = 12.0) -> Path:
    """`count` times a portrait at a camera's size, with its grain, saved as phones do; returns `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    first = folder / "000000.jpg"
    first.write_bytes(camera_jpeg(decode(portrait), megapixels))
    return repeated([first], folder, count)


def camera_jpeg(picture: U8Image, megapixels: float) -> bytes:
    """uint8 H x W x 3 -> a JPEG of about so many megapixels: quality 92, halved colour, grain of 5 grey levels."""
    height, width = picture.shape[:2]
    factor = math.sqrt(megapixels * 1e6 / (height * width))
    large = resize_u8(picture, round(width * factor), round(height * factor)).astype(np.float32)
    large += _GRAIN * np.random.default_rng(0).standard_normal(large.shape[:2], np.float32)[:, :, None]
    buffer = io.BytesIO()
    pixels = np.clip(np.rint(large), 0, 255).astype(np.uint8)
    Image.fromarray(pixels).save(buffer, "JPEG", quality=92, subsampling=2)
    return buffer.getvalue()


def repeated(originals: list[Path], folder: Path, count: int) -> Path:
    """Links in `folder` to the originals in turn until there are `count` files."""
    for number in range(len(originals), count):
        original = originals[number % len(originals)]
        os.link(original, folder / f"{number:06d}{original.suffix}")
    return folder
