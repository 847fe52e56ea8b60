"""Edits of skin in a part of the face: what they do there stays, what the whole face changes by along does not."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from pipelines.stages.compose import regions, skin
from pipelines.stages.compose.detail import compose_one
from pipelines.stages.compose.filters import enlarge
from pipelines.stages.compose.manners import Manner, known_manner
from pipelines.stages.compose.state import prepared
from tests.pipelines.stages.compose.test_parts import mean_face
from tests.pipelines.stages.compose.test_parts import skin as skin_picture

BEARD = Manner("skin", "mouth")
DARKER = torch.tensor([-0.3, -0.28, -0.26]).view(1, 3, 1, 1)


def part() -> Tensor:
    return regions.mouth_region(mean_face(), 256)


def change(darker: Tensor, manner: Manner = BEARD, region: Tensor | None = None) -> Tensor:
    """Of the photo, when its render gets darker by so much, n x 3 x 256 x 256."""
    photo = skin_picture()
    state = prepared(photo, None, photo)
    made = compose_one(state, (photo + darker).clamp(-1, 1), manner, region)
    return made.image - photo


def chin() -> Tensor:
    """Skin below the mouth, which is not lips."""
    mask = torch.zeros(1, 1, 256, 256)
    mask[..., 205:212, 118:138] = 1
    return mask


def mean(x: Tensor, weight: Tensor) -> float:
    return float((x * weight).sum() / weight.sum() / 3)


def test_a_beard_keeps_its_darkness_and_a_tan_is_left_out() -> None:
    assert mean(change(DARKER * part()), chin()) < -0.8 * 0.28
    everywhere = change(DARKER.expand(1, 3, 256, 256))
    assert abs(mean(everywhere, chin())) < 0.15 * 0.28
    both = change(DARKER * (0.5 + part()))
    assert -1.15 * 0.28 < mean(both, chin()) < -0.8 * 0.28


def test_where_no_skin_is_seen_around_a_part_its_own_tone_goes() -> None:
    photo, whole = skin_picture(), torch.ones(1, 1, 256, 256)
    state = prepared(photo, None, photo)
    made, _ = skin.transfer(state, (photo + DARKER).clamp(-1, 1), whole, part=True)
    assert torch.isfinite(made).all()
    assert abs(mean(made - photo, chin())) < 0.15 * 0.28


def test_rims_of_glasses_and_an_asked_region_keep_the_tone_of_what_they_cover() -> None:
    for manner, region in ((Manner("skin", "glasses"), None), (BEARD, torch.ones(1, 1, 256, 256))):
        assert abs(mean(change(DARKER.expand(1, 3, 256, 256), manner, region), chin())) < 0.15 * 0.28
    assert mean(change(DARKER * part(), BEARD, torch.ones(1, 1, 256, 256)), chin()) > -0.7 * 0.28


def test_beards_darken_skin_in_its_own_hue() -> None:
    """A render's beard is as blue as it likes: each pixel of the photo loses the same share of all its colours."""
    blue = torch.tensor([-0.3, -0.3, 0.0]).view(1, 3, 1, 1)
    photo, spot = skin_picture(), chin().bool().expand(1, 3, 256, 256)
    made = photo + change(blue * part(), known_manner("beard"))
    kept = ((1 + made) / (1 + photo))[spot].view(3, -1)
    assert float(kept.max()) < 0.9
    torch.testing.assert_close(kept[0], kept[2], atol=0.03, rtol=0)


def test_beards_do_not_lighten_where_the_rest_darkens() -> None:
    lips = DARKER * part() * (1 - chin()) + 0.3 * chin()
    assert mean(change(lips), chin()) > 0.1
    assert mean(change(lips, known_manner("beard")), chin()) < 0.02


RED = torch.tensor([0.2, -0.3, -0.2]).view(1, 3, 1, 1)


@pytest.mark.parametrize("attribute", ["lipstick", "eyeshadow"])
def test_paint_lies_on_the_landmarks_wherever_the_render_has_it(attribute: str) -> None:
    manner = known_manner(attribute)
    place = enlarge(regions.NAMED[manner.region](mean_face(), 128), 2)
    made = change((RED * place).roll(2, 2), manner)
    solid = (place > 0.95).float() * (1 - regions.irises(mean_face(), 256))
    assert solid.sum() > 50
    taken = (made * solid).sum(dim=(0, 2, 3)) / solid.sum()
    assert torch.allclose(taken, RED.flatten(), atol=0.14)
    assert float(made[:, :, place[0, 0] == 0].abs().max()) == 0


def test_brows_get_darker_in_their_own_hue_hairs_more_than_skin() -> None:
    brows = enlarge(regions.brows_region(mean_face(), 128), 2)
    hairs = torch.zeros(1, 1, 256, 256)
    hairs[..., ::4] = 1
    photo = skin_picture() - torch.tensor([0.4, 0.3, 0.2]).view(1, 3, 1, 1) * brows * hairs
    state = prepared(photo, None, photo)
    made = compose_one(state, photo + DARKER * brows, known_manner("eyebrows")).image
    left = (1 + made) / (1 + photo)
    assert float((left - left.mean(dim=1, keepdim=True)).abs().max()) < 1e-4
    inside = brows > 0.95
    dark, bare = (float(left[:, :1][inside & (hairs == on)].mean()) for on in (1, 0))
    assert dark < 0.85
    assert dark + 0.05 < bare < 0.97


def test_paint_takes_no_tan_along() -> None:
    lips = regions.lips_region(mean_face(), 256)
    made = change(DARKER.expand(1, 3, 256, 256), known_manner("lipstick"))
    assert float((made * lips).abs().max()) < 0.05


def test_lids_and_brows_lie_where_they_are() -> None:
    face = mean_face()
    points = (face.points[0] * 256).round().long()
    lids, brows = regions.lids_region(face, 256)[0, 0], regions.brows_region(face, 256)[0, 0]
    for x, y in points[[18, 19, 20, 23, 24, 25]].tolist():
        assert brows[y, x] > 0.5
        assert lids[y, x] < 0.2
    for eye in (points[36:42], points[42:48]):
        x, y = eye.float().mean(dim=0).round().long().tolist()
        assert lids[y + 3, x] < 0.1
        assert brows[y, x] == 0
        top = eye[1:3].float().mean(dim=0).round().long().tolist()
        assert lids[top[1] - 4, top[0]] > 0.5
