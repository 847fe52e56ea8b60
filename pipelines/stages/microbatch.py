"""Run an iterative method over faces in lanes of a fixed width, so that a face's result never depends on its batch.

Optimisation amplifies rounding: the same face in a batch of 4 and of 8 takes other kernels and drifts by grey levels
in a few dozen steps. Lanes have one width per device (1 on a CPU, where wider lanes buy no speed); a last, partly
filled lane is padded with its own first face.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pipelines.types import Inversion

CUDA_LANE = 8


def lane_width(device: torch.device) -> int:
    return CUDA_LANE if device.type == "cuda" else 1


def in_lanes(run: Callable[[Tensor], Inversion], count: int, device: torch.device) -> Inversion:
    """Call `run` with index tensors that cover 0..count-1, each as long as the device's lane; join the results."""
    width = lane_width(device)
    parts = []
    for start in range(0, count, width):
        real = list(range(start, min(start + width, count)))
        padded = real + [real[0]] * (width - len(real))
        parts.append(_head(run(torch.tensor(padded, device=device)), len(real)))
    return join(parts)


def _head(inversion: Inversion, count: int) -> Inversion:
    return Inversion(
        inversion.latents[:count],
        {point: residual[:count] for point, residual in inversion.residuals.items()},
        {name: values[:count] for name, values in inversion.scores.items()},
    )


def join(parts: list[Inversion]) -> Inversion:
    """Several inversions of one method as one, in order."""
    first = parts[0]
    return Inversion(
        torch.cat([part.latents for part in parts]),
        {point: torch.cat([part.residuals[point] for part in parts]) for point in first.residuals},
        {name: torch.cat([part.scores[name] for part in parts]) for name in first.scores},
    )


def select(inversion: Inversion, index: Tensor) -> Inversion:
    """The faces at `index`."""
    return Inversion(
        inversion.latents[index],
        {point: residual[index] for point, residual in inversion.residuals.items()},
        {name: values[index] for name, values in inversion.scores.items()},
    )
