"""How the codes w of a generator are spread: what tells a likely face from an unlikely one."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

_LOWEST_SHARE = 1e-6  # of the covariance's largest eigenvalue: below, w hardly moves and would count as infinitely far


@torch.no_grad()
def w_statistics(
    mapping: Callable[[Tensor], Tensor], dim: int, samples: int, chunk: int, seed: int = 0
) -> dict[str, Tensor]:
    """``w_avg`` and ``w_std`` (dim), ``w_whiten`` (dim x dim) of `Generator`, float32 on the CPU, summed in float64.

    Args:
        mapping: standard normal z, n x dim on the CPU -> w n x dim, wherever it is computed.
        dim: of w.
        samples: how many z are mapped.
        chunk: how many at once; with the seed it decides the numbers.
        seed: of z.
    """
    rng = torch.Generator().manual_seed(seed)
    total = torch.zeros(dim, dtype=torch.float64)
    products = torch.zeros(dim, dim, dtype=torch.float64)
    for start in range(0, samples, chunk):
        w = mapping(torch.randn(min(chunk, samples - start), dim, generator=rng)).double().cpu()
        total += w.sum(dim=0)
        products += w.T @ w
    mean = total / samples
    covariance = products / samples - torch.outer(mean, mean)
    values, vectors = torch.linalg.eigh(covariance)
    whiten = vectors / values.clamp(min=float(values[-1]) * _LOWEST_SHARE).sqrt()
    return {
        "w_avg": mean.float(),
        "w_std": covariance.diagonal().clamp(min=0).sqrt().float(),
        "w_whiten": whiten.float().contiguous(),
    }
