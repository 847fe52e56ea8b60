"""`--compose detail`: the picture of an edit is the photo, changed only where the edit is.

Three pictures of one face, the photo S, its unedited render I and the edited render E, tell what the edit means: E against I.
That meaning is carried over to S in one of three ways (`shape`, `skin`, `head`), inside a mask drawn from landmarks, never
where something covers the face. The residual S - I that follows the edit is the idea of distortion consultation (Wang et
al., HFGI, CVPR 2022) done in pixels; motion comes from the renders alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from pipelines.edits import Edit, make_edit
from pipelines.errors import PhotoError, UsageError
from pipelines.images.decode import decode, read_photo
from pipelines.models.faces.hands import HandFinder
from pipelines.models.faces.matte import PersonMatte
from pipelines.stages.compose import head, regions, shape, skin
from pipelines.stages.compose.filters import enlarge
from pipelines.stages.compose.manners import (
    MANNERS,
    Manner,
    MannerOf,
    Region,
    Term,
    Way,
    in_order,
    known_manner,
    measured_manner,
)
from pipelines.stages.compose.state import WORK, Matte, Prepared, everybody, joined, large, nobody, prepared, sized
from pipelines.stages.edit.direction_set import DirectionSet
from pipelines.stages.entry import Parts, composers
from pipelines.types import Composition, FaceBatch, Generator, Inversion, Point, Synthesis
from pipelines.weights.formats.tflite import read_tflite

VERSION = "8"
NETWORKS = ("person-matte", "palm-detection", "hand-landmarks")


class DetailComposer:
    """See the module and `pipelines.types.Composer`. Faces are composed one by one on a CPU, as a batch elsewhere; results do
    not depend on the batch.

    Args:
        manner: attribute -> how its edits are composed.
        region: where all edits may be, instead of where each attribute lives (`regions.asked_region`); None: the latter.
        matte, hands: see `state.Prepared`; without a matte a turned head's background is the render's.
    """

    version = VERSION
    points: tuple[Point, ...] = ()  # pictures are enough

    def __init__(
        self,
        manner: MannerOf = known_manner,
        region: str | Tensor | None = None,
        matte: Matte = everybody,
        hands: Matte = nobody,
    ) -> None:
        self.manner = manner
        self.matte, self.hands = matte, hands
        self.region = region

    def steps(self, edit: Edit) -> Sequence[Edit]:
        """One attribute each, head first, then shapes, then skin; strengths in the directions' own units."""
        terms = in_order(edit.terms, self.manner)
        return [make_edit([self._in_own_unit(name, strength)]) for name, strength in terms]

    def _in_own_unit(self, name: str, strength: float) -> Term:
        """Rows and strength that a person typed with the name (``age@8-17``) are taken as they are."""
        manner = self.manner(name)
        if "@" in name or not manner.rows:
            return name, strength if "@" in name else strength * manner.unit
        return f"{name}@{manner.rows}", strength * manner.unit

    @torch.no_grad()
    def prepare(self, faces: FaceBatch, inversion: Inversion, base: Synthesis) -> list[Prepared]:
        """One entry a face on a CPU, one for all elsewhere; `inversion` is not read."""
        images, made = large(faces.images), large(base.image)
        if images.device.type != "cpu":
            return [prepared(images, faces.landmarks, made, self.matte, self.hands)]
        marks = faces.points()
        each = zip(images.split(1), marks.split(1), made.split(1), strict=True)
        return [prepared(*face, self.matte, self.hands) for face in each]

    @torch.no_grad()
    def compose(self, state: list[Prepared], edited: Synthesis, edit: Edit) -> Composition:
        """The pictures of one step, rendered as `edited`; at strength 0 the photos, bit for bit."""
        [(name, strength)] = edit.terms
        side, made = edited.image.shape[-1], large(edited.image)
        if not strength:
            return sized(joined([_unchanged(part) for part in state]), side)
        manner, parts, done = self.manner(name), [], 0
        for part in state:
            parts.append(compose_one(part, made[done : done + len(part.images)], manner, self.region))
            done += len(part.images)
        return sized(joined(parts), side)


def compose_one(state: Prepared, edited: Tensor, manner: Manner, region: str | Tensor | None = None) -> Composition:
    """One edit of the faces of `state`; edited n x 3 x R x R; `region` as of `DetailComposer`."""
    if manner.way == "skin" and region is None and manner.region in skin.PAINTED:
        image, mask = skin.paint(state, edited, manner.region)
        return Composition(image, enlarge(mask, state.factor), state.face.points)
    part = region is None and manner.region in ("mouth", "beard", "eyes")  # rims of glasses are little of their region
    beard = region is None and manner.region == "beard"
    if region is None and manner.way != "shape" and manner.region != "face":
        region = manner.region
    asked = None if region is None else regions.asked_region(state.face, WORK, region)
    if manner.way == "skin":
        image, mask, landmarks = *skin.transfer(state, edited, asked, manner.colour, part, beard), state.face.points
    elif manner.way == "head":
        image, mask, landmarks = head.turn(state, edited, asked)
    else:
        image, mask, landmarks = shape.reshape(state, edited, manner.region, asked, manner.colour)
    return Composition(image, enlarge(mask, state.factor), landmarks)


def _unchanged(state: Prepared) -> Composition:
    return Composition(state.images, torch.zeros_like(state.images[:, :1]), state.face.points)


@composers.register("detail", version=f"{VERSION} {MANNERS}", weights=NETWORKS, landmarks=True)
def build_detail(parts: Parts, generator: Generator) -> DetailComposer:
    """A direction of whose manner neither `MANNERS` nor its card tells is measured once, on the generator's average face."""

    @cache
    def manner(name: str) -> Manner:
        if name.split("@")[0] in MANNERS:
            return known_manner(name)
        direction = parts.directions.get(name)
        if direction.way:
            return Manner(cast(Way, direction.way), cast(Region, direction.region or "face"))
        return _measured(generator, parts.directions, name)

    graphs = [read_tflite(parts.store.path(name)) for name in NETWORKS]
    matte, hands = PersonMatte(graphs[0]).to(parts.device), HandFinder(*graphs[1:]).to(parts.device)
    return DetailComposer(manner, region_of(parts.region), matte.eval(), hands.eval())


def region_of(asked: str | None) -> str | Tensor | None:
    """A name, or a grey picture from a file, n x 1 x R x R in [0, 1]. Raises UsageError for anything else."""
    if asked is None or asked in regions.NAMED:
        return asked
    try:
        picture = decode(read_photo(Path(asked)))
    except PhotoError:
        raise UsageError(f"--region {asked}: neither one of {', '.join(regions.NAMED)} nor a picture's file") from None
    return torch.from_numpy(picture).float().mean(dim=2)[None, None] / 255


@torch.no_grad()
def _measured(generator: Generator, directions: DirectionSet, name: str) -> Manner:
    codes = generator.w_avg.expand(1, generator.num_ws, -1)
    pair = torch.cat((codes, directions.apply(codes, [(name, 1.0)])))
    base, edited = generator.synthesize(pair).image.split(1)
    return measured_manner(large(base), large(edited))
