"""LPIPS metrics: AlexNet-LPIPS (Zhang et al. 2018) and its shift-tolerant variant (Ghildyal & Liu 2022)."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from pipelines.metrics.faces import Trio


class FeatureDistance(Protocol):
    """A perceptual distance in two steps, so that the photo's features are computed once for all of its edits."""

    def features(self, x: Tensor) -> list[Tensor]:
        """n x 3 x H x W in [-1, 1] -> feature maps."""

    def distance(self, fx: list[Tensor], fy: list[Tensor]) -> Tensor:
        """Two pictures' features -> n distances."""


class Perceptual:
    """LPIPS at 256 px on [-1, 1] pictures, reported under the network's full name; lower is closer."""

    def __init__(self, name: str, net: FeatureDistance) -> None:
        self.name = name
        self._net = net

    @torch.inference_mode()
    def score(self, trio: Trio) -> dict[str, Tensor]:
        """{name: n distances}, source to result."""
        source, result = trio.source, trio.result
        theirs = source.memo(self.name, lambda: self._net.features(source.pixels))
        ours = result.memo(self.name, lambda: self._net.features(result.pixels))
        return {self.name: self._net.distance(theirs, ours)}
