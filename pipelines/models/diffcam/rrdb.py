"""The trunk of residual dense blocks that GLEAN's encoder begins with (RRDBNet of ESRGAN; Wang et al., ECCVW 2018)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WIDTH, GROWTH, BLOCKS = 64, 32, 23
SLOPE = 0.2
_SHARE = 0.2  # of what each block adds


def conv(c_in: int, c_out: int, stride: int = 1) -> nn.Conv2d:
    """3 x 3, padded by 1, with a bias."""
    return nn.Conv2d(c_in, c_out, 3, stride, 1)


class _Dense(nn.Module):
    """Five convolutions, each of which sees all before it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = conv(WIDTH, GROWTH)
        self.conv2 = conv(WIDTH + GROWTH, GROWTH)
        self.conv3 = conv(WIDTH + 2 * GROWTH, GROWTH)
        self.conv4 = conv(WIDTH + 3 * GROWTH, GROWTH)
        self.conv5 = conv(WIDTH + 4 * GROWTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        seen = x
        for layer in (self.conv1, self.conv2, self.conv3, self.conv4):
            seen = torch.cat((seen, F.leaky_relu(layer(seen), SLOPE)), dim=1)
        made: Tensor = x + _SHARE * self.conv5(seen)
        return made


class _Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rdb1, self.rdb2, self.rdb3 = _Dense(), _Dense(), _Dense()

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = x + _SHARE * self.rdb3(self.rdb2(self.rdb1(x)))
        return made


class RRDBNet(nn.Module):
    """n x 3 x H x W -> n x C x H x W; without the activation that follows."""

    def __init__(self, c_out: int, blocks: int = BLOCKS) -> None:
        super().__init__()
        self.conv_first = conv(3, WIDTH)
        self.body = nn.Sequential(*(_Block() for _ in range(blocks)))
        self.conv_body = conv(WIDTH, WIDTH)
        self.conv_up = conv(WIDTH, c_out)

    def forward(self, x: Tensor) -> Tensor:
        first = self.conv_first(x)
        made: Tensor = self.conv_up(first + self.conv_body(self.body(first)))
        return made
