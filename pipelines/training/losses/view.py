"""Codes -> the picture that training losses look at: the generator's own, or a cheaper head's."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from torch import Tensor

from pipelines.errors import UsageError
from pipelines.images.pixels import resize_area
from pipelines.training.bf16 import HalfGenerator
from pipelines.types import Generator

View = Callable[[Tensor], Tensor]


def make_view(generator: Generator, name: str, half: bool = False) -> View:
    """The picture of codes n x L x 512, RGB, about [-1, 1].

    Args:
        name: ``full`` (the generator's picture, area-downsampled to 256), ``preview`` (256 px) or ``sketch`` (128 px).
        half: compute in bfloat16 (`HalfGenerator`); the picture comes back as float32.

    Raises:
        UsageError: the generator has no such head.
    """
    if half:
        generator = cast(Generator, HalfGenerator(generator))
    makers: dict[str, Callable[[Tensor], Tensor]] = {
        "full": lambda codes: resize_area(generator.synthesize(codes).image, 256),
        "preview": lambda codes: generator.preview(codes).image,
    }
    sketch = getattr(generator, "sketch", None)
    if sketch is not None:
        makers["sketch"] = lambda codes: sketch(codes).image
    if name not in makers:
        raise UsageError(f"'{generator.name}' has no view '{name}'; known: {', '.join(makers)}")
    return makers[name]
