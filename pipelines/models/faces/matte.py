"""Where a person is in a picture: MediaPipe's selfie segmentation (Google, Apache-2.0) as a soft mask."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from pipelines.models.tflite import Graph, GraphNetwork


class PersonMatte(nn.Module):
    """The share of each pixel that belongs to a person: head, hair and body, not the background.

    Made for 256 px, so that edges are soft over a few of 1024 pixels and single hairs are not told apart.

    Args:
        graph: of `selfie_segmentation.tflite` (`pipelines.weights.formats.tflite.read_tflite`).
    """

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self._network = GraphNetwork(graph)

    def forward(self, images: Tensor) -> Tensor:
        """n x 3 x H x W in [-1, 1] -> n x 1 x H x W in [0, 1]."""
        size = (self._network.size, self._network.size)
        small = functional.interpolate(images, size, mode="bilinear", antialias=True, align_corners=False)
        matte = self._network((small.clamp(-1, 1) + 1) / 2)[0]
        return functional.interpolate(matte, images.shape[2:], mode="bilinear", align_corners=False).clamp(0, 1)
