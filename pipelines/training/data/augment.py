"""Make generated faces look like photos: what a camera, a web site and a careless passer-by do to a picture.

An encoder that only ever saw the generator's clean pictures fails on photos. Every function works on one batch in
place of a data set, takes its chances from the given generator, and leaves shapes and range as they are.
"""

from __future__ import annotations

import io

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from pipelines.images.pixels import to_uint8


def degrade(images: Tensor, rng: torch.Generator) -> Tensor:
    """n x 3 x S x S in [-1, 1] on any device -> the same faces, each with its own random damage, clamped to [-1, 1]."""
    return torch.stack([_degrade_one(image, rng) for image in images.clamp(-1, 1)])


def _chance(rng: torch.Generator, share: float) -> bool:
    return bool(torch.rand(1, generator=rng) < share)


def _between(rng: torch.Generator, low: float, high: float) -> float:
    return low + (high - low) * float(torch.rand(1, generator=rng))


def _degrade_one(image: Tensor, rng: torch.Generator) -> Tensor:
    if _chance(rng, 0.7):
        image = _colour(image, rng)
    if _chance(rng, 0.25):
        image = _occlude(image, rng)
    if _chance(rng, 0.5):
        image = _resample(image, rng)
    if _chance(rng, 0.5):
        noise = torch.randn(image.shape, generator=rng).to(image)
        image = image + _between(rng, 0.005, 0.06) * noise
    if _chance(rng, 0.5):
        image = _jpeg(image, int(_between(rng, 35, 96)))
    return image.clamp(-1, 1)


def _colour(image: Tensor, rng: torch.Generator) -> Tensor:
    """Small shifts of brightness, contrast and white balance: small, because codes must still hold the colours."""
    gain = 1 + 0.08 * torch.randn(3, 1, 1, generator=rng) * 0.5 + 0.06 * torch.randn(1, 1, 1, generator=rng)
    return image * gain.to(image) + 0.05 * torch.randn(1, 1, 1, generator=rng).to(image)


def _resample(image: Tensor, rng: torch.Generator) -> Tensor:
    """Blur by going through a smaller picture and back."""
    side = image.shape[-1]
    small = int(side * _between(rng, 0.3, 0.95))
    down = F.interpolate(image[None], size=(small, small), mode="bilinear", antialias=True)
    return F.interpolate(down, size=(side, side), mode="bicubic", align_corners=False)[0]


def _occlude(image: Tensor, rng: torch.Generator) -> Tensor:
    """A soft-edged blob of one colour near the border: a hand, a strand, a hat's brim."""
    side = image.shape[-1]
    axis = torch.linspace(-1, 1, side)
    angle = _between(rng, 0, 6.2832)
    radius = _between(rng, 0.7, 1.1)
    place = torch.tensor([angle]).cos().item() * radius, torch.tensor([angle]).sin().item() * radius
    wide, high = _between(rng, 0.1, 0.5), _between(rng, 0.1, 0.5)
    distance = ((axis[None, :] - place[0]) / wide) ** 2 + ((axis[:, None] - place[1]) / high) ** 2
    mask = torch.sigmoid(8 * (1 - distance)).to(image)
    colour = (2 * torch.rand(3, 1, 1, generator=rng) - 1).to(image)
    return image + mask * (colour - image)


def _jpeg(image: Tensor, quality: int) -> Tensor:
    buffer = io.BytesIO()
    Image.fromarray(to_uint8(image[None])[0]).save(buffer, "JPEG", quality=quality)
    back = torch.from_numpy(np.array(Image.open(buffer))).permute(2, 0, 1)
    return back.to(image) / 127.5 - 1
