"""Cheap pictures of `mobile-ffhq` for losses: 256 px from the 128 px feature, 128 px from the 64 px feature.

The generator's upper blocks cost most of its time and decide little at these sizes. The intermediate image heads were
pruned from the published archive, so these heads are ours: a style-modulated linear map plus three small convolutions to
the Haar transform of the picture, fitted to the area-downsampled 1024 px output (`ganinv train head`).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipelines.models.ops import double_inverse_haar
from pipelines.types import Point

PREVIEW_POINT: Point = "128b"
SKETCH_POINT: Point = "64b"
WIDTHS = (96, 64, 48)
NECK = 64  # factors through which all that the upper blocks' styles do is said; more learn the training codes by heart


class PictureHead(nn.Module):
    """Feature n x C x h x h -> picture n x 3 x 2h x 2h, about [-1, 1].

    Args:
        channels: C.
        styles: values in the style vectors of everything above the feature.
        widths: channels of the three inner convolutions.
    """

    def __init__(self, channels: int, styles: int, widths: tuple[int, int, int] = WIDTHS) -> None:
        super().__init__()
        a, b, c = widths
        self.centre = nn.Buffer(torch.zeros(styles))
        self.spread = nn.Buffer(torch.ones(styles))
        self.neck = nn.Linear(styles, NECK)
        self.styles = nn.ModuleList(nn.Linear(NECK, width) for width in (channels, channels, a, b, c))
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

    def forward(self, feature: Tensor, read: Tensor, styles: Tensor) -> Tensor:
        """`read` n x C: the factors with which the generator's next block reads the feature; `styles` n x styles."""
        codes = self.neck((styles - self.centre) / self.spread)
        linear, squeeze, first, second, last = (style(codes)[:, :, None, None] for style in self.styles)
        even = read[:, :, None, None] * self.scale[:, None, None]
        x = F.leaky_relu(self.squeeze(feature * (squeeze * even)), 0.2)
        x = F.leaky_relu(self.conv1(x * first), 0.2)
        x = F.leaky_relu(self.conv2(x * second), 0.2)
        return double_inverse_haar(self.linear(feature * (linear * even)) + self.out(x * last)) * 0.5
