"""The device side of the stream: invert, then edit, for one batch of aligned faces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from pipelines.edits import Edit, make_edit
from pipelines.stages.noise import colour_noise, is_noise
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
    """

    def __init__(
        self,
        generator: Generator,
        embedder: Embedder,
        refiners: Sequence[Refiner],
        compensator: Compensator,
        editor: LatentEditor,
        composer: Composer,
    ) -> None:
        self.generator = generator
        self.embedder = embedder
        self.refiners = refiners
        self.compensator = compensator
        self.editor = editor
        self.composer = composer
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
        prepared = self.compensator.prepare(faces, inversion)
        base = self.compensator.render(prepared, inversion.latents, self.composer.points)
        if not edits:
            return Rendered(base.image, {})
        scene, quiet = self.composer.prepare(faces, inversion, base), colour_noise(base.image)
        made = {}
        for edit in edits:
            composed, after = self._composed(edit, faces, inversion, prepared, base, scene)
            made[edit.name] = replace(composed, lost=is_noise(after.image, quiet))
        return Rendered(base.image, made)

    def _composed(
        self, edit: Edit, faces: FaceBatch, inversion: Inversion, prepared: Any, base: Synthesis, scene: Any
    ) -> tuple[Composition, Synthesis]:
        """One step upon the other; most edits have one. With it what the generator made of the last codes."""
        shape = faces.images.shape
        made = Composition(faces.images, faces.images.new_zeros(()).expand(shape[0], 1, *shape[2:]), faces.landmarks)
        before, after, done = base, base, edit.terms[:0]
        for number, step in enumerate(self.composer.steps(edit)):
            if number:  # the last step's picture is this one's photo
                faces = FaceBatch(made.image, made.landmarks)
                scene = self.composer.prepare(faces, inversion, before)
            terms = (*done, *step.terms)
            codes = self.editor.move(inversion, make_edit(terms))
            after = (
                base if codes is inversion.latents else self.compensator.render(prepared, codes, self.composer.points)
            )
            found = self.composer.compose(scene, after, step)
            made = replace(found, mask=torch.maximum(made.mask, found.mask) if number else found.mask)
            before, done = after, terms
        return made, after
