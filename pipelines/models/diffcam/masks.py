"""Class activation masks in closed form, and the pictures that they compose (Diff-CAM; Song et al., arXiv 2207.08134).

A class's score is a linear layer on a global mean, so the channel weights of its Grad-CAM (Selvaraju et al., ICCV 2017) are
that layer's own row over the number of places: no backward pass is needed.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

MASK_SIDE = 256  # px, of the official mask
FOLD = 0.5  # above it a mask is turned over for ghosts, so that the photo always dominates


def class_maps(activation: Tensor, weight: Tensor) -> Tensor:
    """How much each place speaks for each class, before the ReLU and without the bias.

    Args:
        activation: n x C x h x w, what the global mean is taken of.
        weight: K x C, of the linear layer.

    Returns:
        n x K x h x w, which sum to the scores.
    """
    return F.conv2d(activation, weight[:, :, None, None] / (activation.shape[2] * activation.shape[3]))


def unit_range(maps: Tensor) -> Tensor:
    """n x K x H x W, each map less its least value, over what is then its greatest; a flat map becomes zeros.

    The official code divides 0 by 0 there, where a class has no evidence at all (a map without a positive place).
    """
    raised = maps - maps.amin(dim=(2, 3), keepdim=True)
    top = raised.amax(dim=(2, 3), keepdim=True)
    return torch.where(top > 0, raised / top.clamp_min(torch.finfo(maps.dtype).tiny), 0)


def official_masks(maps: Tensor) -> Tensor:
    """Maps n x K x h x w of `class_maps` -> masks n x K x 256 x 256 in [0, 1]: ReLU, bilinear, `unit_range`."""
    size = (MASK_SIDE, MASK_SIDE)
    return unit_range(F.interpolate(maps.relu(), size, mode="bilinear", align_corners=False))


def joined_mask(masks: Tensor) -> Tensor:
    """Several classes' masks n x K x H x W of one edit -> n x 1 x H x W, the greatest of each place (specification, 6)."""
    return masks.amax(dim=1, keepdim=True)


def folded(mask: Tensor) -> Tensor:
    """Values above a half turned over: at most 0.5, as ghosts to train on are made (specification, 7B)."""
    return torch.where(mask > FOLD, 1 - mask, mask)


def composed(photo: Tensor, edited: Tensor, mask: Tensor) -> Tensor:
    """n x 3 x R x R: the edited picture where the mask is 1, the photo, to the last bit, where it is 0.

    Args:
        photo, edited: n x 3 x R x R in about [-1, 1]; neither is clamped.
        mask: n x 1 x r x r in [0, 1], r a divisor of R; each value becomes a square, as in the official code.
    """
    times = photo.shape[-1] // mask.shape[-1]
    if times > 1:
        mask = F.interpolate(mask, scale_factor=times, mode="nearest")
    return torch.where(mask == 0, photo, edited * mask + photo * (1 - mask))
