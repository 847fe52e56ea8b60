"""`--compensate sdic`: what the codes lack is found once per photo and carried through every edit.

The network (`pipelines.models.sdic.official.SDICNetwork`) gives a feature F' and codes W' for a face. Kept are the
differences to the
plain ones: a residual F' - F on the 64 px feature and a change W' - W of the codes. An edit adds both to its own: the
feature of the edited codes plus the residual, moved and weakened as `pipelines.stages.compensate.residual.carried`
says, and above it the edited codes plus the change. At strength 0 that is the compensated inversion, exactly.

The official arithmetic (Zhang et al., arXiv 2312.07079, and its code) differs, and is kept for parity: it edits W', takes
the edited feature from there and adds the residual as it is; an edit of degree 0 is then another picture than the
inversion, because F belongs to W and not to W'.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pipelines.images.pixels import resize_area
from pipelines.models.sdic.lean import LeanSDIC
from pipelines.models.sdic.official import SDICNetwork, official_resize
from pipelines.stages.compensate.residual import carried, residual_gate
from pipelines.stages.microbatch import in_lanes, select
from pipelines.types import Generator, Injection, Inversion, Point, Synthesis

POINT: Point = 64
# Of the residual's gate: narrower than a fitted residual's, so that edits move farther (docs/decisions/0016).
WIDTH = 0.55


@dataclass(frozen=True)
class Prepared:
    """What edits of n faces need; all of them without gradients.

    Attributes:
        latents: n x L x 512, the inversion's own codes.
        change: n x L x 512, added to the codes above the feature.
        features: point -> n x C x r x r, plain features of `latents`.
        residuals: point -> the same shape; at 64 px the compensator's, joined with the inversion's own.
        discrepancy: n x 3 x 256 x 256, the map, for looking at.
    """

    latents: Tensor
    change: Tensor
    features: dict[Point, Tensor]
    residuals: dict[Point, Tensor]
    discrepancy: Tensor


def base_view(generator: Generator, inversion: Inversion) -> tuple[Tensor, dict[Point, Tensor]]:
    """What a network compensates: the inversion's picture n x 3 x 256 x 256, and its plain features.

    Features are those at 64 px and wherever the inversion has a residual. The picture comes through the generator's
    cheap head, in training and here alike, so the upper blocks run for results only.
    """
    if not inversion.residuals:
        made = generator.preview(inversion.latents, collect=(POINT,))
        return made.image, made.features
    features = generator.features(inversion.latents, tuple({POINT: None, **inversion.residuals}))
    inject: dict[Point, Injection] = {p: features[p] + residual for p, residual in inversion.residuals.items()}
    return generator.preview(inversion.latents, inject=inject).image, features


def carry(
    residual: Tensor, base: Tensor, edited: Tensor, network: SDICNetwork | None = None, width: float = WIDTH
) -> Tensor:
    """The part of the residual n x C x H x W that an edit from feature `base` to `edited` keeps, where it now belongs.

    `carried`, corrected by the network where that has learned to (`pipelines.models.sdic_carry`). Where base and edited agree
    everywhere, the result is the residual, exactly.
    """
    moved = carried(residual, base, edited, width)
    if isinstance(network, LeanSDIC) and network.carry is not None:
        return network.corrected(moved, residual, base, edited, 1 - residual_gate(base, edited, width))
    return moved


class SDICCompensator:
    """See `pipelines.types.Compensator`.

    Args:
        generator: offers a feature at point 64.
        network: `LeanSDIC`, or the official `SDIC`.
        official: the official arithmetic of picture, resizing and edits (see above).
        width: of the gate that lets a residual go under an edit (`pipelines.stages.compensate.residual.residual_gate`).
    """

    name = "sdic"
    version = "3"  # 2: as `pipelines.stages.compensate.residual.Editor`; 3: the gate

    def __init__(
        self, generator: Generator, network: SDICNetwork, official: bool = False, width: float = WIDTH
    ) -> None:
        self.generator = generator
        self.network = network
        self.official = official
        self.width = width

    @torch.no_grad()
    def prepare(self, images: Tensor, base: Synthesis | None, inversion: Inversion) -> Prepared:
        """images n x 3 x R x R in [-1, 1], RGB.

        `base` (the inversion's full picture) is read by the official arithmetic alone, which renders it where it is None.
        """
        picture, features = self._view(base, inversion)
        feature = features[POINT]
        if POINT in inversion.residuals:
            feature = feature + inversion.residuals[POINT]
        found = self.network(resize_area(images, 256), picture, feature, inversion.latents)
        residuals = {**inversion.residuals, POINT: found.feature - features[POINT]}
        return Prepared(inversion.latents, found.latents - inversion.latents, features, residuals, found.discrepancy)

    def _view(self, base: Synthesis | None, inversion: Inversion) -> tuple[Tensor, dict[Point, Tensor]]:
        if not self.official:
            return base_view(self.generator, inversion)
        features = self.generator.features(inversion.latents, tuple({POINT: None, **inversion.residuals}))
        if base is None:
            inject: dict[Point, Injection] = {p: features[p] + r for p, r in inversion.residuals.items()}
            base = self.generator.synthesize(inversion.latents, inject=inject)
        return official_resize(base.image), features

    @torch.no_grad()
    def render(self, prepared: Prepared, latents: Tensor) -> Tensor:
        """Codes n x L x 512, edited from the inversion's own (*without* compensation) -> n x 3 x R x R.

        The unedited codes give the compensated inversion.
        """
        if latents is prepared.latents or torch.equal(latents, prepared.latents):
            return self._synthesize(prepared, latents, prepared.features, prepared.residuals)
        return self.edited(prepared, latents)

    @torch.no_grad()
    def edited(self, prepared: Prepared, latents: Tensor) -> Tensor:
        """As `render`, always by the way of edits; only the official arithmetic knows a difference at strength 0."""
        source = latents + prepared.change if self.official else latents
        features = self.generator.features(source, tuple(prepared.residuals))
        if self.official:
            return self._synthesize(prepared, latents, features, prepared.residuals)
        residuals = {
            point: carry(residual, prepared.features[point], features[point], self._corrector(point), self.width)
            for point, residual in prepared.residuals.items()
        }
        return self._synthesize(prepared, latents, features, residuals)

    def _corrector(self, point: Point) -> SDICNetwork | None:
        return self.network if point == POINT else None

    def _synthesize(
        self, prepared: Prepared, latents: Tensor, features: dict[Point, Tensor], residuals: dict[Point, Tensor]
    ) -> Tensor:
        inject: dict[Point, Injection] = {point: features[point] + residual for point, residual in residuals.items()}
        return self.generator.synthesize(latents + prepared.change, inject=inject).image


class SDICRefiner:
    """The compensation as an inversion of its own: codes W', and F' - F as their residual; see `pipelines.types.Refiner`.

    W' differs from W above the 64 px feature alone (`LeanSDIC.first_row`), so the residual belongs to the same feature, and
    edits carry it as they carry a fitted one. `--refine feature` may go on from here.
    """

    name = "sdic"
    version = "1"

    def __init__(self, generator: Generator, network: LeanSDIC) -> None:
        self.compensator = SDICCompensator(generator, network)

    def refine(self, images: Tensor, landmarks: Tensor | None, start: Inversion) -> Inversion:
        """images n x 3 x R x R in [-1, 1], RGB."""

        def lane(index: Tensor) -> Inversion:
            one = select(start, index)
            prepared = self.compensator.prepare(images[index], None, one)
            return Inversion(prepared.latents + prepared.change, prepared.residuals, one.scores)

        return in_lanes(lane, len(images), images.device)
