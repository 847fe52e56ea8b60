"""`--compose diffcam`: the edited render is laid into the photo where the edit is; then ghosts are taken out.

Diff-CAM editing (Song et al., ECCV 2022, arXiv 2207.08134) with means that fit one pass of a small generator. The mask is
read off the generator's own features (`pipelines.stages.compose.activation`) and is exactly 0 away from the edit.
Deghosting corrects the composite inside the mask (`pipelines.models.diffcam.deghost`, `.layers`), where the official
network makes the whole photo anew. Heads cannot turn within a mask: turns are made as `detail` makes them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pipelines.edits import Edit, make_edit
from pipelines.images.pixels import resize_area
from pipelines.models.diffcam.deghost import Decision, DeghostNet, decided, load_deghost
from pipelines.models.diffcam.lean import POINT, LeanDiffCAM
from pipelines.models.diffcam.masks import joined_mask
from pipelines.stages.compose import detail, regions
from pipelines.stages.compose.activation import (
    Mouth,
    beside_jaw,
    bounds,
    edit_masks,
    evidence,
    shaped_mouth,
)
from pipelines.stages.compose.detail import DetailComposer, build_detail
from pipelines.stages.compose.filters import enlarge
from pipelines.stages.compose.layers import resolved
from pipelines.stages.compose.lips import own_colours
from pipelines.stages.compose.manners import MANNERS, Manner
from pipelines.stages.compose.shape import within_outline
from pipelines.stages.compose.state import WORK, Prepared, joined, large, prepared, sized
from pipelines.stages.entry import Parts, composers
from pipelines.types import Composer, Composition, FaceBatch, Generator, Inversion, Point, Synthesis

VERSION = "5"
GHOSTS = "deghost-mobile-ffhq"


@dataclass(frozen=True)
class Scene:
    """One face on a CPU, all elsewhere: the photo with its render, and the render's feature n x C x 64 x 64."""

    photo: Prepared
    feature: Tensor


class DiffCAMComposer:
    """See the module and `pipelines.types.Composer`. Results do not depend on the batch: a CPU takes faces one by one.

    Args:
        classifier: of `ganinv train diffcam`; None: masks in closed form (docs/decisions/0060).
        deghost: None: the plain composite.
        heads: turns heads; its matte and hands, and where all edits may be (`regions.asked_region`; None: where each
            attribute lives, by landmarks), hold for all edits.
    """

    version = VERSION
    points: tuple[Point, ...] = (POINT,)

    def __init__(
        self,
        classifier: LeanDiffCAM | None = None,
        deghost: DeghostNet | None = None,
        heads: DetailComposer | None = None,
    ) -> None:
        self.classifier, self.deghost, self.heads = classifier, deghost, heads or DetailComposer()

    def steps(self, edit: Edit) -> Sequence[Edit]:
        """Turns one by one, then all else at once, each with a map of its own (specification, section 6)."""
        moving = [term for term in edit.terms if term[1] != 0]
        turns = [make_edit([term]) for term in moving if self._turns(term[0])]
        others = [term for term in moving if not self._turns(term[0])]
        return [*turns, make_edit(others)] if others else turns

    def _turns(self, name: str) -> bool:
        return self.heads.manner(name).way == "head"

    @torch.no_grad()
    def prepare(self, faces: FaceBatch, inversion: Inversion, base: Synthesis) -> list[Scene]:
        """`inversion` is not read."""
        images, made, marks, feature = large(faces.images), large(base.image), faces.points(), base.features[POINT]
        step = 1 if images.device.type == "cpu" else len(images)
        parts = (slice(i, i + step) for i in range(0, len(images), step))
        behind = self.heads.matte, self.heads.hands
        return [Scene(prepared(images[i], marks[i], made[i], *behind), feature[i]) for i in parts]

    @torch.no_grad()
    def compose(self, state: list[Scene], edited: Synthesis, edit: Edit) -> Composition:
        """The photos with one step in them; where the mask is 0 their own pixels, bit for bit."""
        if self._turns(edit.terms[0][0]):
            return self.heads.compose([scene.photo for scene in state], edited, edit)
        made, parts, done = large(edited.image), [], 0
        for scene in state:
            part = slice(done, done + len(scene.feature))
            change = edited.features[POINT][part] - scene.feature
            parts.append(self._composed(scene.photo, made[part], change, edit))
            done = part.stop
        return sized(joined(parts), edited.image.shape[-1])

    def _composed(self, photo: Prepared, edited: Tensor, change: Tensor, edit: Edit) -> Composition:
        """The plain composite takes the render as it is."""
        small = resize_area(edited, WORK)
        shapes = any(_shapes_mouth(self.heads.manner(name)) for name, _ in edit.terms)
        mouth = shaped_mouth(photo, small) if shapes else None
        mask = self.mask(photo, change, edit, mouth)
        if self.deghost is None:
            plain = Decision(mask, torch.zeros_like(mask), mask.new_zeros(len(mask), 3, *mask.shape[2:]))
            image = decided(photo.images, photo.base, edited, plain)
        else:
            image = _deghosted(self.deghost, photo, edited, mask, mouth)
        return Composition(image, enlarge(mask, photo.factor), photo.face.points)

    def mask(self, photo: Prepared, change: Tensor, edit: Edit, mouth: Mouth | None) -> Tensor:
        """n x 1 x 256 x 256: where the feature changed, as far as each attribute reaches and nothing lies before the face;
        mouth: if the edit shapes it."""
        masks = edit_masks(evidence(self.classifier, change, edit))
        if self.heads.region is None:
            limits = [_limit(photo, self.heads.manner(name), mouth) for name, _ in edit.terms]
            masks = masks * torch.cat(limits, dim=1)
        else:
            masks = masks * regions.asked_region(photo.face, WORK, self.heads.region)
        return joined_mask(masks) * photo.free


def _deghosted(network: DeghostNet, photo: Prepared, edited: Tensor, mask: Tensor, mouth: Mouth | None) -> Tensor:
    """n x 3 x R x R; edited n x 3 x R x R, mask n x 1 x 256 x 256."""
    if mouth is not None:
        edited = own_colours(photo, edited, mouth.edited, mouth.after)
    decision = network(photo.photo, photo.render, resize_area(edited, WORK), mask)
    return resolved(photo, edited, decision, None if mouth is None else enlarge(mouth.cheeks, 4))


def _shapes_mouth(manner: Manner) -> bool:
    """A beard does not: it may darken a jaw."""
    return manner.region == "mouth" and manner.way == "shape"


def _limit(photo: Prepared, manner: Manner, mouth: Mouth | None) -> Tensor:
    """`bounds`; of an edit of the mouth nothing where no mouth is seen, as through a mask, and no other jaw: neither
    narrower, nor beyond the outline."""
    if manner.region != "mouth":
        return bounds(photo.face, manner)
    if mouth is None or not _shapes_mouth(manner):
        return bounds(photo.face, manner) * photo.mouth
    made = bounds(photo.face, manner, mouth.cheeks) * photo.mouth
    return made * within_outline(photo) * (1 - beside_jaw(photo, mouth))


@composers.register("diffcam", (GHOSTS, *detail.NETWORKS), f"{VERSION} {detail.VERSION} {MANNERS}", landmarks=True)
def build_diffcam(parts: Parts, generator: Generator) -> Composer:
    """Masks in closed form, and the shipped deghosting."""
    deghost = load_deghost(parts.tensors(GHOSTS)).to(parts.device) if parts.deghost else None
    return DiffCAMComposer(None, deghost, build_detail(parts, generator))
