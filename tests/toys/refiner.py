"""A toy refiner, as a user's own file: the mean code, whoever it is."""

from __future__ import annotations

from dataclasses import replace

from pipelines.stages.entry import Parts, refiners
from pipelines.types import FaceBatch, Generator, Inversion, Refiner


class MeanRefiner:
    version = "1"

    def __init__(self, generator: Generator) -> None:
        self.generator = generator

    def refine(self, faces: FaceBatch, start: Inversion) -> Inversion:
        return replace(start, latents=self.generator.w_avg.expand_as(start.latents))


@refiners.register("toy-mean")
def build(parts: Parts, generator: Generator) -> Refiner:
    return MeanRefiner(generator)
