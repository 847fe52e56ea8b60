"""`--refine feature`: what the codes cannot hold becomes a residual on the generator's 64 px feature.

The residual sits after the 64 px block's first convolution (512 x 64 x 64), where HFGI, StyleRes and SDIC also work, and is
fitted to one photo in a few dozen steps with a pull towards zero. Under an edit it is added to the edited code's own
feature (`pipelines.stages.edit`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from pipelines.models.likeness import Likeness, Target, Weights
from pipelines.stages.lanes import in_lanes, select
from pipelines.stages.optimize import head_error, ramp
from pipelines.types import Generator, Inversion, Point

POINT: Point = 64


@dataclass(frozen=True)
class FeatureSettings:
    """Defaults are what `docs/decisions` measured.

    Attributes:
        pull: weight of the residual's mean square.
        refresh: every so many steps the low-resolution head's own error is measured against a full synthesis and
            taken out of what the losses see, so that the head's limits do not become the picture's.
    """

    steps: int = 40
    refresh: int = 10
    lr: float = 0.1
    pull: float = 2e-4
    weights: Weights = field(default=Weights(perceptual=1.0, pixel=5.0, identity=0.5, size=256))


class FeatureRefiner:
    """Fits the residual, codes untouched; see `pipelines.types.Refiner`."""

    name = "feature"
    version = "1"

    def __init__(self, generator: Generator, likeness: Likeness, settings: FeatureSettings | None = None) -> None:
        self.generator = generator
        self.likeness = likeness
        self.settings = settings or FeatureSettings()

    def refine(self, images: Tensor, landmarks: Tensor | None, start: Inversion) -> Inversion:
        """images n x 3 x R x R in [-1, 1]; `start` holds their codes -> the same codes with a residual at 64."""
        if landmarks is None:
            landmarks = images.new_full((len(images), 68, 2), math.nan)
        return in_lanes(
            lambda index: self._lane(images[index], landmarks[index], select(start, index)), len(images), images.device
        )

    def _lane(self, images: Tensor, landmarks: Tensor, start: Inversion) -> Inversion:
        settings = self.settings
        target = self.likeness.target(images, landmarks, settings.weights)
        with torch.no_grad():
            feature = self.generator.preview(start.latents, collect=(POINT,)).features[POINT]
        residual = torch.zeros_like(feature).requires_grad_()
        optimiser = torch.optim.Adam([residual], lr=settings.lr, betas=(0.9, 0.99))
        losses, correction = images.new_zeros(len(images)), images.new_zeros(())
        for step in range(settings.steps):
            if step % settings.refresh == settings.refresh - 1:
                correction = head_error(self.generator, start.latents, {POINT: feature + residual.detach()})
            optimiser.param_groups[0]["lr"] = settings.lr * ramp(step, settings.steps)
            losses = self._loss(start.latents, feature, residual, target, correction)
            optimiser.zero_grad()
            losses.sum().backward()
            optimiser.step()
        scores = {**start.scores, "refine_loss": losses.detach()}
        return Inversion(start.latents, {POINT: residual.detach()}, scores)

    def _loss(self, latents: Tensor, feature: Tensor, residual: Tensor, target: Target, correction: Tensor) -> Tensor:
        image = self.generator.preview(latents, inject={POINT: feature + residual}).image + correction
        terms = self.likeness(image, target, self.settings.weights)
        pull = self.settings.pull * residual.square().mean(dim=(1, 2, 3))
        return torch.stack([*terms.values(), pull]).sum(dim=0)
