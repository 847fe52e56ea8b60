"""LPIPS metrics: AlexNet-LPIPS (Zhang et al. 2018) and its shift-tolerant variant (Ghildyal & Liu 2022)."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from pipelines.metrics.faces import Trio
from pipelines.metrics.registry import metrics
from pipelines.metrics.tools import Tools


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


@metrics.register("lpips-alex", "LPIPS, AlexNet, 256 px", "lower", weights=("lpips-alex-trunk",))
def _lpips(tools: Tools) -> Perceptual:
    from pipelines.models.perceptual.lpips import build_lpips

    return Perceptual("lpips-alex", build_lpips(tools.store.tensors("lpips-alex-trunk")).eval().to(tools.device))


@metrics.register("lpips-st-alex", "shift-tolerant LPIPS, AlexNet, 256 px", "lower", weights=("st-lpips-alex",))
def _st_lpips(tools: Tools) -> Perceptual:
    from pipelines.models.perceptual.stlpips import build_stlpips

    net = build_stlpips(tools.store.tensors("st-lpips-alex"), "alex")
    return Perceptual("lpips-st-alex", net.eval().to(tools.device))
