"""A generator's cheap head in the place of its pictures: whole chains at 256 px, to look at and to measure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from torch import Tensor

from pipelines.stages.render import PREVIEW
from pipelines.types import Generator, Injection, Point, Synthesis


class PreviewGenerator:
    """As the generator in everything, but pictures are those of `Generator.preview`, n x 3 x 256 x 256."""

    resolution = PREVIEW

    def __init__(self, generator: Generator) -> None:
        self._generator = generator

    def __getattr__(self, name: str) -> Any:
        return getattr(self._generator, name)

    def synthesize(
        self, w: Tensor, inject: Mapping[Point, Injection] | None = None, collect: tuple[Point, ...] = ()
    ) -> Synthesis:
        """See `pipelines.types.Generator.preview`."""
        return self._generator.preview(w, inject, collect)


def preview_of(generator: Generator) -> Generator:
    """The same generator at 256 px."""
    return cast(Generator, PreviewGenerator(generator))
