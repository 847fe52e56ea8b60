"""The device side of the stream: invert, then edit, for one batch of aligned faces."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch

from pipelines.edits import Edit, Term, make_edit
from pipelines.images.pixels import resize_area
from pipelines.stages.edit.amounts import Amounts
from pipelines.stages.edit.directions import beyond_range
from pipelines.stages.noise import colour_noise, is_noise
from pipelines.stages.presence import SIDE
from pipelines.types import (
    Compensator,
    Composer,
    Composition,
    Embedder,
    FaceBatch,
    Generator,
    Inversion,
    LatentEditor,
    Refiner,
    Rendered,
    Synthesis,
)


class Chain:
    """Inverts and edits batches; built in the process that uses it (`pipelines.stages.build`).

    Attributes:
        resolution: side of the faces that it reads and makes.
        sketch: the same chain at 256 px and what finds strengths by it; None where no edit asks for an amount.
    """

    def __init__(
        self,
        generator: Generator,
        embedder: Embedder,
        refiners: Sequence[Refiner],
        compensator: Compensator,
        editor: LatentEditor,
        composer: Composer,
        sketch: tuple[Chain, Amounts] | None = None,
    ) -> None:
        self.generator = generator
        self.embedder = embedder
        self.refiners = refiners
        self.compensator = compensator
        self.editor = editor
        self.composer = composer
        self.sketch = sketch
        self.resolution = generator.resolution

    def invert(self, faces: FaceBatch) -> Inversion:
        """Codes, and what the refiners found beside them."""
        inversion = self.embedder.embed(faces)
        for refiner in self.refiners:
            inversion = refiner.refine(faces, inversion)
        return inversion

    @torch.no_grad()
    def edit(self, faces: FaceBatch, inversion: Inversion, edits: Sequence[Edit]) -> Rendered:
        """The unedited picture and every edit's: prepare, render the base, compose-prepare, then move, render, compose."""
        batch = Sitting(self, faces, inversion, composed=bool(edits))
        made = {edit.name: batch.draw(edit) for edit in edits if not edit.aims}
        measured = [edit for edit in edits if edit.aims]
        if not measured:
            return Rendered(batch.base.image, made)
        alone = [self._measured(each, measured) for each in batch.faces_alone()]
        for place, edit in enumerate(measured):
            made[edit.name] = _joined([pictures[place] for pictures, _ in alone])
        assert self.sketch is not None
        missed = {e.name: sum(self.sketch[1].missed(e, notes) for _, notes in alone) for e in measured}
        return Rendered(batch.base.image, made, [notes for _, notes in alone], missed)

    def _measured(self, alone: Sitting, edits: Sequence[Edit]) -> tuple[list[Composition], dict[str, float]]:
        """Every measured edit of one face, and what was measured."""
        if self.sketch is None:
            raise ValueError("this chain was built without a meter")
        chain, amounts = self.sketch
        small = FaceBatch(resize_area(alone.faces.images, chain.resolution), alone.faces.landmarks)
        sketch = Sitting(chain, small, alone.inversion)
        pictures, notes = [], dict[str, float]()
        for edit in edits:
            picture, noted = amounts.reach(small.images, edit, sketch.draw, alone.draw)
            pictures.append(picture)
            notes |= noted
        return pictures, notes


class Sitting:
    """A batch of faces with all that is made once for them, ready for any number of edits."""

    def __init__(self, chain: Chain, faces: FaceBatch, inversion: Inversion, composed: bool = True) -> None:
        self.chain, self.faces, self.inversion = chain, faces, inversion
        self._prepared = chain.compensator.prepare(faces, inversion)
        self.base = chain.compensator.render(self._prepared, inversion.latents, chain.composer.points)
        self._scene = chain.composer.prepare(faces, inversion, self.base) if composed else None
        self._quiet = colour_noise(self.base.image) if composed else None

    def faces_alone(self) -> Iterator[Sitting]:
        """Each face for itself."""
        if len(self.faces) == 1:
            yield self
            return
        for place in range(len(self.faces)):
            one = slice(place, place + 1)
            yield Sitting(self.chain, self.faces[one], self.inversion[one])

    def draw(self, edit: Edit) -> Composition:
        """One step upon the other; most edits have one."""
        chain, faces, scene = self.chain, self.faces, self._scene
        shape = faces.images.shape
        made = Composition(faces.images, faces.images.new_zeros(()).expand(shape[0], 1, *shape[2:]), faces.landmarks)
        before, after, done = self.base, self.base, edit.terms[:0]
        for number, step in enumerate(chain.composer.steps(edit)):
            if number:  # the last step's picture is this one's photo
                faces = FaceBatch(made.image, made.landmarks)
                scene = chain.composer.prepare(faces, self.inversion, before)
            terms = (*done, *step.terms)
            after = self._render(terms)
            found = chain.composer.compose(scene, after, step)
            made = replace(found, mask=torch.maximum(made.mask, found.mask) if number else found.mask)
            before, done = after, terms
        if self._quiet is None:
            return made
        drawn = resize_area(after.image, SIDE) if beyond_range([edit]) else None
        return replace(made, lost=is_noise(after.image, self._quiet), drawn=drawn)

    def _render(self, terms: Sequence[Term]) -> Synthesis:
        chain = self.chain
        codes = chain.editor.move(self.inversion, make_edit(terms))
        if codes is self.inversion.latents:
            return self.base
        return chain.compensator.render(self._prepared, codes, chain.composer.points)


def _joined(parts: Sequence[Composition]) -> Composition:
    """Several faces' compositions as one batch."""
    images, masks = torch.cat([part.image for part in parts]), torch.cat([part.mask for part in parts])
    landmarks = [part.landmarks for part in parts if part.landmarks is not None]
    lost = [part.lost for part in parts if part.lost is not None]
    drawn = [part.drawn for part in parts if part.drawn is not None]
    return Composition(
        images,
        masks,
        torch.cat(landmarks) if len(landmarks) == len(parts) else None,
        torch.cat(lost) if len(lost) == len(parts) else None,
        torch.cat(drawn) if len(drawn) == len(parts) else None,
    )
