"""Momentum whose steps are orthogonal matrices: every direction in which a kernel can change moves alike.

A kernel's gradient from one photo has few strong directions, and Adam follows those. With all singular values of a step
made equal (Jordan et al. 2024, "Muon"), the same number of steps gets further: `docs/refinement.md`.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

MOMENTUM = 0.9
_ITERATION = (3.4445, -4.7750, 2.0315)  # Jordan et al.'s polynomial: pushes singular values to about 1 in five rounds
_ROUNDS = 5
_TINY = 1e-12


class OrthogonalSteps:
    """Moves matrices; those without a gradient stay.

    Args:
        matrices: leaf tensors, each rows x columns.
    """

    def __init__(self, matrices: Iterable[Tensor]) -> None:
        self._matrices = list(matrices)
        self._momenta = [torch.zeros_like(matrix) for matrix in self._matrices]

    @torch.no_grad()
    def step(self, size: float) -> None:
        """One step, after which gradients are gone; `size` is the root mean square of its numbers."""
        for matrix, momentum in zip(self._matrices, self._momenta, strict=True):
            if matrix.grad is None:
                continue
            momentum.mul_(MOMENTUM).add_(matrix.grad)
            ahead = matrix.grad + MOMENTUM * momentum  # Nesterov's: where momentum will have led
            whole = max(matrix.shape) ** 0.5  # an orthogonal matrix's numbers are of the size 1 / sqrt(longer side)
            matrix.sub_(orthogonal(ahead), alpha=size * whole)
            matrix.grad = None


def orthogonal(matrix: Tensor) -> Tensor:
    """The nearest matrix, roughly, whose singular values are all 1 (they come out between 0.7 and 1.2); zeros stay zeros."""
    rows, columns = matrix.shape
    x = matrix.T if rows > columns else matrix
    x = x / (x.norm() + _TINY)
    first, second, third = _ITERATION
    for _ in range(_ROUNDS):
        square = x @ x.T
        x = first * x + (second * square + third * square @ square) @ x
    made: Tensor = x.T if rows > columns else x
    return made
