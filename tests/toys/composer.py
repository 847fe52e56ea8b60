"""A toy composer, as a user's own file: the left half is the photo, the right half the edit."""

from __future__ import annotations

import torch

from pipelines.edits import Edit
from pipelines.stages.compose.none import NoComposer
from pipelines.stages.entry import Parts, composers
from pipelines.types import Composer, Composition, FaceBatch, Generator, Inversion, Synthesis


class HalfComposer(NoComposer):
    def prepare(self, faces: FaceBatch, inversion: Inversion, base: Synthesis) -> torch.Tensor:  # type: ignore[override]
        return faces.images

    def compose(self, prepared: torch.Tensor, edited: Synthesis, edit: Edit) -> Composition:  # type: ignore[override]
        mask = torch.zeros_like(prepared[:, :1])
        mask[..., mask.shape[-1] // 2 :] = 1
        return Composition(torch.where(mask > 0, edited.image, prepared), mask)


@composers.register("toy-half")
def build(parts: Parts, generator: Generator) -> Composer:
    return HalfComposer()
