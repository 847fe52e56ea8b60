"""`encoder`: codes of a face in one pass through a trained network."""

from __future__ import annotations

from functools import partial
from typing import Protocol

import torch
from torch import Tensor

from pipelines.images.pixels import resize_area
from pipelines.models.encoders.compact import CompactEncoder
from pipelines.registry import Entry
from pipelines.stages.entry import Parts, embedders
from pipelines.stages.microbatch import in_microbatches
from pipelines.types import Embedder, FaceBatch, Generator, Inversion

INPUT = 256
VERSION = "1"
ASSETS = {recipe: f"encoder-mobile-ffhq-{recipe}" for recipe in ("e4e", "lsap", "cycle")}
ASSETS["encoder"] = ASSETS["e4e"]  # the default: the best of them by the figures in docs/encoders.md


class EncoderNetwork(Protocol):
    """n x 3 x 256 x 256 in [-1, 1] -> n x L x 512, average latent added."""

    def __call__(self, images: Tensor) -> Tensor: ...


class EncoderEmbedder:
    """Codes by a feed-forward encoder; see `pipelines.types.Embedder`.

    Args:
        network: frozen, in eval mode, on the device of the pictures.
    """

    version = VERSION

    def __init__(self, network: EncoderNetwork) -> None:
        self.network = network

    @torch.no_grad()
    def embed(self, faces: FaceBatch) -> Inversion:
        """W+ codes; landmarks are not asked. Microbatches keep results free of the batch."""
        small = resize_area(faces.images, INPUT)
        return in_microbatches(lambda index: Inversion(self.network(small[index])), len(faces), small.device)


def load_compact(asset: str, parts: Parts, generator: Generator, stage: int | None = None) -> CompactEncoder:
    """One of our own encoders, trained by the recipe that its asset is named after; frozen, in eval mode, on the device.

    Args:
        stage: how many rows leave w (`CompactEncoder.stage`); None: as it was trained.
    """
    network = CompactEncoder(generator.num_ws)
    network.stage = network.stage if stage is None else stage
    network.load_state_dict(parts.tensors(asset))
    network.requires_grad_(False).eval().to(parts.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network


def build_compact(asset: str, parts: Parts, generator: Generator, stage: int | None = None) -> Embedder:
    """The embedder of `load_compact`."""
    return EncoderEmbedder(load_compact(asset, parts, generator, stage))


for _name, _asset in ASSETS.items():
    embedders.add(_name, Entry(partial(build_compact, _asset), (_asset,), VERSION))
# Cycle Encoding ends in W; the released code runs it with all rows all the same, and so does `cycle`.
embedders.add("cycle-w", Entry(partial(build_compact, ASSETS["cycle"], stage=0), (ASSETS["cycle"],), f"{VERSION} w"))
