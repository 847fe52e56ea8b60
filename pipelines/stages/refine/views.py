"""What the last steps of a fit look at, in turn: the whole picture at 256 px, a square at half size, one at full size."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from pipelines.images.pixels import resize_area
from pipelines.models.perceptual.likeness import Likeness, Target, Weights
from pipelines.stages.refine.tiles import FULLS, HALVES, Tile, cut


class Views:
    """Losses against some faces, each n values.

    Args:
        likeness: frozen.
        weights: of the terms.
        images: n x 3 x R x R in [-1, 1].
        landmarks: as `FaceBatch.landmarks`.
    """

    def __init__(self, likeness: Likeness, weights: Weights, images: Tensor, landmarks: Tensor | None) -> None:
        self.likeness, self.weights, self.images = likeness, weights, images
        self.target: Target = likeness.target(images, landmarks, weights)

    def coarse(self, made: Tensor) -> Tensor:
        """made n x 3 x S x S, S <= 256, the whole picture."""
        return torch.stack(list(self.likeness(made, self.target, self.weights).values())).sum(dim=0)

    def turn(self, number: int, whole: Callable[[], Tensor], square: Callable[[Tile], Tensor]) -> Tensor:
        """The loss of the turn `number`: of what `whole` (n x 3 x R x R) or `square` (n x 3 x 256 x 256) makes."""
        turn, view = divmod(number, 3)
        if not view:
            return self.coarse(resize_area(whole(), 256))
        tiles = (HALVES, FULLS)[view - 1]
        tile = tiles[turn % len(tiles)]
        return self.close(square(tile), cut(self.images, tile))

    def close(self, made: Tensor, goal: Tensor) -> Tensor:
        """Of pictures of one size, each n x 3 x s x s: the pixel and the perceptual term."""
        perceptual = self.likeness.perceptual
        pixel = F.mse_loss(made, goal, reduction="none").mean(dim=(1, 2, 3))
        distance = perceptual.distance(perceptual.features(made), perceptual.features(goal))
        return self.weights.pixel * pixel + self.weights.perceptual * distance
