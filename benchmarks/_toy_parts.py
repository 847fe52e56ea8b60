"""The plugin ``benchmarks._toy_parts``: a generator and an embedder with random weights, a thousandth of the real ones.

For rounds in which the pictures mean nothing, and every file, key and ending all the more (`benchmarks.soak`).
"""

from __future__ import annotations

import torch

from pipelines.models.generators.mobile import MobileStyleGAN
from pipelines.registry import Entry
from pipelines.stages.entry import GeneratorEntry, Parts, embedders, generators
from pipelines.types import Embedder, FaceBatch, Generator, Inversion

NAME = "toy"
OPTIONS = ("--plugin", __name__, "--generator", NAME, "--embed", NAME, "--refine", "none", "--compensate", "none")


class ToyGenerator(MobileStyleGAN):
    """The real class at 1024 px, with 8 channels."""


class ToyEmbedder:
    """The photo's mean colour, laid along all rows."""

    version = "1"

    def __init__(self, generator: Generator) -> None:
        self.generator = generator

    def embed(self, faces: FaceBatch) -> Inversion:
        """One code a face; it depends on that face alone."""
        colours = faces.images.mean((2, 3)).repeat_interleave(171, dim=1)[:, :512]
        rows = self.generator.w_avg + colours * self.generator.w_std
        return Inversion(rows.unsqueeze(1).repeat(1, self.generator.num_ws, 1))


def _generator(parts: Parts) -> Generator:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        generator = ToyGenerator(channels=(8,) * 7)
        for parameter in generator.parameters():
            parameter.normal_(0, 0.02)
    return generator.to(parts.device)


def _embedder(parts: Parts, generator: Generator) -> Embedder:
    return ToyEmbedder(generator)


generators.add(NAME, GeneratorEntry(_generator))
embedders.add(NAME, Entry(_embedder, version=f"{ToyEmbedder.version} {NAME}"))
