"""What decides a compensator's training, in one frozen value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pipelines.errors import UsageError


@dataclass(frozen=True)
class SDICSettings:
    """One run; everything here must be equal when a run goes on.

    Attributes:
        generator, encoder: names; the encoder's asset gives the codes that are compensated.
        data: hash of the photos' names.
        steps, optimiser, lr, average, seed: as `pipelines.training.loop.LoopSettings` has them.
        batch: faces per step.
        pairs_every: every so many steps the faces are generated pairs with pasted detail and an edit; 0: never.
        view: ``sketch`` (128 px) or ``head`` (256 px); `fine` last steps look at 256 px in any case.
        corrected_every: of the steps at 256 px, every so many see the full picture's error taken out of the head: a network
            that never does learns to please the head (docs/decisions/0013); 0: none.
        perceptual, pixel, identity, compensation: weights of the terms.
        moves: weight of the term that asks edits of photos to move as far as the encoder's own do; 0: none. It is taken at
            every `moves_every`-th step on photos.
        carry: a learned correction of how edits carry the residual (`pipelines.models.sdic_carry`).
        discrepancy, latent, feature: the ablations of the paper (`pipelines.models.sdic.lean.LeanSDIC`).
        half: the generator and the network run in bfloat16; weights, losses and validation stay float32.
        init: another run's best.safetensors to start from.
    """

    generator: str = "mobile-ffhq"
    encoder: str = "encoder"
    data: str = ""
    steps: int = 4000
    batch: int = 4
    pairs_every: int = 4
    view: Literal["sketch", "head"] = "sketch"
    fine: int = 0
    corrected_every: int = 2
    perceptual: float = 0.8
    pixel: float = 1.0
    identity: float = 0.1
    compensation: float = 0.5
    moves: float = 0.0
    moves_every: int = 2
    carry: bool = False
    discrepancy: Literal["network", "raw"] = "network"
    latent: bool = True
    feature: bool = True
    optimiser: str = "adamw"
    lr: float = 1e-3
    average: float = 0.995
    half: bool = True
    init: str = ""
    seed: int = 0

    def __post_init__(self) -> None:
        if not (self.latent or self.feature):
            raise UsageError("a compensator without latent and feature part does nothing: leave one of them on")
        if not 0 <= self.fine <= self.steps:
            raise UsageError(f"--fine {self.fine} is more than the {self.steps} steps")
