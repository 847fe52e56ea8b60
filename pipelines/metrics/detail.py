"""`detail` and `sharpness`: what became of the photo's finest band (pores, lashes, single hairs) inside the face.

The band is grey minus its Gaussian blur of sigma 2 px at 1024 px, so what is finer than about 4 px. The face is the hull of
the source's landmarks with its forehead (`pipelines.metrics.background`), without a margin.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pipelines.metrics.background import outside_face
from pipelines.metrics.faces import FULL, Faces, Trio
from pipelines.metrics.filters import gaussian
from pipelines.metrics.registry import metrics
from pipelines.metrics.tools import LANDMARKS, Tools

SIGMA, _TAPS = 2.0, 17
_FLAT = 1e-3  # grey levels; a photo whose finest band deviates less has none


def finest_band(grey: Tensor) -> Tensor:
    """n x 1 x H x W grey levels minus their blur; borders are mirrored."""
    half = _TAPS // 2
    return grey - gaussian(F.pad(grey, (half,) * 4, mode="reflect"), SIGMA, _TAPS)


def compare_bands(source: Tensor, result: Tensor, inside: Tensor) -> tuple[Tensor, Tensor]:
    """Correlation of two bands inside a mask, and the ratio of their standard deviations.

    Args:
        source, result: n x 1 x H x W.
        inside: n x 1 x H x W bool.

    Returns:
        (n correlations in [-1, 1], n ratios >= 0), result to source. NaN where the mask is empty or the source is flat;
        a flat result correlates 0.
    """
    count = inside.sum(dim=(1, 2, 3))
    a, b = (torch.where(inside, band, 0) for band in (source, result))
    a, b = (torch.where(inside, x - (x.sum(dim=(1, 2, 3)) / count)[:, None, None, None], 0) for x in (a, b))
    aa, bb, ab = (product.sum(dim=(1, 2, 3)) / count for product in (a * a, b * b, a * b))
    aa = torch.where(aa > _FLAT**2, aa, torch.nan)
    return ab / (aa * bb).sqrt().clamp_min(1e-12), (bb / aa).sqrt()


def _compared(trio: Trio) -> tuple[Tensor, Tensor]:
    """For both metrics at once."""

    def compare() -> tuple[Tensor, Tensor]:
        return compare_bands(_band(trio.source), finest_band(trio.result.grey), _inside(trio.source))

    return trio.result.memo("finest-band", compare)


def _band(faces: Faces) -> Tensor:
    return faces.memo("finest-band", lambda: finest_band(faces.grey))


def _inside(faces: Faces) -> Tensor:
    """n x 1 x 1024 x 1024 bool; empty where no face was found."""

    def masks() -> Tensor:
        outside = np.stack([outside_face(landmarks, FULL, margin=0) for landmarks in faces.landmarks])
        known = outside.any(axis=(1, 2), keepdims=True)  # where there is no face, nothing is outside it
        return torch.from_numpy(~outside & known)[:, None].to(faces.device)

    return faces.memo("inside-face", masks)


class Detail:
    """`detail`: correlation with the source's finest band. 1 is the photo's own detail, 0 another picture's."""

    name = "detail"

    def score(self, trio: Trio) -> dict[str, Tensor]:
        """{name: n values in [-1, 1]}; NaN where the source shows no face."""
        return {self.name: _compared(trio)[0]}


class Sharpness:
    """`sharpness`: the finest band's standard deviation as a ratio to the source's. 1 is as sharp (or as grainy) as the
    photo, less is softer, more is crackled; neither side is better."""

    name = "sharpness"

    def score(self, trio: Trio) -> dict[str, Tensor]:
        """{name: n values >= 0}; NaN where the source shows no face."""
        return {self.name: _compared(trio)[1]}


@metrics.register(
    Detail.name, "correlation of the face's finest band, 1024 px", "higher", weights=(LANDMARKS,), of_edits=True
)
def _detail(_: Tools) -> Detail:
    return Detail()


@metrics.register(
    Sharpness.name,
    "the face's finest band, ratio to the source's, 1024 px",
    "none",
    weights=(LANDMARKS,),
    of_edits=True,
)
def _sharpness(_: Tools) -> Sharpness:
    return Sharpness()
