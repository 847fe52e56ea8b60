"""A tiny generator that heeds its codes: `tests.tiny.tiny_generator` is so random that most rows change nothing."""

from __future__ import annotations

import torch
from torch import Tensor

from pipelines.models.generators.mobile import MobileStyleGAN
from tests.tiny import TinyGenerator


class LivelyGenerator(TinyGenerator):
    """8 channels, 16 style dimensions, 1024 px; w is z, so that its statistics are those of the codes tests draw."""

    def map(self, z: Tensor) -> Tensor:
        return z


def lively_generator(seed: int = 0) -> MobileStyleGAN:
    """Styles are large enough for a signal to climb from the lowest row to the picture."""
    generator = LivelyGenerator(channels=(8,) * 7, dim=16)
    rng = torch.Generator().manual_seed(seed)
    for name, parameter in generator.named_parameters():
        parameter.normal_(0, 0.3, generator=rng)
        if name.startswith("blocks") and name.endswith(("up.bias", "affine.bias")):
            parameter.add_(2)
    return generator
