"""`nscd`: how far a code's styles point from where those of the generator's own codes point.

The quantity of LSAP (Cao et al., arXiv 2209.12746); see `pipelines.models.generators.style_space.nscd` for this
project's definition.
Small means near the middle, not "as if sampled": of `mobile-ffhq`, the mean w reads 0.0002, its own codes truncated to a
half 0.034, untruncated 0.076, and with normal noise of w's own spread on every row 0.093.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pipelines.metrics.registry import metrics
from pipelines.metrics.tools import Tools
from pipelines.models.generators.style_space import StyleCentre, nscd
from pipelines.types import Inversion

ABOUT = "mean over rows of 1 - cosine between the code's style and the generator's mean normalised style"


class StyleDistance:
    """The metric for one generator.

    Args:
        centre: of the generator that the codes are for.
    """

    name = "nscd"

    def __init__(self, centre: StyleCentre) -> None:
        self._centre = centre

    @torch.no_grad()
    def score(self, faces: Inversion) -> Tensor:
        """n values in [0, 2]; lower is closer to the generator's own codes."""
        return nscd(faces.latents, self._centre)


@metrics.register(StyleDistance.name, ABOUT, "lower", kind="latent")
def _build(tools: Tools) -> StyleDistance:
    return StyleDistance(tools.codes.centre())
