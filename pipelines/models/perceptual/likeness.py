"""How alike two faces are, as something that an optimiser can follow: perceptual, pixel and identity terms."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipelines.images.pixels import resize_area

Chips = Callable[[Tensor, Tensor], Tensor]


class Perceptual(Protocol):
    """A perceptual distance whose target features can be kept (ST-LPIPS, LPIPS)."""

    def features(self, x: Tensor) -> list[Tensor]: ...

    def distance(self, fx: list[Tensor], fy: list[Tensor]) -> Tensor: ...


@dataclass(frozen=True)
class Target:
    """The photo's side of every term, computed once. n faces; `present` is 0 where no landmarks were found.

    None where no face's landmarks were asked for, so that nobody compares identities.
    """

    image: Tensor
    perceptual: list[Tensor]
    identity: Tensor | None = None
    landmarks: Tensor | None = None
    present: Tensor | None = None


@dataclass(frozen=True)
class Weights:
    """Weights of the terms; 0 switches a term off and saves its time. `size`: side at which the perceptual term looks."""

    perceptual: float = 1.0
    pixel: float = 1.0
    identity: float = 0.0
    size: int = 256


class Likeness(nn.Module):
    """Distance of pictures to targets, one value per face, lower is closer.

    Args:
        perceptual: perceptual distance network.
        identity: chips n x 3 x 150 x 150 in [-1, 1] -> descriptors n x D.
        chips: (pictures, landmarks in shares of the side) -> chips, differentiable.
    """

    def __init__(self, perceptual: Perceptual, identity: nn.Module, chips: Chips) -> None:
        super().__init__()
        self.perceptual = perceptual
        self.identity = identity
        self.chips = chips

    @torch.no_grad()
    def target(self, images: Tensor, landmarks: Tensor | None, weights: Weights) -> Target:
        """images n x 3 x R x R in [-1, 1], landmarks n x 68 x 2 (NaN: no face was found) or None: no identity term."""
        image = resize_area(images, 256)
        perceptual = self._perceive(image, weights)
        if not weights.identity or landmarks is None:  # not `present.any()`: to look at values would hold a GPU up
            return Target(image, perceptual)
        present = torch.isfinite(landmarks).all(dim=(1, 2)).to(image)
        landmarks = _somewhere(landmarks, present)
        return Target(image, perceptual, self.identity(self.chips(images, landmarks)), landmarks, present)

    def forward(self, image: Tensor, target: Target, weights: Weights) -> dict[str, Tensor]:
        """image n x 3 x S x S (S <= 256) -> the weighted terms, each n values."""
        wanted = target.image if image.shape == target.image.shape else resize_area(target.image, image.shape[-1])
        terms = {"pixel": weights.pixel * F.mse_loss(image, wanted, reduction="none").mean(dim=(1, 2, 3))}
        if weights.perceptual:
            distance = self.perceptual.distance(self._perceive(image, weights), target.perceptual)
            terms["perceptual"] = weights.perceptual * distance
        if weights.identity and target.landmarks is not None and target.present is not None:
            made = self.identity(self.chips(image, target.landmarks))
            # dlib's descriptors are compared by Euclidean distance; its square has a gradient at zero.
            distance = (made - target.identity).square().sum(dim=1)
            terms["identity"] = weights.identity * distance * target.present
        return terms

    def _perceive(self, image: Tensor, weights: Weights) -> list[Tensor]:
        return self.perceptual.features(resize_area(image, weights.size)) if weights.perceptual else []


def _somewhere(landmarks: Tensor, present: Tensor) -> Tensor:
    """Landmarks with a harmless stand-in where there are none: a chip must be cut, but its term has weight 0."""
    grid = torch.linspace(0.3, 0.7, landmarks.shape[1], device=landmarks.device, dtype=landmarks.dtype)
    ring = torch.stack((0.5 + 0.2 * torch.cos(40 * grid), 0.5 + 0.2 * torch.sin(40 * grid)), dim=1)
    return torch.where(present[:, None, None] > 0, landmarks, ring)
