"""`--refine feature`: what the codes cannot hold becomes a residual on the generator's 64 px feature.

The residual sits after the 64 px block's first convolution (512 x 64 x 64), where HFGI, StyleRes and SDIC also work, and is
fitted to one photo in a few dozen steps with a pull towards zero. Under an edit it is added to the edited code's own
feature (`pipelines.stages.edit`).

Two things keep the result clean above 256 px. The codes' upper rows (colour and texture; edits act below them) are
fitted along, so that the residual need not paint what a row can say. And the last steps look at the full picture, every
other one at a 256 px square of its 512 px version, of which no more is computed: fitted at 256 px alone, hair and
backgrounds come out crinkled.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from pipelines.images import resize_area
from pipelines.models.likeness import Likeness, Target, Weights
from pipelines.stages.lanes import in_lanes, select
from pipelines.stages.optimize import head_error, ramp
from pipelines.types import Generator, Inversion, PartGenerator, Point, Refiner

POINT: Point = 64
SQUARES = ((0, 0), (0, 256), (256, 0), (256, 256), (128, 128))  # (y, x) corners in the 512 px picture, taken in turn
FINER, SQUARE = 512, 256
MARGIN = 4  # pixels of the 64 px feature: nine convolutions of 3 x 3 on the way up see 3.4 of them at the most


@dataclass(frozen=True)
class FeatureSettings:
    """Defaults are what `docs/decisions` measured.

    Attributes:
        steps: gradient steps in all; the last `finish` of them look at the full picture, not through the head.
        refresh: every so many steps the low-resolution head's own error is measured against a full synthesis and
            taken out of what the losses see, so that the head's limits do not become the picture's.
        lr, rows_lr: step sizes of the residual, and of the upper rows in units of w's standard deviation.
        first_row: the lowest row that moves.
        pull, rows_pull: weights of the mean squares of both.
        weights: no identity term. A residual is free enough to please an identity network with blotches on the skin.
    """

    steps: int = 52
    finish: int = 26
    refresh: int = 6
    lr: float = 0.12
    rows_lr: float = 0.05
    first_row: int = 9
    pull: float = 2e-4
    rows_pull: float = 0.02
    weights: Weights = field(default=Weights(perceptual=1.0, pixel=20.0, identity=0.0, size=256))


class _Fit:
    """One lane's variables and what they mean."""

    def __init__(self, generator: Generator, start: Inversion, settings: FeatureSettings) -> None:
        self.generator, self.start, self.settings = generator, start, settings
        with torch.no_grad():
            self.feature = generator.features(start.latents, (POINT,))[POINT]
        first = start.residuals.get(POINT)
        self.residual = (torch.zeros_like(self.feature) if first is None else first.clone()).requires_grad_()
        self.offsets = torch.zeros_like(start.latents[:, settings.first_row :]).requires_grad_()
        groups = [{"params": [self.residual]}, {"params": [self.offsets]}]
        self.optimiser = torch.optim.Adam(groups, lr=settings.lr, betas=(0.9, 0.99))

    def latents(self) -> Tensor:
        rows = self.settings.first_row
        upper = self.start.latents[:, rows:] + self.offsets * self.generator.w_std
        return torch.cat([self.start.latents[:, :rows], upper], dim=1)

    def pulls(self) -> Tensor:
        residual = self.settings.pull * self.residual.square().mean(dim=(1, 2, 3))
        return residual + self.settings.rows_pull * self.offsets.square().mean(dim=(1, 2))

    def step(self, losses: Tensor, factor: float) -> None:
        for group, lr in zip(self.optimiser.param_groups, (self.settings.lr, self.settings.rows_lr), strict=True):
            group["lr"] = lr * factor
        self.optimiser.zero_grad()
        (losses + self.pulls()).sum().backward()
        self.optimiser.step()


class FeatureRefiner:
    """Fits residual and upper rows; see `pipelines.types.Refiner`. A residual that `start` has already is fitted further."""

    name = "feature"
    version = "3"

    def __init__(
        self,
        generator: Generator,
        likeness: Likeness,
        settings: FeatureSettings | None = None,
        first: Refiner | None = None,
    ) -> None:
        """`first` is run before: a residual from one pass of a network saves most of the steps."""
        self.generator = generator
        self.likeness = likeness
        self.settings = settings or FeatureSettings()
        self.first = first

    def refine(self, images: Tensor, landmarks: Tensor | None, start: Inversion) -> Inversion:
        """images n x 3 x R x R in [-1, 1]; `start` holds their codes -> codes with other upper rows, a residual at 64."""
        if landmarks is None:
            landmarks = images.new_full((len(images), 68, 2), math.nan)
        if self.first is not None:
            start = self.first.refine(images, landmarks, start)
        return in_lanes(
            lambda index: self._lane(images[index], landmarks[index], select(start, index)), len(images), images.device
        )

    def _lane(self, images: Tensor, landmarks: Tensor, start: Inversion) -> Inversion:
        settings, fit = self.settings, _Fit(self.generator, start, self.settings)
        target = self.likeness.target(images, landmarks, settings.weights)
        finer = resize_area(images, FINER)
        squares = [self.likeness.perceptual.features(_square(finer, corner)) for corner in SQUARES]
        losses, correction = images.new_zeros(len(images)), images.new_zeros(())
        for step in range(settings.steps):
            through_head = step < settings.steps - settings.finish
            if through_head and step % settings.refresh == 0:
                inject = {POINT: fit.feature + fit.residual.detach()}
                correction = head_error(self.generator, fit.latents().detach(), inject)
            losses = (
                self._coarse(fit, target, correction) if through_head else self._full(fit, target, finer, squares, step)
            )
            fit.step(losses, ramp(step, settings.steps))
        scores = {**start.scores, "refine_loss": losses.detach()}
        return Inversion(fit.latents().detach(), {POINT: fit.residual.detach()}, scores)

    def _coarse(self, fit: _Fit, target: Target, correction: Tensor) -> Tensor:
        made = self.generator.preview(fit.latents(), inject={POINT: fit.feature + fit.residual}).image
        return _total(self.likeness(made + correction, target, self.settings.weights))

    def _full(self, fit: _Fit, target: Target, finer: Tensor, squares: list[list[Tensor]], step: int) -> Tensor:
        weights, feature = self.settings.weights, fit.feature + fit.residual
        if step % 2 == 0:
            made = self.generator.synthesize(fit.latents(), inject={POINT: feature}).image
            return _total(self.likeness(resize_area(made, 256), target, weights))
        turn = step // 2 % len(SQUARES)
        square = made_square(self.generator, fit.latents(), feature, SQUARES[turn])
        seen = self.likeness.perceptual.features(square)
        pixel = F.mse_loss(square, _square(finer, SQUARES[turn]), reduction="none").mean(dim=(1, 2, 3))
        return weights.pixel * pixel + weights.perceptual * self.likeness.perceptual.distance(seen, squares[turn])


def made_square(generator: Generator, latents: Tensor, feature: Tensor, corner: tuple[int, int]) -> Tensor:
    """A square of the 512 px picture; where the generator can, nothing far from it is computed.

    Args:
        latents: n x L x 512.
        feature: n x C x 64 x 64, residual included.
        corner: (y, x) in the 512 px picture, multiples of 8.

    Returns:
        n x 3 x 256 x 256, as if cut out of the whole picture.
    """
    if not isinstance(generator, PartGenerator) or generator.resolution < FINER:
        made = generator.synthesize(latents, inject={POINT: feature}).image
        return _square(resize_area(made, FINER), corner)
    size = feature.shape[-1]
    scale = FINER // size
    low = [max(at // scale - MARGIN, 0) for at in corner]
    high = [min((at + SQUARE) // scale + MARGIN, size) for at in corner]
    part = feature[:, :, low[0] : high[0], low[1] : high[1]]
    made = generator.synthesize_part(latents, part, (low[0], low[1]))
    made = resize_area(made, scale * (high[0] - low[0]))
    return _square(made, (corner[0] - scale * low[0], corner[1] - scale * low[1]))


def _square(image: Tensor, corner: tuple[int, int]) -> Tensor:
    y, x = corner
    return image[:, :, y : y + SQUARE, x : x + SQUARE]


def _total(terms: dict[str, Tensor]) -> Tensor:
    return torch.stack(list(terms.values())).sum(dim=0)
