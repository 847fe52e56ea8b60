"""The losses of Diff-CAM's deghosting (Song et al., arXiv 2207.08134; official code): pixels, VGG features, an adversary."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

PERCEPTUAL, ADVERSARIAL = 0.01, 0.01  # published weights; the pixel term's is 1


def pixel_loss(made: Tensor, target: Tensor) -> Tensor:
    """Mean squared difference."""
    return F.mse_loss(made, target)


def perceptual_loss(made: Tensor, target: Tensor, features: nn.Module) -> Tensor:
    """Mean squared difference of features, unweighted."""
    return F.mse_loss(features(made), features(target))


def fooling_loss(judged: Tensor) -> Tensor:
    """The network's side: cross-entropy of the discriminator's scores with "real", unweighted (Goodfellow et al., 2014)."""
    return F.binary_cross_entropy_with_logits(judged, torch.ones_like(judged))


def judging_losses(real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
    """The discriminator's side, of real and of made pictures; without gradient penalty, as published."""
    ones, zeros = torch.ones_like(real), torch.zeros_like(fake)
    judged = F.binary_cross_entropy_with_logits
    return judged(real, ones), judged(fake, zeros)


def contour_loss(made: Tensor, target: Tensor) -> Tensor:
    """Mean absolute difference of the gradients of n x 3 x H x W: a ghost is a contour too many (ours)."""
    gap = made - target
    across, down = gap[..., 1:] - gap[..., :-1], gap[..., 1:, :] - gap[..., :-1, :]
    return across.abs().mean() + down.abs().mean()
