"""An edit that went too far: colour noise is told from every picture that a face can be."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from pipelines.stages.noise import colour_noise, is_noise


def faces(count: int = 2, side: int = 256) -> Tensor:
    """Smooth coloured ovals before sharp black and white stripes: contrast without a change of colour."""
    axis = torch.linspace(-1, 1, side)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    oval = torch.sigmoid(12 * (0.6 - torch.hypot(x, 0.8 * y)))
    stripes = torch.sign(torch.sin(60 * x)).expand(3, -1, -1) * 0.8
    skin = torch.tensor([0.6, 0.1, -0.2]).view(3, 1, 1) + 0.1 * y
    return torch.stack([stripes * (1 - oval) + skin * oval * (1 - 0.2 * n) for n in range(count)])


def noise(part: int, side: int = 256) -> Tensor:
    """Spots of saturated colours, 8 px large, in the left `part` columns."""
    spots = torch.randn(2, 3, side // 8, side // 8, generator=torch.Generator().manual_seed(0)).mul(9).clamp(-1, 1)
    made = faces(2, side)
    made[..., :part] = spots.repeat_interleave(8, 2).repeat_interleave(8, 3)[..., :part]
    return made


@pytest.mark.parametrize("part", [256, 64])
def test_colour_noise_is_noise_also_in_a_part(part: int) -> None:
    assert is_noise(noise(part), colour_noise(faces())).tolist() == [True, True]


@pytest.mark.parametrize(
    "edited", [faces().flip(3), faces() * 1.5, faces().mean(1, keepdim=True).expand(-1, 3, -1, -1), faces().roll(40, 3)]
)
def test_a_changed_face_is_none(edited: Tensor) -> None:
    assert is_noise(edited, colour_noise(faces())).tolist() == [False, False]


def test_a_colourful_photo_stays_what_it_was() -> None:
    photo = noise(256)
    assert is_noise(photo.flip(3), colour_noise(photo)).tolist() == [False, False]


def test_numbers_far_outside_count_as_the_picture_that_is_shown() -> None:
    """Saturation hides nothing and adds nothing."""
    assert torch.equal(colour_noise(noise(256) * 1e6), colour_noise(noise(256).sign()))


def test_a_face_is_judged_by_itself() -> None:
    both = torch.cat([faces(1), noise(256)[:1]])
    assert torch.allclose(colour_noise(both), torch.cat([colour_noise(both[:1]), colour_noise(both[1:])]))
