"""The composer on pictures whose right answer is known."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from pipelines.edits import Edit, make_edit
from pipelines.stages.compose import regions
from pipelines.stages.compose.detail import DetailComposer
from pipelines.stages.compose.filters import blur, pixel_grid, warp
from pipelines.stages.compose.manners import MANNERS, Manner, known_manner, measured_manner
from pipelines.types import Composition, FaceBatch, Inversion, Synthesis

SIDE = 256
NOTHING = Inversion(torch.zeros(1, 18, 4))


def face(seed: int = 0, grey: bool = False, tint: Tensor | None = None) -> Tensor:
    """1 x 3 x 256 x 256: smooth texture with dark eyes and red lips where an aligned face has them."""
    noise = torch.randn(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(seed))
    picture = 0.2 + 0.8 * blur(noise, 2.5)
    points = regions.face_of(regions.mean_landmarks(noise)[None])
    lips = regions.soft(regions.polygon_distance(points.points[:, list(regions.LIPS)], SIDE), points.unit, 0.0, 0.05)
    eyes = regions.irises(points, SIDE)
    picture = picture + lips * torch.tensor([0.2, -0.4, -0.3]).view(1, 3, 1, 1) - 0.8 * eyes
    if grey or tint is not None:
        picture = picture.mean(dim=1, keepdim=True).expand(1, 3, SIDE, SIDE)
    if tint is not None:
        picture = picture * tint.view(1, 3, 1, 1)
    return picture.clamp(-0.95, 0.95).contiguous()


def bump(strength: float, at: tuple[float, float] = (0.5, 0.74), width: float = 0.06) -> Tensor:
    """A flow of `strength` pixels upward around a place (the mouth)."""
    place = (pixel_grid(SIDE, SIDE, torch.zeros(())) + 0.5) / SIDE
    distance = (place - torch.tensor(at).view(1, 2, 1, 1)).square().sum(dim=1, keepdim=True)
    return torch.cat((torch.zeros(1, 1, SIDE, SIDE), strength * torch.exp(-distance / (2 * width**2))), dim=1)


def smile(picture: Tensor, strength: float) -> Tensor:
    return warp(picture, bump(4 * strength).expand(len(picture), 2, SIDE, SIDE))


def manner(name: str) -> Manner:
    """As built in, and a direction of the user's own that is of skin."""
    return Manner("skin", unit=1.5, rows="6-17") if name.startswith("make_up") else known_manner(name)


def composed(photo: Tensor, base: Tensor, edited: Tensor, edit: Edit) -> Composition:
    composer = DetailComposer(manner)
    return composer.compose(
        composer.prepare(FaceBatch(photo), NOTHING, Synthesis(base, {})), Synthesis(edited, {}), edit
    )


@pytest.mark.parametrize("attribute", sorted(MANNERS))
def test_strength_zero_is_the_photo_bit_for_bit(attribute: str) -> None:
    photo, base = face(1), face(2)
    made = composed(photo, base, base, make_edit([(attribute, 0.0)]))
    assert torch.equal(made.image, photo)
    assert not made.mask.any()


@pytest.mark.parametrize("attribute", sorted(MANNERS))
def test_outside_the_mask_every_bit_is_the_photo_s(attribute: str) -> None:
    photo, base = face(1), face(1) * 0.9
    made = composed(photo, base, smile(base, 1.5) + 0.1, make_edit([(attribute, 1.0)]))
    outside = (made.mask == 0).expand_as(photo)
    assert outside.any()
    assert torch.equal(made.image[outside], photo[outside])
    assert 0 <= float(made.mask.min()) <= float(made.mask.max()) <= 1


@pytest.mark.parametrize("attribute", ["smile", "make_up", "age", "yaw"])
def test_a_face_s_result_does_not_depend_on_its_batch(attribute: str) -> None:
    photos, bases = torch.cat([face(i) for i in range(3)]), torch.cat([face(i) * 0.9 for i in range(3)])
    edited, edit = smile(bases, 1.0), make_edit([(attribute, 1.0)])
    together = composed(photos, bases, edited, edit)
    for i in range(3):
        alone = composed(photos[i : i + 1], bases[i : i + 1], edited[i : i + 1], edit)
        assert torch.equal(alone.image, together.image[i : i + 1])


def test_detail_of_the_photo_follows_the_motion() -> None:
    base = face(1)
    photo = base + 0.1 * blur(torch.randn(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(9)), 1.0)
    made = composed(photo, base, smile(base, 1.0), make_edit([("smile", 1.0)]))
    near = made.mask > 0.9
    error = (made.image - smile(photo, 1.0)).abs()[near.expand_as(photo)].mean()
    still = (photo - smile(photo, 1.0)).abs()[near.expand_as(photo)].mean()
    assert error < 0.35 * still


@pytest.mark.parametrize("attribute", ["smile", "yaw", "make_up", "age"])
def test_a_sweep_is_smooth(attribute: str) -> None:
    base = face(1)
    photo, lines = base * 0.95, blur(face(5), 1.0)
    pictures = [photo]
    for strength in torch.arange(0.1, 1.05, 0.1).tolist():
        edited = base + 0.2 * strength * lines if attribute == "make_up" else smile(base, strength) + 0.1 * strength
        pictures.append(composed(photo, base, edited, make_edit([(attribute, strength)])).image)
    steps = [float((b - a).square().mean().sqrt()) for a, b in itertools.pairwise(pictures)]
    whole = float((pictures[-1] - pictures[0]).square().mean().sqrt())
    assert max(steps) < 0.35 * whole


def test_background_stands_still_where_a_head_turns() -> None:
    """A head before a plain grey: what it uncovers is that grey, though the renders have another background there."""
    points = regions.face_of(regions.mean_landmarks(torch.zeros(()))[None])
    head = regions.soft(regions.polygon_distance(regions.oval(points), SIDE), points.unit, 0.0, 0.02)
    away = torch.tensor([8.0, 0.0]).view(1, 2, 1, 1).expand(1, 2, SIDE, SIDE)
    later = warp(head, away)
    base, photo = torch.lerp(face(8), face(1), head), torch.lerp(torch.full_like(head, 0.5), face(1), head)
    edited = torch.lerp(face(8), warp(face(1), away), later)
    calls = iter((head, later))
    composer = DetailComposer(matte=lambda _: next(calls))
    state = composer.prepare(FaceBatch(photo), NOTHING, Synthesis(base, {}))
    made = composer.compose(state, Synthesis(edited, {}), make_edit([("yaw", 1.0)])).image
    ground = ((blur(head, 3.0) < 0.001) & (blur(later, 3.0) < 0.001)).expand_as(photo)
    assert ground.any()
    assert float((made - photo)[ground].abs().max()) < 0.05


def test_grey_stays_grey_and_a_tint_stays() -> None:
    sepia = torch.tensor([1.0, 0.85, 0.7])
    for photo in (face(1, grey=True), face(1, tint=sepia)):
        base = (photo + 0.05 * face(3)).clamp(-1, 1)
        edited = smile(base, 1.0) + torch.tensor([0.1, 0.0, -0.1]).view(1, 3, 1, 1) * bump(1.0)[:, 1:]
        for attribute in ("smile", "make_up"):
            made = composed(photo, base, edited, make_edit([(attribute, 1.0)])).image
            scale = sepia.view(1, 3, 1, 1) if photo is not None and not torch.equal(photo[:, 0], photo[:, 1]) else 1.0
            plain = made / scale
            assert float((plain - plain.mean(dim=1, keepdim=True)).abs().max()) < 0.03


def test_skin_edits_leave_irises_and_tone_alone() -> None:
    photo = face(1)
    edited = photo + torch.tensor([0.3, 0.1, -0.2]).view(1, 3, 1, 1)  # a tan that falls on everything
    made = composed(photo, photo, edited, make_edit([("make_up", 1.0)]))
    assert float((made.image - photo).abs().mean()) < 0.02
    points = regions.face_of(regions.mean_landmarks(photo)[None])
    openings = [points.points[:, list(eye)] for eye in (regions.LEFT_EYE, regions.RIGHT_EYE)]
    inside = torch.minimum(*(regions.polygon_distance(line, SIDE) for line in openings)) < 0
    eyes = inside.expand_as(photo)
    blue = photo + 0.5 * regions.irises(points, SIDE) * torch.tensor([-0.5, 0.0, 0.5]).view(1, 3, 1, 1)
    made = composed(photo, photo, blue, make_edit([("make_up", 1.0)]))
    assert float((made.image - photo)[eyes].abs().max()) < 1e-6


def test_a_covered_mouth_is_kept() -> None:
    base = face(1)
    photo = base.clone()
    photo[:, :, 150:210, 80:180] = 0.6  # cloth over nose, mouth and chin
    made = composed(photo, base, smile(base, 1.5), make_edit([("smile", 1.0)]))
    assert torch.equal(made.image, photo)


def test_without_landmarks_the_mean_face_serves() -> None:
    photo = face(1)
    composer = DetailComposer(manner)
    nothing = torch.full((1, 68, 2), float("nan"))
    edit, edited = make_edit([("smile", 1.0)]), Synthesis(smile(photo, 1.0), {})
    pictures = [
        composer.compose(composer.prepare(FaceBatch(photo, points), NOTHING, Synthesis(photo, {})), edited, edit).image
        for points in (None, nothing, regions.mean_landmarks(photo)[None])
    ]
    assert torch.equal(pictures[0], pictures[1])
    assert torch.equal(pictures[0], pictures[2])


def test_several_attributes_go_step_by_step() -> None:
    composer, base = DetailComposer(manner), face(1)
    photo, edit = base * 0.95, make_edit([("make_up", 1.0), ("smile", 1.0), ("yaw", 0.0)])
    unit = MANNERS["smile"].unit
    assert composer.steps(edit) == [make_edit([("smile", unit)]), make_edit([("make_up@6-17", 1.5)])]
    assert composer.steps(make_edit([("make_up@8-17", 2.0)])) == [make_edit([("make_up@8-17", 2.0)])]
    first, both = smile(base, 1.0), smile(base, 1.0) + 0.2 * blur(face(4), 1.0)
    one = composed(photo, base, first, make_edit([("smile", unit)]))
    state = composer.prepare(FaceBatch(one.image, one.landmarks), NOTHING, Synthesis(first, {}))
    two = composer.compose(state, Synthesis(both, {}), make_edit([("make_up", 1.0)]))
    assert not torch.equal(one.image, two.image)
    untouched = ((one.mask == 0) & (two.mask == 0)).expand_as(photo)
    assert torch.equal(two.image[untouched], photo[untouched])


def test_small_pictures_of_test_generators_work() -> None:
    small = torch.nn.functional.avg_pool2d(face(1), 8)
    made = composed(small, small, smile(face(1), 1.5)[..., ::8, ::8], make_edit([("smile", 1.0)]))
    assert made.image.shape == small.shape
    outside = (made.mask == 0).expand_as(small)
    assert torch.equal(made.image[outside], small[outside])


def test_the_manner_of_an_unknown_direction_is_measured() -> None:
    base = face(1)
    assert measured_manner(base, base + 0.1).way == "skin"
    assert measured_manner(base, smile(base, 2.0)) == Manner("shape", "mouth")
    assert measured_manner(base, warp(base, torch.full((1, 2, SIDE, SIDE), 4.0))).way == "head"


def test_an_asked_region_bounds_the_edit() -> None:
    photo, base = face(1), face(1) * 0.9
    left = torch.zeros(1, 1, SIDE, SIDE)
    left[..., : SIDE // 2] = 1
    for region, outside in (
        ("mouth", (slice(0, SIDE // 3), slice(None))),
        (left, (slice(None), slice(SIDE * 3 // 4, None))),
    ):
        composer = DetailComposer(manner, region=region)
        state = composer.prepare(FaceBatch(photo), NOTHING, Synthesis(base, {}))
        made = composer.compose(state, Synthesis(smile(base, 1.5), {}), make_edit([("make_up", 1.0)]))
        assert made.mask.any()
        assert torch.equal(made.image[..., outside[0], outside[1]], photo[..., outside[0], outside[1]])


def test_skin_edits_leave_teeth_alone() -> None:
    base = face(1)
    photo, edited = base * 0.95, base + 0.3 * blur(face(5), 1.0)
    made = composed(photo, base, edited, make_edit([("make_up", 1.0)])).image
    points = regions.face_of(regions.mean_landmarks(torch.zeros(()))[None]).points[:, list(regions.INNER_LIPS)]
    mouth = (regions.polygon_distance(points, SIDE) < 0).expand_as(photo)
    assert mouth.any()
    assert torch.equal(made[mouth], photo[mouth])
    assert not torch.equal(made, photo)
