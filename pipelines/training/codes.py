"""Codes to train on, drawn from the generator's own w: any truncation, style mixing, rows that drift apart."""

from __future__ import annotations

import torch
from torch import Tensor

from pipelines.types import Generator


def draw_codes(generator: Generator, rng: torch.Generator) -> Tensor:
    """One W+ code, 1 x L x dim (512): truncation 0.4 to 1 (half of them 1), half mixed, four in ten with per-row noise."""
    pair = generator.map(torch.randn(2, generator.w_avg.numel(), generator=rng).to(generator.device))
    # Half of the codes are untruncated: those are the hardest, and optimisers visit them.
    psi = (0.4 + 1.2 * torch.rand(2, 1, generator=rng)).clamp(max=1.0).to(pair)
    pair = generator.w_avg + psi * (pair - generator.w_avg)
    rows = pair[:1].unsqueeze(1).repeat(1, generator.num_ws, 1)
    kind = torch.rand(3, generator=rng)
    if kind[0] < 0.5:
        cut = int(torch.randint(1, generator.num_ws, (1,), generator=rng))
        rows[:, cut:] = pair[1]
    if kind[1] < 0.4:
        scale = 0.3 * float(torch.rand(1, generator=rng))
        rows = rows + scale * generator.w_std * torch.randn(rows.shape, generator=rng).to(pair)
    return rows
