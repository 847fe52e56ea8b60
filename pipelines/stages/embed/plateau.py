"""When to stop: a face is done once a whole window of steps has brought less than a given share of its loss."""

from __future__ import annotations

import torch
from torch import Tensor


class Plateau:
    """Watches the losses of n faces without a look at them by the host, except at the end of a window.

    The rule: a window's mean loss is at least (1 - `least`) times the mean of the window before it.

    Args:
        window: steps.
        least: share of the loss that a window has to bring.
    """

    def __init__(self, window: int, least: float) -> None:
        self.window, self.least = window, least
        self._sum: Tensor | None = None
        self._before: Tensor | None = None
        self._steps = 0

    def watch(self, losses: Tensor) -> Tensor | None:
        """losses n, >= 0 -> at a window's end which faces are done by it, n booleans on the losses' device; else None."""
        losses = losses.detach()
        self._sum = losses if self._sum is None else self._sum + losses
        self._steps += 1
        if self._steps % self.window:
            return None
        found, before = self._sum, self._before
        self._before, self._sum = found, None
        return torch.zeros_like(losses, dtype=torch.bool) if before is None else found > before * (1 - self.least)
