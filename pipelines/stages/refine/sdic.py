"""`--refine sdic`: the compensation as an inversion of its own, codes W' and F' - F as their residual."""

from __future__ import annotations

from torch import Tensor

from pipelines.models.sdic.lean import LeanSDIC
from pipelines.stages.compensate.sdic import ASSET, SDICCompensator, load_sdic
from pipelines.stages.entry import Parts, refiners
from pipelines.stages.microbatch import in_microbatches
from pipelines.types import FaceBatch, Generator, Inversion, Refiner


class SDICRefiner:
    """See `pipelines.types.Refiner`.

    W' differs from W above the 64 px feature alone (`LeanSDIC.first_row`), so the residual belongs to the same feature, and
    edits carry it as they carry a fitted one. The refiner `feature` may go on from here.
    """

    version = "1"

    def __init__(self, generator: Generator, network: LeanSDIC) -> None:
        self.compensator = SDICCompensator(generator, network)

    def refine(self, faces: FaceBatch, start: Inversion) -> Inversion:
        """Reads the pictures at 256 px; one pass."""

        def some(index: Tensor) -> Inversion:
            prepared = self.compensator.prepare(faces[index], start[index])
            codes = prepared.inversion.latents + prepared.change
            return Inversion(codes, prepared.residuals, scores=prepared.inversion.scores)

        return in_microbatches(some, len(faces), faces.images.device)


@refiners.register("sdic", (ASSET,), SDICRefiner.version)
def build_sdic_refiner(parts: Parts, generator: Generator) -> Refiner:
    """The shipped lean network."""
    return SDICRefiner(generator, load_sdic(parts, generator))
