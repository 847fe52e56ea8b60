"""`--refine feature`: what the codes cannot hold becomes a residual on the generator's 64 px feature.

The residual sits after the 64 px block's first convolution (512 x 64 x 64), where HFGI, StyleRes and SDIC also work, and is
fitted to one photo in a few dozen steps with a pull towards zero. Under an edit it is added to the edited code's own
feature (`pipelines.stages.compensate.residual`).

Two things keep the result clean above 256 px. The codes' upper rows (colour and texture; edits act below them) are
fitted along, so that the residual need not paint what a row can say. And the last steps look in turn at the full picture
shrunk to 256 px, at a square of its 512 px version, and at a square at full size, of which no more is computed: fitted at
256 px alone, hair and backgrounds come out crinkled; without the last, skin gets a grid of fine dots.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from pipelines.models.perceptual.likeness import Likeness, Weights
from pipelines.stages.embed.optimize import head_error, looks_at_landmarks, ramp
from pipelines.stages.entry import LIKENESS, Parts, refiners
from pipelines.stages.fitting import TIME
from pipelines.stages.microbatch import in_microbatches
from pipelines.stages.pace import budget, paced
from pipelines.stages.refine.tiles import POINT, Tile, render_tile
from pipelines.stages.refine.views import Views
from pipelines.types import FaceBatch, Generator, Inversion, Refiner

VERSION = "3"


@dataclass(frozen=True)
class FeatureSettings:
    """Defaults are what `docs/decisions` measured.

    Attributes:
        steps: gradient steps in all; the last `finish` of them look at the full picture or at squares of it, not through
            the head.
        refresh: every so many steps the low-resolution head's own error is measured against a full synthesis and
            taken out of what the losses see, so that the head's limits do not become the picture's.
        lr, rows_lr: step sizes of the residual, and of the upper rows in units of w's standard deviation.
        first_row: the lowest row that moves.
        pull, rows_pull: weights of the mean squares of both.
        weights: no identity term. A residual is free enough to please an identity network with blotches on the skin.
    """

    steps: int = 52
    finish: int = 30
    refresh: int = 6
    lr: float = 0.12
    rows_lr: float = 0.05
    first_row: int = 9
    pull: float = 2e-4
    rows_pull: float = 0.02
    weights: Weights = field(default=Weights(perceptual=1.0, pixel=20.0, identity=0.0, size=256))


class _Fit:
    """One microbatch's variables and what they mean."""

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
    """Fits residual and upper rows; see `pipelines.types.Refiner`. A residual that `start` has already is fitted further.

    Args:
        settings: for faces without a residual.
        further: for those that have one, by one pass of a network: it saves most of the steps. None: `settings`.
        seconds: what a face may take; None: as long as its steps take.
    """

    version = VERSION

    def __init__(
        self,
        generator: Generator,
        likeness: Likeness,
        settings: FeatureSettings | None = None,
        further: FeatureSettings | None = None,
        seconds: float | None = None,
    ) -> None:
        self.generator = generator
        self.likeness = likeness
        self.settings = settings or FeatureSettings()
        self.further = further or self.settings
        self.seconds = seconds

    def refine(self, faces: FaceBatch, start: Inversion) -> Inversion:
        """`start` holds the faces' codes -> codes with other upper rows, a residual at 64."""
        settings = self.further if POINT in start.residuals else self.settings
        return in_microbatches(
            lambda index: self._fit(faces[index], start[index], settings), len(faces), faces.images.device
        )

    def _fit(self, faces: FaceBatch, start: Inversion, settings: FeatureSettings) -> Inversion:
        images, fit = faces.images, _Fit(self.generator, start, settings)
        views = Views(self.likeness, settings.weights, images, faces.landmarks)
        first, turn, refreshed = settings.steps - settings.finish, 0, -settings.refresh
        losses, correction = images.new_zeros(len(images)), images.new_zeros(())
        for _, step in paced(settings.steps, budget(self.seconds, len(faces)), images.device):
            if step < first:
                if step >= refreshed + settings.refresh:
                    inject = {POINT: fit.feature + fit.residual.detach()}
                    correction, refreshed = head_error(self.generator, fit.latents().detach(), inject), step
                made = self.generator.preview(fit.latents(), inject={POINT: fit.feature + fit.residual}).image
                losses = views.coarse(made + correction)
            else:
                losses = views.turn(turn, lambda: self._whole(fit), lambda tile: self._square(fit, tile))
                turn += 1
            fit.step(losses, ramp(step, settings.steps))
        scores = {**start.scores, "refine_loss": losses.detach()}
        return replace(start, latents=fit.latents().detach(), residuals={POINT: fit.residual.detach()}, scores=scores)

    def _whole(self, fit: _Fit) -> Tensor:
        return self.generator.synthesize(fit.latents(), inject={POINT: fit.feature + fit.residual}).image

    def _square(self, fit: _Fit, tile: Tile) -> Tensor:
        return render_tile(self.generator, fit.latents(), fit.feature + fit.residual, tile)


_ALONE = FeatureSettings()
# After SDIC, which is near already; most steps through full pictures or tiles of them (docs/decisions/0018).
FROM_SDIC = FeatureSettings(steps=33, finish=27, refresh=3, lr=0.04, rows_lr=0.02)


@refiners.register("feature", LIKENESS, f"{VERSION} {_ALONE} {FROM_SDIC}", looks_at_landmarks(_ALONE.weights), TIME)
def build_feature(parts: Parts, generator: Generator) -> Refiner:
    """52 steps from codes alone, 33 from a residual."""
    return FeatureRefiner(generator, parts.likeness(), _ALONE, FROM_SDIC, parts.fitting.seconds_per_face)
