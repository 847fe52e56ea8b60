"""VGG-16 (Simonyan and Zisserman, ICLR 2015) up to its tenth convolution, as the perceptual term of Diff-CAM reads it."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipelines.errors import WeightsError
from pipelines.models.perceptual.lpips import frozen_conv

_CONVS = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21)  # positions in torchvision's VGG16.features
_POOLED = (2, 4, 7)  # convolutions, counted, that read a pooled feature
MEAN, SPREAD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's pictures in [0, 1], RGB


class VGGFeature(nn.Module):
    """x n x 3 x H x W, RGB in [-1, 1] -> n x 512 x H/8 x W/8, of the tenth convolution *before* its ReLU. Frozen."""

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        """From torchvision's checkpoint (keys ``features.0.weight`` ...). Raises WeightsError where one is missing."""
        super().__init__()
        try:
            convs = [frozen_conv(state[f"features.{i}.weight"], state[f"features.{i}.bias"]) for i in _CONVS]
        except KeyError as error:
            raise WeightsError(f"the VGG-16 checkpoint lacks {error}: it is another file") from None
        self.convs = nn.ModuleList(convs)
        self.mean: Tensor = nn.Buffer(torch.tensor(MEAN).view(1, 3, 1, 1), persistent=False)
        self.spread: Tensor = nn.Buffer(torch.tensor(SPREAD).view(1, 3, 1, 1), persistent=False)
        self.requires_grad_(False).eval()

    def forward(self, x: Tensor) -> Tensor:
        x = ((x + 1) / 2 - self.mean) / self.spread
        for number, conv in enumerate(self.convs):
            if number:
                x = x.relu()
            x = conv(F.max_pool2d(x, 2) if number in _POOLED else x)
        return x
