"""`--compose diffcam`: the edited render is laid into the photo where the edit is; then ghosts are taken out.

Diff-CAM editing (Song et al., ECCV 2022, arXiv 2207.08134) with means that fit one pass of a small generator: the mask comes
from the generator's own features (`pipelines.models.diffcam.lean`) and is exactly 0 away from the edit; deghosting corrects
the composite inside the mask (`pipelines.models.diffcam.deghost`), where the official network makes the whole photo anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pipelines.edits import Edit, make_edit
from pipelines.images.pixels import resize_area
from pipelines.models.diffcam.deghost import Decision, DeghostNet, decided, load_deghost
from pipelines.models.diffcam.lean import POINT, LeanDiffCAM, load_lean_diffcam
from pipelines.stages.compose import regions
from pipelines.stages.compose.activation import edit_mask, evidence
from pipelines.stages.compose.detail import region_of
from pipelines.stages.compose.filters import enlarge
from pipelines.stages.compose.state import WORK, Prepared, joined, large, prepared, sized
from pipelines.stages.entry import Parts, composers
from pipelines.types import Composer, Composition, FaceBatch, Generator, Inversion, Synthesis

VERSION = "1"
MASKS, GHOSTS = "diffcam-mobile-ffhq", "deghost-mobile-ffhq"


@dataclass(frozen=True)
class Scene:
    """One face on a CPU, all elsewhere: the photo with its render, and the render's feature n x C x 64 x 64."""

    photo: Prepared
    feature: Tensor


class DiffCAMComposer:
    """See the module and `pipelines.types.Composer`. Results do not depend on the batch: a CPU takes faces one by one.

    Args:
        classifier: None: the mask is where the feature changes most, whatever the attribute.
        deghost: None: the plain composite.
        region: where all edits may be, besides (`regions.asked_region`); None: anywhere.
    """

    version = VERSION
    points: tuple[int | str, ...] = (POINT,)

    def __init__(
        self,
        classifier: LeanDiffCAM | None = None,
        deghost: DeghostNet | None = None,
        region: str | Tensor | None = None,
    ) -> None:
        self.classifier, self.deghost, self.region = classifier, deghost, region

    def steps(self, edit: Edit) -> Sequence[Edit]:
        """All attributes at once, each with a map of its own (specification, section 6); none where nothing is asked for."""
        terms = [term for term in edit.terms if term[1] != 0]
        return [make_edit(terms)] if terms else []

    @torch.no_grad()
    def prepare(self, faces: FaceBatch, inversion: Inversion, base: Synthesis) -> list[Scene]:
        """`inversion` is not read."""
        images, made, marks, feature = large(faces.images), large(base.image), faces.points(), base.features[POINT]
        step = 1 if images.device.type == "cpu" else len(images)
        parts = (slice(i, i + step) for i in range(0, len(images), step))
        return [Scene(prepared(images[i], marks[i], made[i]), feature[i]) for i in parts]

    @torch.no_grad()
    def compose(self, state: list[Scene], edited: Synthesis, edit: Edit) -> Composition:
        """The photos with the edit in them; where the mask is 0 their own pixels, bit for bit."""
        made, parts, done = large(edited.image), [], 0
        for scene in state:
            part = slice(done, done + len(scene.feature))
            change = edited.features[POINT][part] - scene.feature
            parts.append(self._composed(scene.photo, made[part], change, edit))
            done = part.stop
        return sized(joined(parts), edited.image.shape[-1])

    def _composed(self, photo: Prepared, edited: Tensor, change: Tensor, edit: Edit) -> Composition:
        mask = edit_mask(evidence(self.classifier, change, edit))
        if self.region is not None:
            mask = mask * regions.asked_region(photo.face, WORK, self.region)
        decision = Decision(mask, torch.zeros_like(mask), mask.new_zeros(len(mask), 3, *mask.shape[2:]))
        if self.deghost is not None:
            decision = self.deghost(photo.photo, photo.render, resize_area(edited, WORK), mask)
        image = decided(photo.images, photo.base, edited, decision)
        return Composition(image, enlarge(mask, photo.factor), photo.face.points)


@composers.register("diffcam", (MASKS, GHOSTS), VERSION, landmarks=True)
def build_diffcam(parts: Parts, generator: Generator) -> Composer:
    """The shipped networks; a generator other than the one that the masks were trained on gets the closed form alone."""
    known = generator.name == "mobile-ffhq"
    classifier = load_lean_diffcam(parts.tensors(MASKS)).to(parts.device) if known else None
    deghost = load_deghost(parts.tensors(GHOSTS)).to(parts.device) if parts.deghost else None
    return DiffCAMComposer(classifier, deghost, region_of(parts.region))
