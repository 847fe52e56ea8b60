"""Tiny random versions of the real networks, for tests that need the classes and not the pictures."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from pipelines.images.pixels import resize_area
from pipelines.models.generators.mobile import MobileStyleGAN
from pipelines.models.perceptual.likeness import Likeness
from pipelines.types import Injection, Point, Synthesis


class TinyGenerator(MobileStyleGAN):
    """Its preview is exact: a head with random weights would show another picture than the generator."""

    def preview(
        self, w: Tensor, inject: Mapping[Point, Injection] | None = None, collect: tuple[Point, ...] = ()
    ) -> Synthesis:
        made = self.synthesize(w, inject, collect)
        return Synthesis(resize_area(made.image, 256), made.features)


def tiny_generator(seed: int = 0) -> MobileStyleGAN:
    """The real class at 1024 px with 8 channels and 16 style dimensions."""
    torch.manual_seed(seed)
    generator = TinyGenerator(channels=(8,) * 7, dim=16)
    for parameter in generator.parameters():
        parameter.normal_(0, 0.3)
    return generator


class Pixels:
    """The simplest perceptual distance: mean absolute difference of small pictures."""

    def features(self, x: Tensor) -> list[Tensor]:
        return [nn.functional.avg_pool2d(x, 8)]

    def distance(self, fx: list[Tensor], fy: list[Tensor]) -> Tensor:
        return (fx[0] - fy[0]).abs().mean(dim=(1, 2, 3))


class Colours(nn.Module):
    """A stand-in for an identity network: the mean colour of a chip."""

    def forward(self, chips: Tensor) -> Tensor:
        return chips.mean(dim=(2, 3))


def tiny_likeness() -> Likeness:
    def chips(images: Tensor, landmarks: Tensor) -> Tensor:
        return images[:, :, ::4, ::4] * landmarks.mean()

    return Likeness(Pixels(), Colours(), chips)
