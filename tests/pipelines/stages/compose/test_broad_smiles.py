"""A broad smile that goes takes its folds and teeth along; teeth and nostrils do not lie before a face."""

from __future__ import annotations

import torch
from torch import Tensor

from pipelines.stages.compose import regions
from pipelines.stages.compose.filters import pixel_grid
from pipelines.stages.compose.occlusion import foreign, lips_seen, uncovered
from pipelines.stages.compose.shape import LIMITS, assembled, torn
from pipelines.stages.compose.state import prepared
from tests.pipelines.stages.compose.test_parts import mean_face, skin

SAME, MUCH = torch.zeros(1, 1, 1, 1), torch.ones(1, 1, 1, 1)


def squeezed(slope: float, at: int = 128, width: int = 30) -> Tensor:
    """A flow that shrinks a band of columns by `slope` pixels a pixel and shifts what lies beside it."""
    across = (pixel_grid(256, 256, torch.zeros(()))[:, :1] - at).clamp(-width, width) * slope
    return torch.cat((across, torch.zeros_like(across)), dim=1)


def test_only_motion_that_no_skin_makes_is_torn() -> None:
    assert not torn(squeezed(0.0) + 7.0, MUCH).any()  # all of the face moves
    assert not torn(squeezed(0.3), SAME).any()
    assert (
        float(torn(squeezed(0.3), MUCH)[0, 0, 128, 128]) > 0.3
    )  # a mouth that gets narrower is looked at more closely
    wild = torn(squeezed(1.2), SAME)
    assert float(wild[0, 0, 128, 128]) > 0.99
    assert not wild[..., :70].any()


def test_a_fold_that_only_the_photo_shows_goes_where_motion_is_torn() -> None:
    base = skin()
    photo = base.clone()
    photo[:, :, 170:205, 86:90] -= 0.7  # beside the mouth, and too fine for the inversion
    state, ones, still = prepared(photo, None, base), torch.ones(1, 1, 256, 256), torch.zeros(1, 2, 256, 256)
    where = (slice(None), slice(None), slice(175, 200), slice(86, 90))
    for gone, least, most in ((ones, 0.95, 1.0), (0 * ones, 0.0, 0.05)):
        change = assembled(state, base, still, ones, ones, mean_face().points, still, LIMITS, gone)
        assert least <= float(change.novel[where].min()) <= float(change.novel[where].max()) <= most


def test_a_few_bright_pixels_between_the_lips_are_teeth_and_cloth_is_not() -> None:
    photo, points = skin(), mean_face()
    everywhere = torch.ones(1, 1, 256, 256)
    teeth = photo.clone()
    teeth[:, :, 188:191, 118:126] += 1.2
    assert float(uncovered(teeth, photo, everywhere, points).min()) > 0.95
    beside = photo.clone()
    beside[:, :, 138:142, 100:108] += 1.2  # as many on a cheek
    assert float(uncovered(beside, photo, everywhere, points).min()) < 0.5
    cloth = photo.clone()
    cloth[:, :, 170:220, 90:170] += 1.2
    assert float(uncovered(cloth, photo, everywhere, points)[0, 0, 190, 128]) < 0.05


def test_a_nostril_in_another_light_is_no_thing_before_the_face() -> None:
    photo, points = skin(), mean_face()
    photo[:, :, 156:176, 108:128] = torch.tensor([0.9, 0.1, -0.6]).view(1, 3, 1, 1)
    assert float(foreign(photo, points).max()) == 0
    photo = skin()
    photo[:, :, 162:182, 74:94] = torch.tensor([0.9, 0.1, -0.6]).view(1, 3, 1, 1)  # the same on a cheek
    assert float(foreign(photo, points).max()) > 0.5


def test_faint_lips_are_lips() -> None:
    """A dim mouth, as one in a hundred photos has, and plain cloth."""
    points = mean_face()
    mouth = regions.lip_bodies(points, 256) * torch.tensor([0.06, -0.25, -0.2]).view(1, 3, 1, 1)
    flat = torch.full((1, 3, 256, 256), 0.1)
    assert float(lips_seen(flat + mouth, points)) > 0.9
    assert float(lips_seen(flat + 0.3 * mouth, points)) == 0
