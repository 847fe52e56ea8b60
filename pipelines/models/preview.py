"""The low-resolution head of `mobile-ffhq`: 128 px feature + codes -> the 256 px picture, for cheap losses.

The generator's two upper blocks cost most of its time and decide little at 256 px. The intermediate image heads were
pruned from the published archive, so this head is ours: a style-modulated linear map plus three small convolutions to
the Haar transform of the picture, fitted to the area-downsampled 1024 px output (`ganinv train head`).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipelines.models.ops import double_inverse_haar
from pipelines.types import Point

PREVIEW_POINT: Point = "128b"
PREVIEW_ROWS = (11, 12, 13, 14, 15)  # the rows that the two upper blocks and the image head read
WIDTHS = (96, 64, 48)


class PreviewHead(nn.Module):
    """n x 256 x 128 x 128 and codes (minus the mean w) n x 18 x 512 -> n x 3 x 256 x 256, about [-1, 1]."""

    def __init__(self, channels: int = 256, dim: int = 512, widths: tuple[int, int, int] = WIDTHS) -> None:
        super().__init__()
        a, b, c = widths
        self.styles = nn.ModuleList(
            nn.Linear(dim * len(PREVIEW_ROWS), width) for width in (channels, channels, a, b, c)
        )
        # Channels differ in size by a factor of 30; the fit is hopeless without evening them out.
        self.scale = nn.Buffer(torch.ones(channels))
        self.linear = nn.Conv2d(channels, 12, 1)
        self.squeeze = nn.Conv2d(channels, a, 1)
        self.conv1 = nn.Conv2d(a, b, 3, padding=1)
        self.conv2 = nn.Conv2d(b, c, 3, padding=1)
        self.out = nn.Conv2d(c, 12, 1)
        for style in self.styles:
            assert isinstance(style, nn.Linear)
            nn.init.zeros_(style.weight)
            nn.init.ones_(style.bias)

    def forward(self, feature: Tensor, style: Tensor, centred: Tensor) -> Tensor:
        """`style` n x 256: the factors with which the generator's own next block reads the feature."""
        codes = torch.cat([centred[:, row] for row in PREVIEW_ROWS], dim=1)
        linear, squeeze, first, second, last = (style(codes)[:, :, None, None] for style in self.styles)
        even = style[:, :, None, None] * self.scale[:, None, None]
        x = F.leaky_relu(self.squeeze(feature * (squeeze * even)), 0.2)
        x = F.leaky_relu(self.conv1(x * first), 0.2)
        x = F.leaky_relu(self.conv2(x * second), 0.2)
        return double_inverse_haar(self.linear(feature * (linear * even)) + self.out(x * last)) * 0.5
