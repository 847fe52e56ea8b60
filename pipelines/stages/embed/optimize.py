"""`optimize`: find the codes of a photo by gradient descent, first one w for all rows, then small offsets per row.

As a refiner it does the same from an encoder's codes, in fewer steps and with all rows free from the start.

A code that stays in W, near the generator's own distribution, edits best (Tov et al. 2021); the little likeness that a row
can add comes last and stays small. All terms look at the 256 px picture of the low-resolution head.

`lsap-o` is the same with LSAP's distance in place of our own (Cao et al., arXiv 2209.12746, whose optimiser was not
published: weights and steps are ours), longer, and until nothing more is gained.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from torch import Tensor

from pipelines.images.pixels import resize_area
from pipelines.models.perceptual.likeness import Likeness, Target, Weights
from pipelines.registry import Entry
from pipelines.stages.embed.noise_maps import NoiseFitter
from pipelines.stages.embed.plateau import Plateau
from pipelines.stages.embed.regularize import LSAP_WEIGHT, Aligned, Delta, Regularizer, unregularized
from pipelines.stages.entry import LIKENESS, Parts, embedders
from pipelines.stages.fitting import TIME
from pipelines.stages.microbatch import in_microbatches
from pipelines.stages.pace import budget, paced
from pipelines.types import FaceBatch, Generator, Injection, Inversion, Point
from pipelines.weights.style_centres import cached_centre

VERSION = "2"  # 2: landmarks of aligned crops are found in a smaller copy
WINDOW = 10  # steps of `OptimizeSettings.least`


@dataclass(frozen=True)
class OptimizeSettings:
    """Steps and weights; defaults are what `docs/decisions` measured.

    Attributes:
        steps: gradient steps in all; the first `rows_from` of them move one shared w.
        lr: step size of the shared w in whitened coordinates (1 = one standard deviation of the generator's w).
        rows_lr: step size of the per-row offsets, in units of w's standard deviation per coordinate.
        prior: weight of the mean squared whitened distance from the mean w (about 1 for the generator's own codes).
        rows_penalty: weight of the offsets' mean square (same unit).
        alone: one shared w is all there is; the rows of codes that it goes on from are averaged.
        least: a face stops early after ten steps that brought less than this share of its loss; 0: never.
    """

    steps: int = 55
    rows_from: int = 38
    lr: float = 0.12
    rows_lr: float = 0.04
    prior: float = 0.02
    rows_penalty: float = 0.3
    weights: Weights = field(default=Weights(perceptual=1.0, pixel=1.0, identity=0.5, size=128))
    alone: bool = field(default=False, repr=False)
    least: float = field(default=0.0, repr=False)  # not yet in the versions of runs that go on


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
    """Codes by optimisation, from the mean w (`embed`) or from codes that are near already (`refine`).

    Args:
        regularizer: what holds codes near the generator's own; None: `Delta` with the weights of `settings`.
        seconds: what a face may take; None: as long as its steps take.
        noise: fits the noise maps of faces whose codes are found; None: they stay the generator's.
    """

    version = VERSION

    def __init__(
        self,
        generator: Generator,
        likeness: Likeness,
        settings: OptimizeSettings | None = None,
        regularizer: Regularizer | None = None,
        seconds: float | None = None,
        noise: NoiseFitter | None = None,
    ) -> None:
        self.generator = generator
        self.likeness = likeness
        self.noise = noise
        self.settings = settings or OptimizeSettings()
        self.regularizer = regularizer or Delta(self.settings.prior, self.settings.rows_penalty)
        self.seconds = seconds
        self._colour = torch.linalg.pinv(generator.w_whiten.double()).float()

    def embed(self, faces: FaceBatch) -> Inversion:
        """Landmarks that are not there (NaN) switch the identity term off for that face."""
        return in_microbatches(lambda index: self._fit(faces[index], None), len(faces), faces.images.device)

    def refine(self, faces: FaceBatch, start: Inversion) -> Inversion:
        """As `embed`, from the codes of `start`; a residual and weights of its own that it has are kept."""
        found = in_microbatches(
            lambda index: self._fit(faces[index], start[index].latents), len(faces), faces.images.device
        )
        deltas = {**start.deltas, **found.deltas}
        return replace(start, latents=found.latents, deltas=deltas, scores={**start.scores, **found.scores})

    def _fit(self, faces: FaceBatch, codes: Tensor | None) -> Inversion:
        settings, images = self.settings, faces.images
        target = self.likeness.target(images, faces.landmarks, settings.weights)
        shared, offsets = (start.requires_grad_() for start in self._start(images, codes))
        optimiser = torch.optim.Adam([{"params": [shared]}, {"params": [offsets]}], lr=settings.lr, betas=(0.9, 0.99))
        losses, moving = images.new_zeros(len(images)), torch.ones_like(images[:, 0, 0, 0], dtype=torch.bool)
        plateau = Plateau(WINDOW, settings.least)
        for_codes, for_noise = self._budgets(len(faces))
        for _, step in paced(settings.steps, for_codes, images.device):
            factor = ramp(step, settings.steps)
            optimiser.param_groups[0]["lr"] = settings.lr * factor
            optimiser.param_groups[1]["lr"] = settings.rows_lr * factor * (step >= settings.rows_from)
            before = shared.detach().clone(), offsets.detach().clone()
            likeness, held = self._losses(shared, offsets, target)
            total = likeness + held
            losses = torch.where(moving, total.detach(), losses)
            optimiser.zero_grad()
            total.sum().backward()
            optimiser.step()
            _keep((shared, offsets), before, moving)
            done = plateau.watch(likeness) if settings.least else None
            if done is not None:
                moving = moving & ~done
                if not bool(moving.any()):  # the host asks once a window
                    break
        with torch.no_grad():
            codes = self._codes(shared, offsets)
        return Inversion(codes, deltas=self._noise(codes, target, for_noise), scores={"embed_loss": losses})

    def _budgets(self, faces: int) -> tuple[float | None, float | None]:
        """Seconds of codes and of noise maps."""
        seconds = budget(self.seconds, faces)
        if seconds is None or self.noise is None:
            return seconds, None
        return seconds * (1 - self.noise.settings.share), seconds * self.noise.settings.share

    def _noise(self, codes: Tensor, target: Target, seconds: float | None) -> dict[str, Tensor]:
        """The deltas of the generator's maps; what its cheap picture gets wrong at these codes is none of their business."""
        if self.noise is None:
            return {}
        error = head_error(self.generator, codes, {})

        def look(generator: Generator) -> Tensor:
            return generator.preview(codes).image + error

        return self.noise.fit(look, target, self.settings.weights, len(codes), seconds)

    def _start(self, images: Tensor, codes: Tensor | None) -> tuple[Tensor, Tensor]:
        """The shared w in whitened coordinates, n x 512, and the rows' offsets from it, n x L x 512, in w's deviations."""
        generator = self.generator
        if codes is None:
            dim = generator.w_avg.numel()
            return images.new_zeros(len(images), dim), images.new_zeros(len(images), generator.num_ws, dim)
        shared = (codes.mean(dim=1) - generator.w_avg) @ generator.w_whiten
        if self.settings.alone:
            return shared, torch.zeros_like(codes)
        around = generator.w_avg + shared @ self._colour.to(shared)
        return shared, (codes - around.unsqueeze(1)) / generator.w_std

    def _codes(self, shared: Tensor, offsets: Tensor) -> Tensor:
        generator = self.generator
        w = generator.w_avg + shared @ self._colour.to(shared)
        codes: Tensor = w.unsqueeze(1) + offsets * generator.w_std
        return codes

    def _losses(self, shared: Tensor, offsets: Tensor, target: Target) -> tuple[Tensor, Tensor]:
        """Likeness, and what the regularizer says; n values each."""
        codes = self._codes(shared, offsets)
        terms = self.likeness(self.generator.preview(codes).image, target, self.settings.weights)
        return torch.stack([*terms.values()]).sum(dim=0), self.regularizer(shared, offsets, codes)


@torch.no_grad()
def _keep(variables: tuple[Tensor, Tensor], before: tuple[Tensor, Tensor], moving: Tensor) -> None:
    """Faces that are done stay where they were: momentum would carry them on."""
    for variable, old in zip(variables, before, strict=True):
        still = moving.view(-1, *[1] * (old.ndim - 1))
        variable.copy_(torch.where(still, variable, old))


def regularizer_of(parts: Parts, generator: Generator, settings: OptimizeSettings, name: str) -> Regularizer:
    """The regularizer called `name`; the style centre of ``lsap`` is made once for a generator (15 s) and kept."""
    if name == "none":
        return unregularized
    if name == "lsap":
        return Aligned(cached_centre(generator, parts.store.config.home / "centres"))
    return Delta(settings.prior, settings.rows_penalty)


def build_optimizer(settings: OptimizeSettings, own: str, parts: Parts, generator: Generator) -> OptimizeEmbedder:
    """The embedder with what `parts.fitting` asks; `own`: the regularizer where nothing is asked."""
    fitting = parts.fitting
    if fitting.space == "w":
        settings = replace(settings, rows_from=settings.steps, alone=True)
    regularizer = regularizer_of(parts, generator, settings, fitting.regularize or own)
    noise = NoiseFitter(generator, parts.likeness()) if fitting.noise_maps else None
    return OptimizeEmbedder(generator, parts.likeness(), settings, regularizer, fitting.seconds_per_face, noise)


OPTIONS = ("regularize", "space", "noise_maps", *TIME)
_DEFAULT = OptimizeSettings()
# LSAP's distance lets rows leave w sooner than a pull on the rows does; docs/refinement.md.
ALIGNED = OptimizeSettings(steps=100, rows_from=50, least=0.01)
_LANDMARKS = looks_at_landmarks(_DEFAULT.weights)

embedders.add(
    "optimize",
    Entry(partial(build_optimizer, _DEFAULT, "delta"), LIKENESS, f"{VERSION} {_DEFAULT}", _LANDMARKS, OPTIONS),
)
embedders.add(
    "lsap-o",
    Entry(
        partial(build_optimizer, ALIGNED, "lsap"),
        LIKENESS,
        f"{VERSION} {ALIGNED} {ALIGNED.least} {LSAP_WEIGHT}",
        _LANDMARKS,
        OPTIONS,
    ),
)
