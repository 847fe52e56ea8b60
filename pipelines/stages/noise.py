"""Whether an edit went so far that the generator makes colour noise and no face any more.

Codes far outside of what a generator knows end as saturated stripes and spots. No face has such: its colour changes slowly,
whatever its brightness does. So the generator's own picture is compared with its picture before the edit.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from pipelines.images.pixels import resize_area

SIDE = 128  # px: finer grain is no noise of this kind, and costs
BLOCKS = 8  # a side: a ruined mouth is one sixty-fourth of the picture
LIMIT = 0.08  # see docs/decisions/0045


def colour_noise(images: Tensor) -> Tensor:
    """How much colour changes from pixel to pixel, in the picture's most restless part.

    Args:
        images: n x 3 x R x R, RGB, [-1, 1]; what lies outside is cut off.

    Returns:
        n numbers, at least 0: the mean step of a channel's difference from grey, in both ways together.
    """
    small = resize_area(images.detach().float().clamp(-1, 1), SIDE)
    colour = small - small.mean(1, keepdim=True)
    steps = colour.diff(dim=2)[..., 1:].abs() + colour.diff(dim=3)[..., 1:, :].abs()
    return F.adaptive_avg_pool2d(steps.mean(1), BLOCKS).flatten(1).amax(1)


def is_noise(edited: Tensor, quiet: Tensor) -> Tensor:
    """n booleans, on the device: whether the edited pictures are noise.

    Args:
        edited: n x 3 x R x R, what the generator makes of the moved codes, before it is composed.
        quiet: n, `colour_noise` of the same faces before the edit: a colourful photo is no noise.
    """
    return colour_noise(edited) - quiet > LIMIT
