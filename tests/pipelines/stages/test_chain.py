"""One way through the chain: toy parts tell in which order they are asked, and what is composed upon what."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from pipelines.edits import Edit, make_edit, parse_edits
from pipelines.stages.chain import Chain
from pipelines.stages.compose.none import NoComposer
from pipelines.stages.edit.amounts import Amounts
from pipelines.stages.edit.directions import Scale
from pipelines.types import Composition, F32Array, FaceBatch, Inversion, Point, Synthesis, U8Image


class Toy:
    """Generator, embedder, refiner, compensator and editor at once: a picture is its code, a term adds its strength."""

    version, resolution = "1", 4

    def __init__(self) -> None:
        self.log: list[str] = []

    def embed(self, faces: FaceBatch) -> Inversion:
        self.log.append("embed")
        return Inversion(faces.images.mean((1, 2, 3)).reshape(-1, 1, 1))

    def refine(self, faces: FaceBatch, start: Inversion) -> Inversion:
        self.log.append("refine")
        return Inversion(start.latents + 1)

    def prepare(self, faces: FaceBatch, inversion: Inversion) -> Inversion:
        self.log.append("prepare")
        return inversion

    def render(self, prepared: Inversion, latents: Tensor, points: tuple[Point, ...] = ()) -> Synthesis:
        self.log.append(f"render {float(latents[0, 0, 0]):g}")
        return Synthesis(latents[:, :, :, None].expand(-1, 3, 4, 4), dict.fromkeys(points, latents))

    def move(self, inversion: Inversion, edit: Edit) -> Tensor:
        strength = sum(strength for _, strength in edit.terms)
        return inversion.latents + strength if strength else inversion.latents


class Adding:
    """A composer: the step's source plus what the renders differ by; each step touches one more column."""

    version, points = "1", (8,)

    def steps(self, edit: Edit) -> Sequence[Edit]:
        return [make_edit([term]) for term in reversed(edit.terms) if term[1]]

    def prepare(self, faces: FaceBatch, inversion: Inversion, base: Synthesis) -> tuple[Tensor, Synthesis]:
        assert set(base.features) == {8}
        return faces.images, base

    def compose(self, prepared: tuple[Tensor, Synthesis], edited: Synthesis, edit: Edit) -> Composition:
        images, base = prepared
        mask = torch.zeros(len(images), 1, 4, 4)
        mask[..., int(edit.terms[0][1]) % 4] = 1
        return Composition(images + edited.image - base.image, mask)


def chain(toy: Toy, composer: Adding | NoComposer) -> Chain:
    return Chain(toy, toy, [toy, toy], toy, toy, composer)  # type: ignore[arg-type]


FACES = FaceBatch(torch.full((2, 3, 4, 4), 10.0))


def test_refiners_go_on_from_each_other() -> None:
    toy = Toy()
    assert float(chain(toy, NoComposer()).invert(FACES).latents[0, 0, 0]) == 12
    assert toy.log == ["embed", "refine", "refine"]


def test_without_composing_the_edit_is_the_render_and_the_mask_is_full() -> None:
    toy = Toy()
    made = chain(toy, NoComposer()).edit(FACES, Inversion(torch.ones(2, 1, 1)), parse_edits(["a=2,b=3", "a=0"]))
    assert toy.log == ["prepare", "render 1", "render 6"]
    assert torch.equal(made.edits["a+2,b+3"].image, torch.full((2, 3, 4, 4), 6.0))
    assert made.edits["a+2,b+3"].mask.all()
    assert torch.equal(made.edits["a+0"].image, made.base)


def test_steps_are_composed_one_upon_the_other_along_partial_sums() -> None:
    toy = Toy()
    made = chain(toy, Adding()).edit(FACES, Inversion(torch.ones(2, 1, 1)), parse_edits(["a=2,b=3", "a=0,b=0"]))
    assert toy.log == ["prepare", "render 1", "render 4", "render 6"]
    both = made.edits["a+2,b+3"]
    assert torch.equal(both.image, FACES.images + 5)
    assert both.mask[0, 0, 0].tolist() == [0, 0, 1, 1]
    nothing = made.edits["a+0,b+0"]
    assert torch.equal(nothing.image, FACES.images)
    assert not nothing.mask.any()


def measured(images: list[U8Image]) -> dict[str, F32Array]:
    return {"age": np.array([image.mean() for image in images], np.float32)}


def measuring_chain() -> Chain:
    """Whose attribute `age` is the mean level of a picture, 127.5 to a unit of strength."""
    amounts = Amounts(measured, {"age": Scale(100, 20, 127.5, (-1, 1))})
    toy = Toy()
    return Chain(toy, toy, [], toy, toy, NoComposer(), (chain(Toy(), NoComposer()), amounts))  # type: ignore[arg-type]


def test_each_face_of_a_batch_gets_its_own_strength_and_what_it_gets_alone() -> None:
    codes = torch.tensor([0.0, 0.4, -0.9]).reshape(3, 1, 1)
    faces = FaceBatch(codes[:, :, :, None].expand(3, 3, 4, 4).clone())
    edits = parse_edits(["age:=150y", "a=0.1"])
    made = measuring_chain().edit(faces, Inversion(codes), edits)
    levels = (made.edits["age=150y"].image.mean((1, 2, 3)) + 1) * 127.5
    assert levels[:2].tolist() == pytest.approx([150, 150], abs=1.1)
    assert float(levels[2]) == pytest.approx(140.25, abs=1)  # as far as the range allows
    assert made.missed == {"age=150y": 1}
    assert made.notes[2]["age=150y:age.strength"] == 1.0
    for place in range(3):
        one = slice(place, place + 1)
        alone = measuring_chain().edit(faces[one], Inversion(codes)[one], edits)
        for name, found in alone.edits.items():
            assert torch.equal(found.image, made.edits[name].image[one])
        assert alone.notes[0] == made.notes[place]
