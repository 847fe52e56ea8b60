"""A generator whose passes run in bfloat16 and give float32 back: for training, where speed counts more."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from pipelines.models.generators.mobile import MobileStyleGAN
from pipelines.types import Generator, Injection, Point, Synthesis

_PASSES = ("synthesize", "preview", "sketch", "features")


class HalfGenerator:
    """`generator` with every pass in bfloat16; everything else is the generator's own.

    `mobile-ffhq` runs as a copy whose weights are bfloat16 throughout, which on CPUs takes two thirds of autocast's time
    (its pictures are 0.004 off, root mean square); other generators, whose demodulation wants float32, run in autocast.
    """

    def __init__(self, generator: Generator) -> None:
        self._generator = generator
        self._copy = copy.deepcopy(generator).to(torch.bfloat16) if isinstance(generator, MobileStyleGAN) else None

    def __getattr__(self, name: str) -> Any:
        if name not in _PASSES:
            return getattr(self._generator, name)
        return self._autocast(getattr(self._generator, name)) if self._copy is None else self._cast(name)

    def _autocast(self, run: Callable[..., Any]) -> Callable[..., Any]:
        def half(*args: Any, **options: Any) -> Any:
            with torch.autocast(self._generator.device.type, torch.bfloat16):
                return _floats(run(*args, **options))

        return half

    def _cast(self, name: str) -> Callable[..., Any]:
        run = getattr(self._copy, name)

        def half(w: Tensor, *args: Any, inject: Mapping[Point, Injection] | None = None, **options: Any) -> Any:
            if inject:
                options["inject"] = {point: _cast_injection(injection) for point, injection in inject.items()}
            return _floats(run(w.bfloat16(), *args, **options))

        return half


def _cast_injection(injection: Injection) -> Injection:
    if isinstance(injection, Tensor):
        return injection.bfloat16()
    return lambda feature: injection(feature.float()).bfloat16()


def _floats(made: Any) -> Any:
    if isinstance(made, Tensor):
        return made.float()
    if isinstance(made, Synthesis):
        return Synthesis(made.image.float(), _floats(made.features))
    return {point: feature.float() for point, feature in made.items()}
