"""`--compensate sdic`: what the codes lack is found once per photo and carried through every edit.

The network (`pipelines.models.sdic.official.SDICNetwork`) gives a feature F' and codes W' for a face. Kept are the
differences to the plain ones: a residual F' - F on the 64 px feature and a change W' - W of the codes. An edit adds both to
its own: the feature of the edited codes plus the residual, moved and weakened as
`pipelines.stages.compensate.residual.transport` says, and above it the edited codes plus the change. At strength 0 that is
the compensated inversion, exactly.

The official arithmetic (Zhang et al., arXiv 2312.07079, and its code) differs, and is kept for parity: it edits W', takes
the edited feature from there and adds the residual as it is; an edit of degree 0 is then another picture than the
inversion, because F belongs to W and not to W'.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pipelines.images.pixels import resize_area
from pipelines.models.sdic.lean import LeanSDIC, load_lean
from pipelines.models.sdic.official import SDICNetwork, official_resize
from pipelines.stages.compensate import residual
from pipelines.stages.compensate.residual import transport
from pipelines.stages.entry import Parts, compensators
from pipelines.stages.render import PREVIEW, plain_features, render
from pipelines.types import Compensator, FaceBatch, Generator, Inversion, Point, Synthesis

ASSET = "sdic-mobile-ffhq"
VERSION = "3"  # 2: as the residual's; 3: the gate
POINT: Point = 64
# Of the residual's gate: narrower than a fitted residual's, so that edits move farther (docs/decisions/0016).
WIDTH = 0.55


@dataclass(frozen=True)
class Prepared:
    """What edits of n faces need; all of them without gradients.

    Attributes:
        inversion: as it was given.
        change: n x L x 512, added to the codes above the feature.
        features: point -> n x C x r x r, plain features of the inversion's codes.
        residuals: point -> the same shape; at 64 px the compensator's, joined with the inversion's own.
        discrepancy: n x 3 x 256 x 256, the map, for looking at.
    """

    inversion: Inversion
    change: Tensor
    features: dict[Point, Tensor]
    residuals: dict[Point, Tensor]
    discrepancy: Tensor


def base_view(generator: Generator, inversion: Inversion) -> tuple[Tensor, dict[Point, Tensor]]:
    """What a network compensates: the inversion's picture n x 3 x 256 x 256, and its plain features.

    Features are those at 64 px and wherever the inversion has a residual. The picture comes through the generator's
    cheap head, in training and here alike, so the upper blocks run for results only.
    """
    made = render(generator, inversion, collect=(POINT,), size=PREVIEW)
    return made.image, made.features


class SDICCompensator:
    """See `pipelines.types.Compensator`.

    Args:
        generator: offers a feature at point 64.
        network: `LeanSDIC`, or the official `SDIC`.
        official: the official arithmetic of picture, resizing and edits (see above).
        width: of the gate that lets a residual go under an edit (`pipelines.stages.compensate.residual.confidence`).
    """

    version = VERSION

    def __init__(
        self, generator: Generator, network: SDICNetwork, official: bool = False, width: float = WIDTH
    ) -> None:
        self.generator = generator
        self.network = network
        self.official = official
        self.width = width

    @torch.no_grad()
    def prepare(self, faces: FaceBatch, inversion: Inversion) -> Prepared:
        """The network reads the photos at 256 px."""
        picture, features = self._view(inversion)
        feature = features[POINT]
        if POINT in inversion.residuals:
            feature = feature + inversion.residuals[POINT]
        found = self.network(resize_area(faces.images, PREVIEW), picture, feature, inversion.latents)
        residuals = {**inversion.residuals, POINT: found.feature - features[POINT]}
        return Prepared(inversion, found.latents - inversion.latents, features, residuals, found.discrepancy)

    def _view(self, inversion: Inversion) -> tuple[Tensor, dict[Point, Tensor]]:
        if not self.official:
            return base_view(self.generator, inversion)
        made = render(self.generator, inversion, collect=(POINT,))
        return official_resize(made.image), made.features

    @torch.no_grad()
    def render(self, prepared: Prepared, latents: Tensor, points: tuple[Point, ...] = ()) -> Synthesis:
        """Codes n x L x 512, edited from the inversion's own (*without* compensation) -> n x 3 x R x R.

        The inversion's own latents give the compensated inversion.
        """
        if latents is prepared.inversion.latents:
            return self._synthesize(prepared, latents, prepared.features, prepared.residuals, points)
        return self.edited(prepared, latents, points)

    @torch.no_grad()
    def edited(self, prepared: Prepared, latents: Tensor, points: tuple[Point, ...] = ()) -> Synthesis:
        """As `render`, always by the way of edits; only the official arithmetic knows a difference at strength 0."""
        source = latents + prepared.change if self.official else latents
        at = tuple(dict.fromkeys((*prepared.residuals, *points)))
        features = plain_features(self.generator, prepared.inversion, source, at)
        if self.official:
            return self._synthesize(prepared, latents, features, prepared.residuals, points)
        residuals = {
            point: transport(found, prepared.features[point], features[point], self.width)
            for point, found in prepared.residuals.items()
        }
        return self._synthesize(prepared, latents, features, residuals, points)

    def _synthesize(
        self,
        prepared: Prepared,
        latents: Tensor,
        features: dict[Point, Tensor],
        residuals: dict[Point, Tensor],
        points: tuple[Point, ...],
    ) -> Synthesis:
        lacking = tuple(point for point in points if point not in features)
        if lacking:  # plain features are those of the codes before the change
            features = {**features, **plain_features(self.generator, prepared.inversion, latents, lacking)}
        return render(self.generator, prepared.inversion, latents + prepared.change, features, residuals)


@compensators.register("sdic", (ASSET,), f"{VERSION} {residual.VERSION} {WIDTH}")
def build_sdic(parts: Parts, generator: Generator) -> Compensator:
    """The shipped lean network."""
    return SDICCompensator(generator, load_sdic(parts, generator))


@compensators.register("sdic-wide", (ASSET,), f"{VERSION} {residual.VERSION} {residual.GATE_WIDTH}")
def build_wide_sdic(parts: Parts, generator: Generator) -> Compensator:
    """The same with the gate of fitted residuals: edits reach less far and keep more, which is what composing wants."""
    return SDICCompensator(generator, load_sdic(parts, generator), width=residual.GATE_WIDTH)


def load_sdic(parts: Parts, generator: Generator) -> LeanSDIC:
    """The shipped network on the parts' device, frozen."""
    return load_lean(parts.tensors(ASSET), generator.num_ws).to(parts.device)
