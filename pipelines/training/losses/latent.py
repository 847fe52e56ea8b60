"""Losses on codes: the latent discriminator's and the encoder's adversarial terms, R1, the delta norm, the S^N distance.

Every function gives the bare term; weights belong to a recipe. Rows are counted as the progressive scheme of e4e counts
them (Tov et al., SIGGRAPH 2021, section 5): at stage s row 0 and the offsets of rows 1..s are in use.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from pipelines.models.generators.style_space import aligned_distance

__all__ = ["adversarial_loss", "aligned_distance", "delta_norm", "discriminator_loss", "r1"]


def discriminator_loss(real_pred: Tensor, fake_pred: Tensor) -> Tensor:
    """mean softplus(-D(real)) + mean softplus(D(fake)), the non-saturating logistic loss (Goodfellow et al., 2014).

    Args:
        real_pred: the discriminator's output for codes of the mapping network, any shape.
        fake_pred: for the encoder's codes, any shape.

    Returns:
        A scalar >= 0.
    """
    return F.softplus(-real_pred).mean() + F.softplus(fake_pred).mean()


def r1(real_pred: Tensor, real: Tensor) -> Tensor:
    """Mean over the batch of the squared gradient norm at the reals (Mescheder et al., 2018), unweighted.

    Applied lazily, every 16 steps, it is to be multiplied by gamma / 2 * 16 (gamma = 10 in e4e).

    Args:
        real_pred: the discriminator's output for `real`, n x 1.
        real: n x 512, with `requires_grad` set before the discriminator saw it.

    Returns:
        A scalar >= 0 through which gradients reach the discriminator.
    """
    (gradient,) = torch.autograd.grad(real_pred.sum(), real, create_graph=True)
    return gradient.square().flatten(1).sum(1).mean()


def adversarial_loss(pred_rows: Tensor) -> Tensor:
    """The encoder's side: mean softplus(-D(row)) over the batch and the rows in use.

    Args:
        pred_rows: the discriminator's output for rows 0..stage, n x (stage + 1) x 1 (or without the last dimension).
    """
    return F.softplus(-pred_rows).mean()


def delta_norm(codes: Tensor, stage: int) -> Tensor:
    """Sum over rows 1..stage of the batch mean of |row - row 0|, the L2 norm (Tov et al., SIGGRAPH 2021, equation 5).

    Args:
        codes: n x L x 512; whether the average latent is added makes no difference.
        stage: the progressive stage, 0..L-1. A larger one is e4e's "inference", which has no delta term: 0.

    Returns:
        A scalar >= 0; 0 at stage 0.
    """
    if not 0 < stage < codes.shape[1]:
        return codes.new_zeros(())
    offsets = codes[:, 1 : stage + 1] - codes[:, :1]
    total: Tensor = offsets.norm(dim=2).mean(0).sum()
    return total
