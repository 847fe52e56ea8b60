"""Square parts of a picture, made without the rest of it.

Convolutions see a few pixels far: a square of the picture hangs on a slightly larger square of the 64 px feature. A loss that
looks at squares in turn therefore costs a fraction of one that looks at whole pictures, and may look at full size.
"""

from __future__ import annotations

from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor

from pipelines.images.pixels import resize_area
from pipelines.types import Generator, PartGenerator, Point

POINT: Point = 64
SIDE = 256
MARGIN = 4  # pixels of the 64 px feature: nine convolutions of 3 x 3 on the way up see 3.4 of them at the most
HALF_SIZE, FULL_SIZE = 512, 1024


class Tile(NamedTuple):
    """256 px of the picture shrunk to `size`, from (y, x); multiples of `size` / 64."""

    size: int
    y: int
    x: int


HALVES = tuple(Tile(HALF_SIZE, y, x) for y, x in ((0, 0), (0, 256), (256, 0), (256, 256), (128, 128)))
# The face first: eyes, nose and mouth, forehead; then what lies around it.
FULLS = tuple(
    Tile(FULL_SIZE, y, x)
    for y, x in (
        (384, 256), (384, 512), (256, 384), (640, 384), (128, 256), (128, 512), (512, 128), (512, 640), (640, 640), (640, 128)
    )
)  # fmt: skip


def cut(images: Tensor, tile: Tile) -> Tensor:
    """n x 3 x R x R, a whole picture of any size -> n x 3 x 256 x 256."""
    return _cut(resize_area(images, tile.size), tile.y, tile.x)


def render_tile(generator: Generator, latents: Tensor, feature: Tensor, tile: Tile) -> Tensor:
    """The square of the picture that these make; where the generator can, nothing far from it is computed.

    Args:
        latents: n x L x 512.
        feature: n x C x 64 x 64, residual included.

    Returns:
        n x 3 x 256 x 256, as if cut out of the whole picture.
    """
    if not isinstance(generator, PartGenerator) or generator.resolution < tile.size:
        return cut(generator.synthesize(latents, inject={POINT: feature}).image, tile)
    size = feature.shape[-1]
    scale = tile.size // size
    low = [max(at // scale - MARGIN, 0) for at in (tile.y, tile.x)]
    high = [min((at + SIDE) // scale + MARGIN, size) for at in (tile.y, tile.x)]
    part = feature[:, :, low[0] : high[0], low[1] : high[1]]
    made = generator.synthesize_part(latents, part, (low[0], low[1]))
    shrink = generator.resolution // tile.size
    made = F.avg_pool2d(made, shrink) if shrink > 1 else made  # what `resize_area` does; a part need not be square
    return _cut(made, tile.y - scale * low[0], tile.x - scale * low[1])


def _cut(image: Tensor, y: int, x: int) -> Tensor:
    return image[:, :, y : y + SIDE, x : x + SIDE]
