"""Where an edit is, from the generator's features before and after it: the masks of the composer `diffcam`."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from pipelines.edits import Edit
from pipelines.models.diffcam.lean import SIDE, LeanDiffCAM
from pipelines.stages.compose import regions
from pipelines.stages.compose.areas import DRAWN
from pipelines.stages.compose.filters import blur, dilate, enlarge, smoothstep
from pipelines.stages.compose.flow import edit_flow
from pipelines.stages.compose.manners import Manner
from pipelines.stages.compose.regions import Face
from pipelines.stages.compose.shape import narrower_mouth
from pipelines.stages.compose.state import WORK, Prepared

LOW, HIGH = 0.15, 0.3  # of the greatest evidence: below the first nothing is the edit's, above the second everything
RIM = (-0.6, -0.3)  # units from the face's outline, inwards: from the second on a jaw may get narrower
CHEEKS = 0.6  # units from the lips, as far as a mouth takes its cheeks along
INWARDS = (-0.15, 0.15)  # units from the face's outline; cheeks go along within the first, less and less up to it
LIPS = (0.08, 0.15)  # units around lips, which are theirs
OFF = (0.3, 0.5)  # of a picture in [-1, 1]: a jaw that goes changes a place by more than light does
REACH = 5  # px of 256
SOFT = 2.0  # px of 32: half of a mouth is no mask


def change_energy(change: Tensor) -> Tensor:
    """n x C x 64 x 64 -> n x 1 x 32 x 32: how much a feature changed there more than everywhere; needs no training.

    Squared, over all channels, each less its mean over the picture: a style that changes shifts every place alike.
    """
    local = change - change.mean(dim=(2, 3), keepdim=True)
    return F.avg_pool2d(local.square().mean(dim=1, keepdim=True), change.shape[-1] // SIDE)


def evidence(network: LeanDiffCAM | None, change: Tensor, edit: Edit) -> Tensor:
    """One map for each attribute of an edit: n x K x 32 x 32, never below 0.

    In closed form where the feature changed most. A trained network's class maps are taken times the size of the change: alone,
    they are as large where a little says much as where the edit is.

    Args:
        change: n x C x 64 x 64, edited less unedited.
        edit: decides classes and signs.
    """
    known = {} if network is None else {name: place for place, name in enumerate(network.classes)}
    energy, made = change_energy(change), []
    for name, strength in edit.terms:
        place = known.get(name.split("@")[0])
        if network is None or place is None:
            made.append(energy)
        else:
            made.append(network.maps(change if strength > 0 else -change)[:, place : place + 1].relu() * energy.sqrt())
    return torch.cat(made, dim=1)


def edit_masks(maps: Tensor) -> Tensor:
    """Evidence n x K x 32 x 32 -> masks n x K x 256 x 256 in [0, 1], each by its own greatest.

    Unlike the official mask they are exactly 0 away from the edit, which is what keeps the photo's pixels. No evidence at all
    gives zeros.
    """
    wide = blur(maps, SOFT)
    top = wide.amax(dim=(2, 3), keepdim=True)
    share = torch.where(top > 0, wide / top.clamp_min(torch.finfo(maps.dtype).tiny), 0)
    return enlarge(smoothstep(share, LOW, HIGH), WORK // maps.shape[-1])


def bounds(face: Face, manner: Manner, cheeks: Tensor | None = None) -> Tensor:
    """Where an attribute may be, by landmarks: n x 1 x 256 x 256.

    An edit of codes also changes what it was not asked for, and there its feature changes too: a smile narrows eyes.

    Args:
        cheeks: of `Mouth`; None: those of a mouth that gets no narrower.
    """
    if manner.region != "mouth":
        draw = (regions.NAMED | DRAWN).get(manner.region, regions.face_region)  # "skin" is of the face
        return enlarge(draw(face, WORK // 4), 4)
    found = regions.mouth_region(face, WORK // 4)
    if manner.way == "shape":
        found = torch.maximum(found, cheeks_along(face) if cheeks is None else cheeks)
    # The cheeks that a smile lifts lie above, and would be half of its mask.
    return enlarge(found * regions.below_nose(face, WORK // 4), 4)


def cheeks_along(face: Face) -> Tensor:
    """n x 1 x 64 x 64: cheeks that go along with a mouth; not up to the face's outline, beside which the render may show
    something else than the photo."""
    outline = regions.polygon_distance(regions.oval(face), WORK // 4)
    return regions.mouth_region(face, WORK // 4, CHEEKS) * regions.soft(outline, face.unit, *INWARDS)


@dataclass(frozen=True)
class Mouth:
    """A mouth that an edit shapes.

    Attributes:
        edited: the render n x 3 x 256 x 256; after: landmarks there, n x 68 x 2, shares.
        narrower: how much it loses of its width, n x 1 x 1 x 1 in [0, 1]; cheeks: `cheeks_along`, of mouths that do not.
    """

    edited: Tensor
    after: Tensor
    narrower: Tensor
    cheeks: Tensor


def shaped_mouth(photo: Prepared, edited: Tensor) -> Mouth:
    """By the motion from the unedited render to the edited one, n x 3 x 256 x 256."""
    after = regions.moved_landmarks(photo.face.points, edit_flow(photo.render, edited))
    narrower = narrower_mouth(photo.face.points, after)
    return Mouth(edited, after, narrower, cheeks_along(photo.face) * (1 - narrower))


def beside_jaw(photo: Prepared, mouth: Mouth) -> Tensor:
    """n x 1 x 256 x 256: 1 where a face gets narrower, as its mouth does, and the render shows what may lie beside it.

    A mask cannot draw a jaw further in, as it knows nothing of the photo's background; there the photo stays.
    """
    lines = [points[:, list(regions.LIPS)] for points in (photo.face.points, mouth.after)]
    lips = torch.minimum(*(regions.polygon_distance(line, WORK // 4) for line in lines))
    inwards = regions.polygon_distance(regions.oval(photo.face), WORK // 4) / photo.face.unit.view(-1, 1, 1, 1)
    rim = enlarge(smoothstep(inwards, *RIM) * (1 - regions.soft(lips, photo.face.unit, *LIPS)), 4)
    off = blur(mouth.edited - photo.render, 1.5).square().mean(dim=1, keepdim=True).sqrt()
    return blur(dilate(smoothstep(off, *OFF), REACH) * rim, 3.0) * rim * mouth.narrower
