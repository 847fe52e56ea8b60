"""What an edit brings has the photo's colours and its sharpness, and leaves the person's outline."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from pipelines.stages.compose import regions
from pipelines.stages.compose.detail import compose_one
from pipelines.stages.compose.filters import blur, luma
from pipelines.stages.compose.grain import FULLER, kept_crisp
from pipelines.stages.compose.lips import LipColour, between_lips, own_colours, without_yellow
from pipelines.stages.compose.manners import Manner, known_manner
from pipelines.stages.compose.state import prepared
from tests.pipelines.stages.compose.test_detail import face, smile
from tests.pipelines.stages.compose.test_parts import mean_face, skin

PINK = torch.tensor([0.3, -0.2, 0.2]).view(1, 3, 1, 1)


def lips() -> Tensor:
    return regions.lip_bodies(mean_face(), 256)


def mean(picture: Tensor, weight: Tensor) -> Tensor:
    return (picture * weight).sum(dim=(0, 2, 3)) / weight.sum()


def test_pink_lips_of_a_render_get_the_photo_s_colour_and_skin_beside_them_none() -> None:
    photo = skin()
    pink = torch.lerp(photo, photo + PINK, lips())
    change = LipColour(prepared(photo, None, photo), mean_face().points).change(pink)
    assert torch.allclose(mean(pink + change, lips()), mean(photo, lips()), atol=0.05)
    assert (mean(pink, lips()) - mean(photo, lips())).abs().max() > 0.2
    cheeks = regions.bare_skin(mean_face(), 256)
    assert (change * cheeks).abs().max() < 1e-3


def test_a_render_gets_the_photo_s_lips_and_white_teeth_and_keeps_its_light() -> None:
    photo, points = skin(), mean_face().points
    state = prepared(photo, None, photo)
    gap = between_lips(points)
    render = torch.lerp(photo, photo + PINK, lips())
    render = torch.lerp(render, torch.tensor([0.7, 0.6, 0.0]).view(1, 3, 1, 1).expand_as(render), gap)
    made = own_colours(state, render, render, points)
    solid = lips() * (1 - gap).clamp_min(0)
    before, after, own = (mean(x, solid) for x in (render, made, photo))
    assert ((after - own) - (after - own).mean()).abs().max() < 0.5 * (
        (before - own) - (before - own).mean()
    ).abs().max()
    assert (luma(made - render) * solid).abs().max() < 0.02
    assert (made - render)[:, 2:][gap > 0.5].min() > 0.05
    assert (made - render)[..., :100, :].abs().max() < 1e-6


def test_teeth_lose_yellow_and_lips_nothing() -> None:
    yellow, red = (torch.tensor(colour).view(1, 3, 1, 1) for colour in ([0.7, 0.6, 0.0], [0.6, 0.0, 0.1]))
    everywhere = torch.ones(1, 1, 1, 1)
    assert 0.1 < (without_yellow(yellow, everywhere) - yellow)[0, 2].item() < 0.6
    assert torch.equal(without_yellow(red, everywhere), red)
    assert torch.equal(without_yellow(yellow, everywhere * 0), yellow)


def test_what_reading_costs_is_given_back_and_a_soft_photo_stays_soft() -> None:
    photo = torch.randn(1, 3, 128, 128, generator=torch.Generator().manual_seed(2))
    where, moved = torch.ones(1, 1, 128, 128), blur(photo, 0.4)

    def fine(x: Tensor) -> float:
        return (luma(x) - blur(luma(x), 1.0)).abs().mean().item()

    assert fine(moved) < 0.9 * fine(photo)
    assert fine(moved) < fine(kept_crisp(moved, photo, where)) <= min(1.0, FULLER) * fine(photo) * 1.01
    assert torch.equal(kept_crisp(moved, photo, where * 0), moved)
    assert torch.allclose(kept_crisp(photo, moved, where), photo)  # never softer


def test_a_smile_ends_at_the_person_s_outline() -> None:
    photo = face()
    person = torch.ones(1, 1, 256, 256)
    person[..., :110] = 0
    made = compose_one(prepared(photo, None, photo, lambda _: person), smile(photo, 1.0), Manner("shape", "mouth"))
    assert torch.equal(made.image[..., :110], photo[..., :110])
    assert made.mask[..., 128:].max() > 0.5


def test_an_edit_of_skin_takes_the_share_of_colour_that_its_manner_says() -> None:
    photo = face()
    spot = regions.bare_skin(mean_face(), 256) * torch.linspace(-1, 1, 256).view(1, 1, 256, 1).sign()
    edited = photo + 0.2 * torch.tensor([1.0, 0.0, -1.0]).view(1, 3, 1, 1) * spot
    changes = []
    for share in (0.0, 0.3, 1.0):
        made = compose_one(prepared(photo, None, photo), edited, Manner("skin", colour=share)).image - photo
        changes.append((made - luma(made)).abs().mean().item())
    assert changes[0] < 1e-4
    assert abs(changes[1] / changes[2] - 0.3) < 0.03


def test_hands_before_a_mouth_stay_bit_for_bit() -> None:
    photo = face()
    hand = torch.zeros(1, 1, 256, 256)
    hand[..., 190:, 120:150] = 1
    state = prepared(photo, None, photo, hands=lambda _: hand)
    for manner in (Manner("shape", "mouth"), Manner("skin")):
        made = compose_one(state, smile(photo, 1.0), manner).image
        assert torch.equal(made[..., 190:, 120:150], photo[..., 190:, 120:150])
        assert not torch.equal(made, photo)


@pytest.mark.parametrize("region", [None, "face", "all"])
def test_age_moves_skin_and_leaves_irises_and_teeth_wherever_it_is_asked_for(region: str | None) -> None:
    photo = skin()
    edited = smile(photo, 1.0) + 0.2 * torch.randn(1, 3, 256, 256, generator=torch.Generator().manual_seed(4))
    made = compose_one(prepared(photo, None, photo), edited, known_manner("age"), region)
    for shape in (regions.LEFT_EYE, regions.RIGHT_EYE, regions.INNER_LIPS):
        x, y = (mean_face().points[0, list(shape)].mean(dim=0) * 256).int().tolist()
        around = (..., slice(y - 1, y + 2), slice(x - 3, x + 4))
        assert torch.equal(made.image[around], photo[around])
    assert not torch.equal(made.image, photo)
