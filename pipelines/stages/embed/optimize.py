"""`optimize`: find the codes of a photo by gradient descent, first one w for all rows, then small offsets per row.

As a refiner it does the same from an encoder's codes, in fewer steps and with all rows free from the start.

A code that stays in W, near the generator's own distribution, edits best (Tov et al. 2021); the little likeness that a row
can add comes last and stays small. All terms look at the 256 px picture of the low-resolution head.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from pipelines.images.pixels import resize_area
from pipelines.models.perceptual.likeness import Likeness, Target, Weights
from pipelines.stages.entry import LIKENESS, Parts, embedders
from pipelines.stages.microbatch import in_microbatches
from pipelines.types import Embedder, FaceBatch, Generator, Injection, Inversion, Point

VERSION = "2"  # 2: landmarks of aligned crops are found in a smaller copy


@dataclass(frozen=True)
class OptimizeSettings:
    """Steps and weights; defaults are what `docs/decisions` measured.

    Attributes:
        steps: gradient steps in all; the first `rows_from` of them move one shared w.
        lr: step size of the shared w in whitened coordinates (1 = one standard deviation of the generator's w).
        rows_lr: step size of the per-row offsets, in units of w's standard deviation per coordinate.
        prior: weight of the mean squared whitened distance from the mean w (about 1 for the generator's own codes).
        rows_penalty: weight of the offsets' mean square (same unit).
    """

    steps: int = 55
    rows_from: int = 38
    lr: float = 0.12
    rows_lr: float = 0.04
    prior: float = 0.02
    rows_penalty: float = 0.3
    weights: Weights = field(default=Weights(perceptual=1.0, pixel=1.0, identity=0.5, size=128))


def looks_at_landmarks(weights: Weights) -> bool:
    """Only a face's identity is compared at places that its landmarks tell."""
    return weights.identity > 0


def ramp(step: int, steps: int, warm: float = 0.1, cool: float = 0.4) -> float:
    """Learning-rate factor: linear up over the first `warm` share, cosine down over the last `cool` share."""
    t = (step + 1) / steps
    return min(1.0, t / warm) * (0.5 - 0.5 * math.cos(math.pi * min(1.0, (1 - t + 1 / steps) / cool)))


@torch.no_grad()
def head_error(generator: Generator, latents: Tensor, inject: Mapping[Point, Injection]) -> Tensor:
    """What the low-resolution head gets wrong here: the full picture's 256 px version minus the head's."""
    full = generator.synthesize(latents, inject=inject).image
    return resize_area(full, 256) - generator.preview(latents, inject=inject).image


class OptimizeEmbedder:
    """Codes by optimisation, from the mean w (`embed`) or from codes that are near already (`refine`)."""

    version = VERSION

    def __init__(self, generator: Generator, likeness: Likeness, settings: OptimizeSettings | None = None) -> None:
        self.generator = generator
        self.likeness = likeness
        self.settings = settings or OptimizeSettings()
        self._colour = torch.linalg.pinv(generator.w_whiten.double()).float()

    def embed(self, faces: FaceBatch) -> Inversion:
        """Landmarks that are not there (NaN) switch the identity term off for that face."""
        return in_microbatches(lambda index: self._fit(faces[index], None), len(faces), faces.images.device)

    def refine(self, faces: FaceBatch, start: Inversion) -> Inversion:
        """As `embed`, from the codes of `start`; a residual that it has is kept."""
        found = in_microbatches(
            lambda index: self._fit(faces[index], start[index].latents), len(faces), faces.images.device
        )
        return replace(start, latents=found.latents, scores={**start.scores, **found.scores})

    def _fit(self, faces: FaceBatch, codes: Tensor | None) -> Inversion:
        settings, images = self.settings, faces.images
        target = self.likeness.target(images, faces.landmarks, settings.weights)
        shared, offsets = (start.requires_grad_() for start in self._start(images, codes))
        optimiser = torch.optim.Adam([{"params": [shared]}, {"params": [offsets]}], lr=settings.lr, betas=(0.9, 0.99))
        losses = images.new_zeros(len(images))
        for step in range(settings.steps):
            factor = ramp(step, settings.steps)
            optimiser.param_groups[0]["lr"] = settings.lr * factor
            optimiser.param_groups[1]["lr"] = settings.rows_lr * factor * (step >= settings.rows_from)
            losses = self._loss(shared, offsets, target)
            optimiser.zero_grad()
            losses.sum().backward()
            optimiser.step()
        with torch.no_grad():
            return Inversion(self._codes(shared, offsets), scores={"embed_loss": losses.detach()})

    def _start(self, images: Tensor, codes: Tensor | None) -> tuple[Tensor, Tensor]:
        """The shared w in whitened coordinates, n x 512, and the rows' offsets from it, n x L x 512, in w's deviations."""
        generator = self.generator
        if codes is None:
            dim = generator.w_avg.numel()
            return images.new_zeros(len(images), dim), images.new_zeros(len(images), generator.num_ws, dim)
        shared = (codes.mean(dim=1) - generator.w_avg) @ generator.w_whiten
        around = generator.w_avg + shared @ self._colour.to(shared)
        return shared, (codes - around.unsqueeze(1)) / generator.w_std

    def _codes(self, shared: Tensor, offsets: Tensor) -> Tensor:
        generator = self.generator
        w = generator.w_avg + shared @ self._colour.to(shared)
        codes: Tensor = w.unsqueeze(1) + offsets * generator.w_std
        return codes

    def _loss(self, shared: Tensor, offsets: Tensor, target: Target) -> Tensor:
        settings = self.settings
        image = self.generator.preview(self._codes(shared, offsets)).image
        terms = self.likeness(image, target, settings.weights)
        prior = settings.prior * shared.square().mean(dim=1)
        spread = settings.rows_penalty * offsets.square().mean(dim=(1, 2))
        return torch.stack([*terms.values(), prior, spread]).sum(dim=0)


_DEFAULT = OptimizeSettings()


@embedders.register("optimize", LIKENESS, f"{VERSION} {_DEFAULT}", looks_at_landmarks(_DEFAULT.weights))
def build_optimize(parts: Parts, generator: Generator) -> Embedder:
    """From the mean w."""
    return OptimizeEmbedder(generator, parts.likeness())
