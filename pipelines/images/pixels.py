"""Pictures: bytes to pixels (`pipelines.images.decode`, named here too), pixels to tensors, tensors to files.

Host pictures are uint8 H x W x 3, RGB, sRGB, upright; device pictures are float32 n x 3 x H x W in [-1, 1], RGB.
"""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from pipelines.errors import UsageError
from pipelines.images.decode import (
    HEIF_SUFFIXES,
    IMAGE_SUFFIXES,
    MAX_BYTES,
    MAX_PIXELS,
    MIN_SIDE,
    decode,
    jpeg_size,
    read_photo,
)
from pipelines.images.png import png_bytes
from pipelines.types import U8Image

__all__ = [
    "HEIF_SUFFIXES",
    "IMAGE_SUFFIXES",
    "MAX_BYTES",
    "MAX_PIXELS",
    "MIN_SIDE",
    "decode",
    "encode",
    "jpeg_size",
    "read_photo",
    "resize_area",
    "resize_u8",
    "to_tensor",
    "to_uint8",
]


def to_tensor(images: Sequence[U8Image]) -> Tensor:
    """n pictures uint8 H x W x 3 of one size -> n x 3 x H x W float32 in [-1, 1], contiguous, on the CPU.

    Raises ValueError where the list is empty or sizes differ.
    """
    planes = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous()  # as bytes: a fifteenth of the time
    return planes.to(torch.float32).div_(127.5).sub_(1.0)


def to_uint8(tensor: Tensor) -> list[U8Image]:
    """n x 3 x H x W in [-1, 1] (clamped, rounded to the nearest level) -> n pictures uint8 H x W x 3.

    The exact inverse of `to_tensor`; computed on the tensor's device: only bytes travel. Raises ValueError on NaN.
    """
    levels = tensor.detach().to(torch.float32).add(1.0).mul_(127.5)
    # The sum alone is quick, and finite nearly always.
    if not bool(levels.sum().isfinite()) and bool(levels.isnan().any()):
        raise ValueError("the picture holds NaN; the model that made it diverged")
    pixels = levels.round_().clamp_(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()
    return list(pixels.cpu().numpy())


def resize_area(tensor: Tensor, size: int) -> Tensor:
    """n x C x H x W -> n x C x size x size, antialiased; the one way to shrink pictures on a device.

    A whole-number reduction is the mean over each cell (what every encoder of this field was trained with: the
    1024 -> 256 pooling of Richardson et al. 2021, "Encoding in Style"); any other factor is a triangle filter as wide
    as the reduction (`antialias=True`); enlarging is plain bilinear. Differentiable.
    """
    height, width = tensor.shape[-2:]
    if height == size and width == size:
        return tensor
    if height % size == 0 and width % size == 0:
        return F.avg_pool2d(tensor, (height // size, width // size))
    return F.interpolate(tensor, (size, size), mode="bilinear", antialias=True, align_corners=False)


def resize_u8(image: U8Image, width: int, height: int) -> U8Image:
    """uint8 H x W x 3 -> height x width x 3, antialiased: the cells' mean (whole-number reductions), else Lanczos.

    In torch, whose uint8 kernels take an eighth of Pillow's time and give the same levels within two.
    """
    rows, columns = image.shape[:2]
    if (rows, columns) == (height, width):
        return np.array(image)
    if columns % width == 0 and rows % height == 0:
        return np.array(Image.fromarray(image).reduce((columns // width, rows // height)))
    pixels = torch.from_numpy(np.require(image, requirements=["C", "W"])).permute(2, 0, 1)[None]
    sized = F.interpolate(pixels, (height, width), mode="lanczos", antialias=True)
    return sized[0].permute(1, 2, 0).contiguous().numpy()


def encode(image: U8Image, format: str, quality: int = 95) -> bytes:
    """uint8 H x W x 3, RGB -> the bytes of a ``png``, ``jpg`` or ``webp`` file; the same bytes every time.

    Settings as `benchmarks/codec.py` found them on five 1024 px portraits, one core. PNG (ignores `quality`): 6 ms and 0.89 MB
    (Pillow at level 1, runs only: 43 ms, 0.90 MB). WebP: method 0, 27 ms and 140 kB; method 1 takes 32 ms for 3 % less. JPEG:
    4 ms and 219 kB; optimised tables would double the time for 11 %. Full colour resolution from quality 90 on.
    Raises UsageError for another format.
    """
    if format == "png":
        return png_bytes(image)
    options: dict[str, dict[str, object]] = {
        "jpg": {"format": "JPEG", "quality": quality, "subsampling": 0 if quality >= 90 else 2},
        "webp": {"format": "WEBP", "quality": quality, "method": 0},
    }
    if format not in options:
        raise UsageError(f"unknown picture format '{format}'; known: png, {', '.join(options)}")
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, **options[format])  # type: ignore[arg-type]
    return buffer.getvalue()
