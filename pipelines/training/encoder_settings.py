"""What decides an encoder's training, in one frozen value."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pipelines.errors import UsageError
from pipelines.training.recipes import TERMS

OPTIMISERS = ("adamw", "ranger")


@dataclass(frozen=True)
class EncoderSettings:
    """One run; everything here decides the result and must be equal when a run goes on.

    Attributes:
        recipe: name in `pipelines.training.recipes`.
        network: ``compact`` or ``e4e``.
        generator: name of the generator.
        data: hash of the photos' names.
        steps: optimiser steps; schedules stretch to them.
        batch: faces per step over all devices; `synthetic` of them are generated.
        teach: first steps in which all faces are generated and codes alone are judged (cheap, no recipe terms).
        code_weight: weight of the true codes' error on generated faces.
        optimiser: ``adamw`` (warm-up, cosine to a thirtieth) or ``ranger`` (constant, as published).
        lr: step size; the trunk moves at a third of it.
        average: decay of the averaged weights that are validated and kept; 0: none.
        view: picture that losses see (`pipelines.training.losses.view`).
        weights: recipe weights overridden by the user.
        half: the generator and the encoder run in bfloat16; weights, losses and validation stay float32.
        start: share of the published schedule that lies behind the first step: 0, or more for a run that goes on from a
            trained encoder (`init`). Cycle Encoding's second leg, W+ -> W, starts at 2/3.
        init: checkpoint to start from.
    """

    recipe: str = "e4e"
    network: str = "compact"
    generator: str = "mobile-ffhq"
    data: str = ""
    steps: int = 4000
    batch: int = 8
    synthetic: int = 2
    teach: int = 0
    code_weight: float = 0.2
    optimiser: str = "adamw"
    lr: float = 1e-3
    average: float = 0.995
    view: str = "sketch"
    weights: Mapping[str, float] = field(default_factory=dict)
    half: bool = False
    start: float = 0.0
    init: str = ""
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.synthetic <= self.batch:
            raise UsageError(f"--synthetic {self.synthetic} does not fit into --batch {self.batch}")
        if self.optimiser not in OPTIMISERS:
            raise UsageError(f"unknown optimiser '{self.optimiser}'; known: {', '.join(OPTIMISERS)}")
        if not 0 <= self.start < 1:
            raise UsageError(f"--start {self.start} is no share of a schedule; give 0 to 0.99")
        if self.teach >= self.steps:
            raise UsageError(f"--teach {self.teach} leaves none of the {self.steps} steps for photos")


def read_weights(given: Sequence[str]) -> dict[str, float]:
    """``["identity=0.5"]`` -> `{"identity": 0.5}`.

    Raises:
        UsageError: an unknown term, or no number of at least 0.
    """
    weights = {}
    for text in given:
        name, _, value = text.partition("=")
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if name not in TERMS or not number >= 0 or math.isinf(number):
            raise UsageError(f"--weight '{text}': give TERM=NUMBER with one of {', '.join(TERMS)}")
        weights[name] = number
    return weights
