"""`encoder`: codes of a face in one pass through a trained network."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from pipelines.images.pixels import resize_area
from pipelines.stages.microbatch import in_lanes
from pipelines.types import Inversion

INPUT = 256


class EncoderNetwork(Protocol):
    """n x 3 x 256 x 256 in [-1, 1] -> n x L x 512, average latent added."""

    def __call__(self, images: Tensor) -> Tensor: ...


class EncoderEmbedder:
    """Codes by a feed-forward encoder; see `pipelines.types.Embedder`.

    Args:
        network: frozen, in eval mode, on the device of the pictures.
    """

    name = "encoder"
    version = "1"

    def __init__(self, network: EncoderNetwork) -> None:
        self.network = network

    @torch.no_grad()
    def embed(self, images: Tensor, landmarks: Tensor | None) -> Inversion:
        """images n x 3 x R x R in [-1, 1] -> W+ codes; landmarks are not asked. Lanes keep results free of the batch."""
        small = resize_area(images, INPUT)
        return in_lanes(lambda index: Inversion(self.network(small[index])), len(images), images.device)
