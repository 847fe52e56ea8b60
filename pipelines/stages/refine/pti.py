"""`--refine pti`: the generator itself is tuned to one photo, around the code that was found for it (the pivot).

Pivotal tuning (Roich et al., ACM TOG 2022, section 3) leaves the code where edits work and moves the generator instead. Here
only the kernels that matter move, so that a face's change is small enough to be stored with its code, and edits need no
new tuning. The first steps look at the generator's cheap 128 px picture, which has most of what has to move; the last
ones at the whole picture and at squares of it up to full size (`pipelines.stages.refine.views`).

Far from the pivot the generator has to stay what it was (section 3.3, locality regularisation): every few steps the tuned
generator's picture of a code at a distance is compared with the original's.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from pipelines.images.pixels import resize_area
from pipelines.models.perceptual.likeness import Likeness, Weights
from pipelines.stages.embed.optimize import looks_at_landmarks, ramp
from pipelines.stages.entry import LIKENESS, Parts, refiners
from pipelines.stages.fitting import TIME
from pipelines.stages.pace import paced
from pipelines.stages.refine.orthogonal import OrthogonalSteps
from pipelines.stages.refine.projection import far_code
from pipelines.stages.refine.tiles import POINT, Tile, render_tile
from pipelines.stages.refine.tuning import Tuning, fitting_rank, tuned_layers
from pipelines.stages.refine.views import Views
from pipelines.types import FaceBatch, Generator, Inversion, Refiner, SketchGenerator

VERSION = "1"
SKETCH = 128  # px
# A quarter of all kernels' numbers; docs/refinement.md says what the others would add.
MOBILE = ("blocks.*.conv1.mix.weight", "blocks.[456].conv2.mix.weight", "blocks.*.mix.bias")
STYLEGAN2 = ("convs.*.conv.weight",)
_TRUNCATION = 0.5  # of the codes that locality is asked at (Roich et al.)


@dataclass(frozen=True)
class PTISettings:
    """Defaults are what `docs/refinement.md` measured.

    Attributes:
        steps: in all; the last `finish` of them look at the full picture or at squares of it.
        refresh: every so many of the first steps the cheap picture's own error is measured and taken out of the losses.
        size: of a step, as a share of a kernel's own size.
        late: what is left of `size` in the last `finish` steps.
        layers: patterns of names: of the generators `mobile-ffhq` and StyleGAN2.
        numbers: what a face's change may have; two bytes each on disk.
        local, local_every: weight of the locality term, and every so many steps it is asked.
        distance: how far from the pivot.
        weights: no identity term: weights are free enough to please an identity network with blotches.
    """

    steps: int = 130
    finish: int = 30
    refresh: int = 10
    size: float = 0.01
    late: float = 0.5
    layers: tuple[str, ...] = MOBILE + STYLEGAN2
    numbers: int = 1_000_000
    local: float = 0.1
    local_every: int = 6
    distance: float = 30.0
    weights: Weights = field(default=Weights(perceptual=1.0, pixel=20.0, identity=0.0, size=256))


class PTIRefiner:
    """See the module and `pipelines.types.Refiner`. Faces are tuned one by one: on a CPU a batch buys nothing, and so a
    face's result cannot depend on the others.

    Args:
        seed: of everything random; every face draws the same.
        seconds: what a face may take; None: as long as its steps take.
    """

    version = VERSION

    def __init__(
        self,
        generator: Generator,
        likeness: Likeness,
        settings: PTISettings | None = None,
        seed: int = 0,
        seconds: float | None = None,
    ) -> None:
        self.generator = generator
        self.likeness = likeness
        self.settings = settings or PTISettings()
        self.seed = seed
        self.seconds = seconds
        self.layers = tuned_layers(generator, self.settings.layers)
        self.rank = fitting_rank(self.layers, self.settings.numbers)

    def refine(self, faces: FaceBatch, start: Inversion) -> Inversion:
        """The codes and residuals of `start`, and deltas. Deltas that it has already are not gone on from."""
        return Inversion.cat([self._tune(faces[i : i + 1], start[i : i + 1]) for i in range(len(faces))])

    def _tune(self, face: FaceBatch, start: Inversion) -> Inversion:
        settings, fit = self.settings, Fit(self, face, start)
        steps = OrthogonalSteps(fit.tuning.variables)
        first, turn, refreshed = settings.steps - settings.finish, 0, -settings.refresh
        loss = face.images.new_zeros(1)
        for made, step in paced(settings.steps, self.seconds, face.images.device):
            if step >= first:
                loss, turn = fit.full(turn), turn + 1
            else:
                if step >= refreshed + settings.refresh:
                    fit.refresh()
                    refreshed = step
                loss = fit.coarse()
            total = loss + fit.local() if settings.local and made % settings.local_every == 0 else loss
            total.sum().backward()
            steps.step(settings.size * ramp(step, settings.steps) * (settings.late if step >= first else 1.0))
        return replace(start, deltas=fit.tuning.deltas(), scores={**start.scores, "refine_loss": loss.detach()})


class Fit:
    """One face's tuning and what it is compared with."""

    def __init__(self, refiner: PTIRefiner, face: FaceBatch, start: Inversion) -> None:
        settings, likeness = refiner.settings, refiner.likeness
        self.generator, self.settings, self.start = refiner.generator, settings, start
        self.tuning = Tuning(refiner.generator, refiner.layers, refiner.rank, refiner.seed)
        small = replace(settings.weights, size=SKETCH)
        self.sketched = Views(likeness, small, face.images, face.landmarks)
        self.views = Views(likeness, settings.weights, face.images, face.landmarks)
        self._random = torch.Generator().manual_seed(refiner.seed)
        self._correction = face.images.new_zeros(())

    @torch.no_grad()
    def refresh(self) -> None:
        """Measure what the cheap picture gets wrong here."""
        full = resize_area(self.tuning.run(self._whole), SKETCH)
        self._correction = full - self.tuning.run(self._small)

    def coarse(self) -> Tensor:
        return self.sketched.coarse(self.tuning.run(self._small) + self._correction)

    def full(self, turn: int) -> Tensor:
        return self.views.turn(turn, lambda: self.tuning.run(self._whole), self._square)

    def local(self) -> Tensor:
        """How far the tuned generator is from the original one at a code `distance` from the pivot (equation 5)."""
        codes, generator = self.start.latents, self.generator
        with torch.no_grad():
            z = torch.randn(1, generator.w_avg.numel(), generator=self._random).to(codes)
            far = far_code(codes, generator.w_avg.lerp(generator.map(z), _TRUNCATION), self.settings.distance)
            before = sketch(generator, far)
        return self.settings.local * self.sketched.close(self.tuning.run(lambda g: sketch(g, far)), before)

    def _whole(self, generator: Any) -> Tensor:
        made: Tensor = generator.synthesize(self.start.latents, inject=self._inject(generator)).image
        return made

    def _small(self, generator: Any) -> Tensor:
        return sketch(generator, self.start.latents, self._inject(generator))

    def _square(self, tile: Tile) -> Tensor:
        def square(generator: Any) -> Tensor:
            codes = self.start.latents
            feature = self._inject(generator).get(POINT)
            feature = generator.features(codes, (POINT,))[POINT] if feature is None else feature
            return render_tile(generator, codes, feature, tile)

        return self.tuning.run(square)

    def _inject(self, generator: Any) -> dict[Any, Tensor]:
        """Residuals of a refiner before this one, on the tuned generator's own features."""
        residuals = self.start.residuals
        plain = generator.features(self.start.latents, tuple(residuals)) if residuals else {}
        return {point: plain[point] + residual for point, residual in residuals.items()}


def sketch(generator: Any, codes: Tensor, inject: dict[Any, Tensor] | None = None) -> Tensor:
    """The cheapest picture that the generator has, n x 3 x 128 x 128."""
    make = generator.sketch if isinstance(generator, SketchGenerator) else generator.preview
    return resize_area(make(codes, inject=inject).image, SKETCH)


_DEFAULT = PTISettings()


@refiners.register("pti", LIKENESS, f"{VERSION} {_DEFAULT}", looks_at_landmarks(_DEFAULT.weights), TIME)
def build_pti(parts: Parts, generator: Generator) -> Refiner:
    """Seeded by the run's seed."""
    fitting = parts.fitting
    return PTIRefiner(generator, parts.likeness(), seed=fitting.seed, seconds=fitting.seconds_per_face)
