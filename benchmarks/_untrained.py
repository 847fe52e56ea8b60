"""The method ``untrained``: the compact encoder with random weights, for machines that have no trained one.

Time and memory do not depend on the weights; the pictures mean nothing. The names are registered by importing this
module, which is what unpickling an `UntrainedSpec` in another process does.
"""

from __future__ import annotations

import torch

from pipelines.models.encoders.compact import CompactEncoder
from pipelines.registry import Entry
from pipelines.specs import EditSpec
from pipelines.stages.embed.encoder import EncoderEmbedder
from pipelines.stages.entry import Parts, embedders
from pipelines.stages.methods import add_method
from pipelines.types import Embedder, Generator

NAME = "untrained"


class UntrainedSpec(EditSpec):
    """An `EditSpec` that brings the method ``untrained`` along."""


def _untrained(parts: Parts, generator: Generator) -> Embedder:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = CompactEncoder(generator.num_ws)
    network.w_avg.copy_(generator.w_avg)
    network.w_std.copy_(generator.w_std)
    network.requires_grad_(False).eval().to(parts.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return EncoderEmbedder(network)


embedders.add(NAME, Entry(_untrained, version=f"{EncoderEmbedder.version} {NAME}"))
add_method(NAME, NAME, summary="random codes: for measurements of speed alone")
