"""A small learned correction of how an edit carries a compensated face's residual along.

SDIC adds the residual to the edited feature unchanged, which draws ghosts where the edit moves something. The stage
first moves and weakens it without learning (`pipelines.stages.compensate.residual.carried`); this network corrects the
result, and only where the edited feature departs from the unedited one, so that strength 0 stays exactly the inversion.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class CarryNet(nn.Module):
    """What is added to `carried`: departure * (factor * carried + content); about 0.4 M parameters for 512 channels.

    The last layers are zeros: untrained, it adds nothing.
    """

    def __init__(self, channels: int = 512, read: int = 48, width: int = 96) -> None:
        super().__init__()
        self.read = nn.ModuleList(nn.Conv2d(channels, read, 1) for _ in range(4))
        self.mix = nn.Conv2d(4 * read + 1, width, 3, padding=1)
        self.work = nn.Conv2d(width, width, 3, padding=1)
        self.factor = nn.Conv2d(width, channels, 1)
        self.content = nn.Conv2d(width, channels, 1)
        for last in (self.factor, self.content):
            nn.init.zeros_(last.weight)
            assert last.bias is not None
            nn.init.zeros_(last.bias)

    def forward(self, carried: Tensor, residual: Tensor, base: Tensor, edited: Tensor, departure: Tensor) -> Tensor:
        """All n x C x H x W in units of the feature's deviation, `departure` n x 1 x H x W in [0, 1), 0 = unmoved."""
        parts = [read(x) for read, x in zip(self.read, (carried, residual, base, edited), strict=True)]
        x = F.leaky_relu(self.mix(torch.cat((*parts, departure), dim=1)), 0.2)
        x = F.leaky_relu(self.work(x), 0.2)
        result: Tensor = departure * (torch.tanh(self.factor(x)) * carried + self.content(x))
        return result
