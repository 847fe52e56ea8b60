"""Small tensor operations that several networks share."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class _Butterfly(torch.autograd.Function):
    """Twice the inverse 2-D Haar step on channels-last memory, both ways without a permuting copy."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        n, channels, height, width = x.shape
        low, vertical, horizontal, diagonal = x.permute(0, 2, 3, 1).contiguous().chunk(4, dim=3)
        out = x.new_empty(n, height, 2, width, 2, channels // 4)
        sums, crosses = low + vertical, horizontal + diagonal
        torch.add(sums, crosses, out=out[:, :, 0, :, 0])
        torch.sub(sums, crosses, out=out[:, :, 0, :, 1])
        torch.sub(low, vertical, out=sums)
        torch.sub(horizontal, diagonal, out=crosses)
        torch.add(sums, crosses, out=out[:, :, 1, :, 0])
        torch.sub(sums, crosses, out=out[:, :, 1, :, 1])
        return out.view(n, 2 * height, 2 * width, channels // 4).permute(0, 3, 1, 2)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        gradient = gradients[0].permute(0, 2, 3, 1).contiguous()
        n, height, width, c = gradient.shape
        cells = gradient.view(n, height // 2, 2, width // 2, 2, c)
        a, b, d, e = cells[:, :, 0, :, 0], cells[:, :, 0, :, 1], cells[:, :, 1, :, 0], cells[:, :, 1, :, 1]
        out = gradient.new_empty(n, height // 2, width // 2, 4 * c)
        low, vertical, horizontal, diagonal = out.chunk(4, dim=3)
        top, bottom = a + b, d + e
        torch.add(top, bottom, out=low)
        torch.sub(top, bottom, out=vertical)
        torch.sub(a, b, out=top)
        torch.sub(d, e, out=bottom)
        torch.add(top, bottom, out=horizontal)
        torch.sub(top, bottom, out=diagonal)
        return out.permute(0, 3, 1, 2)


def double_inverse_haar(x: Tensor) -> Tensor:
    """*Twice* one inverse step of the orthonormal 2-D Haar transform: n x 4C x H x W -> n x C x 2H x 2W.

    Channels come in four bands of C: low, low-high, high-low, high-high (first letter: horizontal band, second:
    vertical). The factor of a half is left to the caller, who folds it into a factor that is applied anyway. Memory is
    channels-last in and out: on CPUs depthwise convolutions run several times faster there. Differentiable (once).
    """
    result: Tensor = _Butterfly.apply(x)
    return result


def band_order(channels: int) -> Tensor:
    """Indices that bring the published channel order (C low, then C x 3 others) into four bands of C."""
    c = channels // 4
    others = torch.arange(c, channels).view(c, 3)
    return torch.cat([torch.arange(c), others[:, 0], others[:, 1], others[:, 2]])


def pixel_norm(z: Tensor) -> Tensor:
    """z n x 512 scaled to unit mean square (Karras et al. 2018), eps 1e-8."""
    return z * torch.rsqrt(z.square().mean(dim=1, keepdim=True) + 1e-8)


def as_rows(w: Tensor, num_ws: int) -> Tensor:
    """w n x 512 or n x L x 512 -> n x L x 512 (a view; one w drives all rows).

    Raises:
        ValueError: the codes have another number of rows.
    """
    if w.ndim == 2:
        return w.unsqueeze(1).expand(-1, num_ws, -1)
    if w.shape[1] != num_ws:
        raise ValueError(f"codes have {w.shape[1]} rows, the generator reads {num_ws}")
    return w
