"""The latent discriminator of e4e (Tov et al., SIGGRAPH 2021, section 4.2; introduced by Nitzan et al., 2020).

It tells codes of the mapping network from an encoder's rows, and so holds the encoder near W, where edits work.
"""

from __future__ import annotations

from torch import Tensor, nn

_SLOPE = 0.2


class LatentDiscriminator(nn.Module):
    """w n x 512 -> n x 1, larger for codes that look real. Plain linear layers, leaky ReLU 0.2; keys mlp.0, 2, 4, 6.

    Args:
        dim: length of a code.
        depth: linear layers in all, the last one to a single number.
    """

    def __init__(self, dim: int = 512, depth: int = 4) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for _ in range(depth - 1):
            layers += [nn.Linear(dim, dim), nn.LeakyReLU(_SLOPE)]
        self.mlp = nn.Sequential(*layers, nn.Linear(dim, 1))

    def forward(self, w: Tensor) -> Tensor:
        """Codes ... x 512 (any leading dimensions: rows of W+ are judged one by one) -> ... x 1, unbounded."""
        judged: Tensor = self.mlp(w)
        return judged
