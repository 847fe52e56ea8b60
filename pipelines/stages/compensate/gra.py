"""`--compensate gra`: what the codes lack, found coarse to fine once per photo, and aligned coarse to fine with every edit.

Two streams through the generator's lower blocks (Li et al., arXiv 2402.14398; `pipelines.models.gra.network`). The
reconstruction stream adds a residual at 16, 32 and 64 px, each found from the photo and from the feature as it arrives there,
corrected below. The editing stream starts from the edited codes and adds at each point the same residual, brought to where
the edited feature wants it. At strength 0 both are one, exactly.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from pipelines.errors import UsageError
from pipelines.images.pixels import resize_area
from pipelines.models.gra.align import Aligned, Source
from pipelines.models.gra.network import POINTS, GRANetwork, Pyramid, load_gra
from pipelines.stages.compensate.sdic import base_view
from pipelines.stages.entry import Parts, compensators
from pipelines.stages.render import PREVIEW, plain_features, tuned
from pipelines.types import Compensator, FaceBatch, Generator, Injection, Inversion, Point, Synthesis

ASSET = "gra-mobile-ffhq"
VERSION = "1"
TOP = POINTS[-1]


@dataclass(frozen=True)
class Part:
    """Faces that are made together: all of a batch, or one whose generator has weights of its own.

    Attributes:
        sources: of each stage.
        fused: n x C x 64 x 64, the corrected feature.
    """

    sources: Mapping[Point, Source]
    fused: Tensor


@dataclass(frozen=True)
class Prepared:
    """An inversion as it was given, the change n x L x 512 of its codes, and its parts in order; nothing has gradients."""

    inversion: Inversion
    change: Tensor
    parts: tuple[Part, ...]


def reconstruct(
    network: GRANetwork, generator: Generator, latents: Tensor, pyramid: Pyramid, own: Mapping[Point, Tensor]
) -> tuple[dict[Point, Source], Tensor]:
    """The reconstruction stream: each stage's source, and the corrected feature n x C x 64 x 64.

    Args:
        latents: n x L x 512.
        own: residuals that the inversion brings along, which count as the feature's own before a stage looks at it.
    """
    sources: dict[Point, Source] = {}

    def correct(x: Tensor, point: Point) -> Tensor:
        evening = network.evening(point)
        before = x + own[point] if point in own else x
        residual = network.lacking(point, pyramid, evening(before))
        if point in own:
            residual = residual + evening.size(own[point])
        sources[point] = network.aligner(point).source(evening(x), residual)
        return x + evening.back(residual)

    inject: dict[Point, Injection] = {point: partial(correct, point=point) for point in POINTS}
    return sources, generator.features(latents, (TOP,), inject=inject)[TOP]


def editing(
    network: GRANetwork, sources: Mapping[Point, Source], dense: bool = False
) -> tuple[dict[Point, Injection], dict[Point, Aligned]]:
    """The editing stream, as injections into a pass of edited codes, and what they align in that pass.

    Args:
        dense: every place is a candidate at every stage (for tests: 64 MB a face).
    """
    found: dict[Point, Aligned] = {}

    def align(x: Tensor, point: Point) -> Tensor:
        evening, place = network.evening(point), POINTS.index(point)
        parents = found[POINTS[place - 1]].match.index if place and not dense else None
        found[point] = network.aligner(point)(evening(x), sources[point], parents)
        return x + evening.back(found[point].residual)

    return {point: partial(align, point=point) for point in POINTS}, found


class GRACompensator:
    """See `pipelines.types.Compensator`.

    Residuals that refiners left are carried along where they sit at a stage's point, as `feature` leaves them.
    """

    version = VERSION

    def __init__(self, generator: Generator, network: GRANetwork) -> None:
        self.generator = generator
        self.network = network

    @torch.no_grad()
    def prepare(self, faces: FaceBatch, inversion: Inversion) -> Prepared:
        """The network reads the photos at 256 px.

        Raises:
            UsageError: the inversion has a residual at another point than the network's.
        """
        if other := [point for point in inversion.residuals if point not in POINTS]:
            raise UsageError(f"gra carries residuals at {POINTS}, not at {other[0]!r}: choose --compensate residual")
        picture, _ = base_view(self.generator, inversion)
        pyramid = self.network.look(resize_area(faces.images, PREVIEW), picture)
        change = self.network.change(pyramid, inversion.latents)
        parts = []
        for where in _parts(inversion):
            one = inversion[where]
            with _weights(self.generator, one):
                sources, fused = reconstruct(
                    self.network, self.generator, one.latents, pyramid.of(where), one.residuals
                )
            parts.append(Part(sources, fused))
        return Prepared(inversion, change, tuple(parts))

    @torch.no_grad()
    def render(self, prepared: Prepared, latents: Tensor, points: tuple[Point, ...] = ()) -> Synthesis:
        """Codes n x L x 512, edited from the inversion's own -> n x 3 x R x R, with their plain features at `points`.

        The inversion's own latents give the reconstruction.
        """
        unedited = latents is prepared.inversion.latents
        images = []
        for where, part in zip(_parts(prepared.inversion), prepared.parts, strict=True):
            codes = latents[where] + prepared.change[where]
            inject = {TOP: part.fused} if unedited else editing(self.network, part.sources)[0]
            with _weights(self.generator, prepared.inversion[where]):
                images.append(self.generator.synthesize(codes, inject=inject).image)
        plain = plain_features(self.generator, prepared.inversion, latents, points)
        return Synthesis(torch.cat(images), plain)


def _parts(inversion: Inversion) -> list[slice]:
    """All faces at once; where each has weights of its own, face by face."""
    count = len(inversion)
    return [slice(i, i + 1) for i in range(count)] if inversion.deltas else [slice(0, count)]


def _weights(generator: Generator, one: Inversion) -> AbstractContextManager[None]:
    """The generator's weights for one part's faces."""
    if not one.deltas:
        return nullcontext()
    return tuned(generator, {name: delta[0] for name, delta in one.deltas.items()})


@compensators.register("gra", (ASSET,), VERSION)
def build_gra(parts: Parts, generator: Generator) -> Compensator:
    """The shipped network."""
    network = load_gra(parts.tensors(ASSET), generator.num_ws).to(parts.device)
    return GRACompensator(generator, network)
