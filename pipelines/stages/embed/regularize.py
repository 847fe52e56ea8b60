"""What holds optimised codes where the generator's own codes lie: `--regularize lsap|delta|none`."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from pipelines.models.generators.style_space import StyleCentre

LSAP_WEIGHT = 0.05  # docs/refinement.md


class Regularizer(Protocol):
    """Losses of codes, n values."""

    def __call__(self, shared: Tensor, offsets: Tensor, codes: Tensor) -> Tensor:
        """shared n x 512 in whitened coordinates, offsets n x L x 512 in w's deviations, codes n x L x 512."""


class Delta:
    """A w near the mean, and rows near it: their mean squares (e4e's idea, Tov et al. 2021, section 5, in our coordinates).

    Args:
        prior: weight of the whitened w's.
        rows: weight of the offsets'.
    """

    def __init__(self, prior: float, rows: float) -> None:
        self.prior, self.rows = prior, rows

    def __call__(self, shared: Tensor, offsets: Tensor, codes: Tensor) -> Tensor:
        prior = self.prior * shared.square().mean(dim=1)
        return prior + self.rows * offsets.square().mean(dim=(1, 2))


class Aligned:
    """LSAP_O: styles that point where those of the generator's own codes point (Cao et al., arXiv 2209.12746).

    Per face the term is minus the sum of the rows' similarities, as in `style_space.aligned_distance`.
    """

    def __init__(self, centre: StyleCentre, weight: float = LSAP_WEIGHT) -> None:
        self.centre, self.weight = centre, weight

    def __call__(self, shared: Tensor, offsets: Tensor, codes: Tensor) -> Tensor:
        return -self.weight * self.centre.similarity(codes).sum(dim=1)


def unregularized(shared: Tensor, offsets: Tensor, codes: Tensor) -> Tensor:
    """Nothing: likeness alone decides."""
    return torch.zeros_like(shared[:, 0])
