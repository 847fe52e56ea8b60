"""MobileNetV2 (Sandler et al. 2018, arXiv 1801.04381) trained on ImageNet: a trunk whose pooled features describe a picture."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torchvision.models.mobilenetv2 import MobileNetV2

ASSET = "mobilenetv2-imagenet"
WIDTH = 1280


class MobileNetFeatures(nn.Module):
    """RGB pictures n x 3 x H x W in [-1, 1] -> n x 1280: the last convolution's mean over all places."""

    def __init__(self) -> None:
        super().__init__()
        self.steps = MobileNetV2().features
        self.mean = nn.Buffer(torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1), persistent=False)
        self.std = nn.Buffer(torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = self.steps(((x + 1) / 2 - self.mean) / self.std)
        return features.mean(dim=(2, 3))


def load_mobilenet(tensors: Mapping[str, Tensor]) -> MobileNetFeatures:
    """From torchvision's own state dict; its classifier is left out. In eval mode."""
    network = MobileNetFeatures()
    start = "features."
    steps = {name.removeprefix(start): tensor for name, tensor in tensors.items() if name.startswith(start)}
    network.steps.load_state_dict(steps)
    return network.eval()
