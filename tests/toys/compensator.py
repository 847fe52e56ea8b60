"""A toy compensator, as a user's own file: the codes' picture, upside down."""

from __future__ import annotations

from torch import Tensor

from pipelines.stages.compensate.residual import Prepared, ResidualCompensator
from pipelines.stages.entry import Parts, compensators
from pipelines.types import Compensator, Generator, Point, Synthesis


class Flipped(ResidualCompensator):
    def render(self, prepared: Prepared, latents: Tensor, points: tuple[Point, ...] = ()) -> Synthesis:
        made = super().render(prepared, latents, points)
        return Synthesis(made.image.flip(2), made.features)


@compensators.register("toy-flip")
def build(parts: Parts, generator: Generator) -> Compensator:
    return Flipped(generator)
