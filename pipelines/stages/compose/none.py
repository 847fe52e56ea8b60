"""`--compose none`: the edited picture as the generator made it, which is what methods are compared by."""

from __future__ import annotations

from collections.abc import Sequence

from pipelines.edits import Edit
from pipelines.stages.entry import Parts, composers
from pipelines.types import Composer, Composition, FaceBatch, Generator, Inversion, Point, Synthesis

VERSION = "1"


class NoComposer:
    """See `pipelines.types.Composer`: every pixel is the generator's, so the mask is one everywhere."""

    version = VERSION
    points: tuple[Point, ...] = ()

    def steps(self, edit: Edit) -> Sequence[Edit]:
        return (edit,)

    def prepare(self, faces: FaceBatch, inversion: Inversion, base: Synthesis) -> None:
        """Nothing is needed."""

    def compose(self, prepared: None, edited: Synthesis, edit: Edit) -> Composition:
        """The picture as it is."""
        return Composition(
            edited.image, edited.image.new_ones(()).expand(len(edited.image), 1, *edited.image.shape[2:])
        )


@composers.register("none", version=VERSION)
def build_none(parts: Parts, generator: Generator) -> Composer:
    """Needs nothing."""
    return NoComposer()
