"""How the field's direction files are applied to codes, exactly as their authors do it.

`pipelines.stages.edit.direction_set` adds a vector times a strength, which covers InterFaceGAN (Shen et al., CVPR
2020). Two uses
of such files do more: a walk to given distances from InterFaceGAN's boundary, and GANSpace's edits (Härkönen et al.,
NeurIPS 2020), which *set* a principal coordinate instead of adding to it. Besides, the sweep of e4e (Tov et al., SIGGRAPH
2021): one code at many strengths.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class ComponentEdit(NamedTuple):
    """One GANSpace edit: component number `which`, rows `start` to `stop` - 1, and where its coordinate goes.

    `strength` counts in standard deviations of the component.
    """

    which: int
    start: int
    stop: int
    strength: float


def sweep(code: Tensor, direction: Tensor, factors: Sequence[float]) -> Tensor:
    """code 1 x L x 512 -> len(factors) x L x 512: the code plus each factor times the direction (L or 1 x 512)."""
    strengths = torch.tensor(factors, dtype=code.dtype, device=code.device)
    return code + strengths[:, None, None] * direction.to(code)


def boundary_walk(codes: Tensor, normal: Tensor, start: float, stop: float, steps: int) -> Tensor:
    """A w and a separating plane through the origin -> `steps` codes at even distances from the plane.

    Args:
        codes: 1 x 512.
        normal: 1 x 512, of unit length.
        start, stop: signed distances of the first and the last code.

    Returns:
        steps x 512: the code moved along the normal, whichever its own distance is.
    """
    distances = torch.linspace(start, stop, steps, dtype=codes.dtype, device=codes.device)
    normal = normal.to(codes)
    return codes + (distances - (codes @ normal.T).flatten())[:, None] * normal


def set_components(
    codes: Tensor, mean: Tensor, components: Tensor, deviations: Tensor, edits: Sequence[ComponentEdit]
) -> Tensor:
    """GANSpace: bring coordinates to given values. Each is read off row 0 of the original codes.

    Args:
        codes: n x L x 512.
        mean: 1 x 512, of the file.
        components: K x 1 x 512 (or K x 512), unit length.
        deviations: K, standard deviation of w along each component.
        edits: what to set, all read off the same unedited codes.

    Returns:
        n x L x 512, rows outside an edit's span unchanged.
    """
    edited = codes.clone()
    for which, start, stop, strength in edits:
        component = components[which].reshape(1, -1).to(codes)
        deviation = deviations[which].to(codes)
        coordinate = (codes[:, 0] - mean.to(codes)) @ component.T / deviation  # n x 1
        edited[:, start:stop] += ((strength - coordinate) * component * deviation)[:, None]
    return edited
