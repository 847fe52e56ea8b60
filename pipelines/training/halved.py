"""A generator whose passes run in bfloat16 autocast and give float32 back: for training, where speed counts more."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from pipelines.types import Generator, Synthesis

_PASSES = ("synthesize", "preview", "sketch", "features")


class HalfGenerator:
    """`generator` with every pass in bfloat16; everything else is the generator's own."""

    def __init__(self, generator: Generator) -> None:
        self._generator = generator

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._generator, name)
        return self._halved(value) if name in _PASSES else value

    def _halved(self, run: Callable[..., Any]) -> Callable[..., Any]:
        def half(*args: Any, **options: Any) -> Any:
            with torch.autocast(self._generator.device.type, torch.bfloat16):
                return _floats(run(*args, **options))

        return half


def _floats(made: Any) -> Any:
    if isinstance(made, Tensor):
        return made.float()
    if isinstance(made, Synthesis):
        return Synthesis(made.image.float(), _floats(made.features))
    return {point: feature.float() for point, feature in made.items()}
