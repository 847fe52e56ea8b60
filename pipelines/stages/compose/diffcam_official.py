"""`--compose diffcam-official`: Diff-CAM editing as published, with the authors' two networks (Song et al., arXiv 2207.08134).

Two generated pictures give the mask, the composite is shrunk to 128 px, and the whole photo is made anew from there: nothing of
its own pixels is left, and everything finer than 8 px is the network's. `--deghost off` gives the composite itself. Needs
`ganinv weights convert` of both published files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pipelines.edits import Edit, make_edit
from pipelines.images.pixels import resize_area
from pipelines.models.diffcam.classifier import INDICES, DiffCAM, load_diffcam
from pipelines.models.diffcam.glean import Deghosting, load_deghosting
from pipelines.models.diffcam.masks import MASK_SIDE, composed, joined_mask, official_masks
from pipelines.stages.entry import Parts, composers
from pipelines.types import Composer, Composition, FaceBatch, Generator, Inversion, Point, Synthesis

VERSION = "1"
CLASSIFIER, DEGHOSTING = "diffcam", "diffcam-deghosting"
BOTTLENECK = 128  # px
# Our directions -> (published class, +1 or -1: what a positive strength adds).
CLASSES = {name: (index, 1) for name, index in INDICES.items()} | {
    "age": (INDICES["old"], 1),
    "eyes_open": (INDICES["narrow_eyes"], -1),
    "glasses": (INDICES["eyeglasses"], 1),
}


@dataclass(frozen=True)
class Scene:
    """Photos n x 3 x R x R and their renders n x 3 x 256 x 256."""

    images: Tensor
    base: Tensor


class OfficialComposer:
    """See the module and `pipelines.types.Composer`.

    Args:
        classifier: gives the masks.
        deghosting: None: the composite as it is.
    """

    version = VERSION
    points: tuple[Point, ...] = ()

    def __init__(self, classifier: DiffCAM, deghosting: Deghosting | None) -> None:
        self.classifier, self.deghosting = classifier, deghosting

    def steps(self, edit: Edit) -> Sequence[Edit]:
        """All attributes at once; none where nothing is asked for."""
        terms = [term for term in edit.terms if term[1] != 0]
        return [make_edit(terms)] if terms else []

    @torch.no_grad()
    def prepare(self, faces: FaceBatch, inversion: Inversion, base: Synthesis) -> Scene:
        """`inversion` is not read."""
        return Scene(faces.images, resize_area(base.image, MASK_SIDE))

    @torch.no_grad()
    def compose(self, scene: Scene, edited: Synthesis, edit: Edit) -> Composition:
        """The mask is one everywhere where the photo was made anew."""
        parts = [self._one(scene, edited.image, edit, slice(i, i + 1)) for i in range(len(scene.images))]
        image, mask = (torch.cat(found) for found in zip(*parts, strict=True))
        return Composition(image, mask)

    def _one(self, scene: Scene, edited: Tensor, edit: Edit, index: slice) -> tuple[Tensor, Tensor]:
        photo, made = scene.images[index], edited[index]
        mask = self.mask(scene.base[index], resize_area(made, MASK_SIDE), edit)
        fused = composed(photo, made, mask)
        if self.deghosting is not None:
            return self.deghosting(resize_area(fused, BOTTLENECK)), torch.ones_like(photo[:, :1])
        times = photo.shape[-1] // MASK_SIDE
        return fused, mask.repeat_interleave(times, dim=2).repeat_interleave(times, dim=3)

    def mask(self, base: Tensor, edited: Tensor, edit: Edit) -> Tensor:
        """n x 1 x 256 x 256: each attribute's own, then the greatest (specification, 6).

        What was taken away was there before: then both pictures change places (pitfall 2). An attribute without a class of its
        own takes the class that the network sees.
        """
        found = []
        for name, strength in edit.terms:
            index, sign = CLASSES.get(name.split("@")[0], (None, 1))
            maps = self.classifier.maps(*((base, edited) if strength * sign > 0 else (edited, base)))
            if index is None:
                seen = (maps.sum(dim=(2, 3)) + self.classifier.fc.bias).argmax(dim=1)
                chosen = maps.gather(1, seen.view(-1, 1, 1, 1).expand(-1, 1, *maps.shape[2:]))
            else:
                chosen = maps[:, index : index + 1]
            found.append(official_masks(chosen))
        return joined_mask(torch.cat(found, dim=1))


@composers.register("diffcam-official", (CLASSIFIER, DEGHOSTING), VERSION)
def build_official(parts: Parts, generator: Generator) -> Composer:
    """Both networks as they were converted; the second only where ghosts are to go."""
    classifier = load_diffcam(parts.tensors(CLASSIFIER)).to(parts.device)
    deghosting = load_deghosting(parts.tensors(DEGHOSTING)).to(parts.device) if parts.deghost else None
    return OfficialComposer(classifier, deghosting)
