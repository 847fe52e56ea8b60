"""Tone: the photo's own light and colour, kept under an edit; grey photos stay grey and tinted ones tinted."""

from __future__ import annotations

import torch
from torch import Tensor

from pipelines.stages.compose.filters import luma, smoothstep, weighted_blur

# [-1, 1] units: below and above these a pixel is of a tooth or an eye.
WHITE_SATURATION, WHITE_LUMA = (0.8, 0.4), (-0.3, 0.1)
WHITE_CHROMA = 0.3  # share of the tone's colour that such pixels take
FLAT_CHROMA = (0.012, 0.03)  # deviation off the line, [-1, 1] units: below it colours lie on a line, above they do not


def local_tone(photo: Tensor, render: Tensor, agree: Tensor, sigma: float) -> Tensor:
    """The low band of photo - render, n x 3 x H x W, counted where `agree` n x 1 x H x W says that both show the same."""
    return weighted_blur(photo - render, agree + 1e-3, sigma)


def white_kept(render: Tensor, tone: Tensor) -> Tensor:
    """The tone to add to a render n x 3 x H x W, less of its colour where that is white.

    A tone is read from skin; what makes skin as tanned or as red as the photo's would make teeth yellow or red.
    """
    grey = luma(tone)
    return grey + (tone - grey) * (1 - (1 - WHITE_CHROMA) * whiteness(render))


def whiteness(picture: Tensor) -> Tensor:
    """n x 3 x H x W -> n x 1 x H x W in [0, 1]: bright and of little colour, as teeth and eyes are."""
    saturation = picture.amax(dim=1, keepdim=True) - picture.amin(dim=1, keepdim=True)
    return smoothstep(saturation, *WHITE_SATURATION) * smoothstep(luma(picture), *WHITE_LUMA)


def tint_line(images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """How far a photo's chroma is a function of its brightness alone: a grey or toned photo.

    Returns:
        offset, slope n x 3 x 1 x 1: chroma = offset + slope * luma on the line; share n x 1 x 1 x 1: 1 where every
        colour lies on it, 0 where they do not.
    """
    grey = luma(images)
    chroma = images - grey
    mean, middle = grey.mean(dim=(2, 3), keepdim=True), chroma.mean(dim=(2, 3), keepdim=True)
    centred = grey - mean
    slope = ((chroma - middle) * centred).mean(dim=(2, 3), keepdim=True) / (
        centred.square().mean(dim=(2, 3), keepdim=True) + 1e-6
    )
    offset = middle - slope * mean
    off = (chroma - offset - slope * grey).square().mean(dim=(1, 2, 3), keepdim=True).sqrt()
    return offset, slope, smoothstep(off, FLAT_CHROMA[1], FLAT_CHROMA[0])


def keep_tint(made: Tensor, line: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    """`made` n x 3 x H x W with its chroma on the photo's line, as far as the photo's own lies there."""
    offset, slope, share = line
    if share.device.type == "cpu" and not share.any():  # elsewhere asking would stall
        return made
    grey = luma(made)
    return torch.lerp(made, grey + offset + slope * grey, share)
