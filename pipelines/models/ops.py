"""Small tensor operations that several networks share."""

from __future__ import annotations

import torch
from torch import Tensor


def inverse_haar(x: Tensor) -> Tensor:
    """One inverse step of the orthonormal 2-D Haar transform: n x 4C x H x W -> n x C x 2H x 2W.

    The first C channels are the low band; the other 3C are read as C x 3: low-high, high-low, high-high, where the
    first letter is the horizontal band and the second the vertical one (the layout of MobileStyleGAN's blocks).
    """
    n, channels, height, width = x.shape
    c = channels // 4
    low = x[:, :c]
    high = x[:, c:].unflatten(1, (c, 3))
    vertical, horizontal, diagonal = high[:, :, 0], high[:, :, 1], high[:, :, 2]
    # Butterfly on the small maps, then one interleaving write: no transposed convolution, no permuting copy.
    sums, differences = low + vertical, low - vertical
    cross_sums, cross_differences = horizontal + diagonal, horizontal - diagonal
    top = torch.stack((sums + cross_sums, sums - cross_sums), dim=-1)
    bottom = torch.stack((differences + cross_differences, differences - cross_differences), dim=-1)
    return torch.stack((top, bottom), dim=3).mul_(0.5).reshape(n, c, 2 * height, 2 * width)


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
