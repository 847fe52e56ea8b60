"""Where an edit is, from the generator's features before and after it: the masks of the composer `diffcam`."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from pipelines.edits import Edit
from pipelines.models.diffcam.lean import SIDE, LeanDiffCAM
from pipelines.models.diffcam.masks import joined_mask
from pipelines.stages.compose.filters import blur, enlarge, smoothstep
from pipelines.stages.compose.state import WORK

LOW, HIGH = 0.15, 0.45  # of the greatest evidence: below the first nothing is the edit's, above the second everything
SOFT = 1.0  # px of 32


def change_size(change: Tensor) -> Tensor:
    """n x C x 64 x 64 -> n x 1 x 32 x 32: how much a feature changed there more than everywhere; no training."""
    size = (change - change.mean(dim=(2, 3), keepdim=True)).square().mean(dim=1, keepdim=True)
    return F.avg_pool2d(size, change.shape[-1] // SIDE).sqrt()


def evidence(network: LeanDiffCAM | None, change: Tensor, edit: Edit) -> Tensor:
    """One map for each attribute of an edit: n x K x 32 x 32, never below 0.

    An attribute that the network was not trained on is where the feature changed most.

    Args:
        change: n x C x 64 x 64, edited less unedited.
        edit: decides classes and signs.
    """
    known = {} if network is None else {name: place for place, name in enumerate(network.classes)}
    made = []
    for name, strength in edit.terms:
        place = known.get(name.split("@")[0])
        if network is None or place is None:
            made.append(change_size(change))
        else:
            made.append(network.maps(change if strength > 0 else -change)[:, place : place + 1].relu())
    return torch.cat(made, dim=1)


def edit_mask(maps: Tensor) -> Tensor:
    """Evidence n x K x 32 x 32 -> n x 1 x 256 x 256 in [0, 1], each class by its own greatest, then the greatest of all.

    Unlike the official mask it is exactly 0 away from the edit, which is what keeps the photo's pixels. No evidence at all
    gives zeros.
    """
    top = maps.amax(dim=(2, 3), keepdim=True)
    share = torch.where(top > 0, maps / top.clamp_min(torch.finfo(maps.dtype).tiny), 0)
    solid = smoothstep(blur(share, SOFT), LOW, HIGH)
    return joined_mask(enlarge(solid, WORK // maps.shape[-1]))
