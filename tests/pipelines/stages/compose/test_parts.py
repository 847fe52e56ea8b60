"""The composer's parts: filters on both paths, masks, what covers a face, a sweep of real renders."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from pipelines.images.decode import decode, read_photo
from pipelines.images.pixels import to_tensor
from pipelines.stages.compose import regions
from pipelines.stages.compose.detail import compose_one
from pipelines.stages.compose.filters import (
    MAX_SIGMA,
    _cv_lines,
    _torch_lines,
    _weights,
    dilate,
    enlarge,
    length,
    reached,
)
from pipelines.stages.compose.manners import known_manner
from pipelines.stages.compose.occlusion import foreign
from pipelines.stages.compose.shape import find_change
from pipelines.stages.compose.state import prepared
from tests.pipelines.stages.compose.test_detail import face, smile

SWEEP = os.environ.get("GANINV_SWEEP")  # a folder: photo.png, base.png, 01.png, ... at rising strengths, landmarks.npy


def mean_face(n: int = 1) -> regions.Face:
    return regions.face_of(regions.mean_landmarks(torch.zeros(())).expand(n, 68, 2))


def skin(hair: bool = False) -> Tensor:
    """1 x 3 x 256 x 256: skin with a little noise, red lips, dark eyes; a symmetric dark beard where asked."""
    points = mean_face()
    noise = torch.randn(1, 3, 256, 256, generator=torch.Generator().manual_seed(1))
    picture = torch.tensor([0.5, 0.1, -0.1]).view(1, 3, 1, 1) + 0.03 * noise
    if hair:
        low = regions.mouth_region(points, 256)
        picture = torch.lerp(picture, torch.tensor([-0.7, -0.75, -0.8]).view(1, 3, 1, 1), low)
    lips = regions.soft(regions.polygon_distance(points.points[:, list(regions.LIPS)], 256), points.unit, 0.0, 0.05)
    eyes = regions.irises(points, 256)
    picture = torch.lerp(picture, torch.tensor([0.4, -0.3, -0.3]).view(1, 3, 1, 1), lips)
    return torch.lerp(picture, torch.full((1, 3, 1, 1), -0.8), eyes)


@pytest.mark.parametrize("sigma", [0.7, 1.5, MAX_SIGMA])
def test_both_ways_to_blur_agree(sigma: float) -> None:
    x = torch.randn(2, 3, 40, 52, generator=torch.Generator().manual_seed(0))
    line = _weights(sigma)
    assert torch.allclose(_cv_lines(x, line), _torch_lines(x, line), atol=1e-6)
    assert torch.equal(_cv_lines(x, line)[1:], _cv_lines(x[1:], line))


@pytest.mark.parametrize("channels", [1, 3])
def test_a_cpu_enlarges_and_dilates_as_torch_does(channels: int) -> None:
    x = torch.randn(2, channels, 24, 40, generator=torch.Generator().manual_seed(1))
    asked = x.clone().requires_grad_()  # takes torch's way
    for factor in (2, 4):
        assert torch.allclose(enlarge(x, factor), enlarge(asked, factor), atol=1e-6)
        assert torch.allclose(enlarge(x[..., 3:9, 5:], factor), enlarge(asked[..., 3:9, 5:], factor), atol=1e-6)
    for radius in (1, 3):
        assert torch.equal(dilate(x, radius), dilate(asked, radius))


def test_only_what_hangs_together_is_reached() -> None:
    room = torch.zeros(1, 1, 12, 12)
    room[..., 2:6, 2:10] = 0.8
    room[..., 9:11, 9:11] = 1.0  # an island
    seed = torch.zeros_like(room)
    seed[..., 3, 3] = 1.0
    found = reached(seed, room, 1, 10)
    assert torch.equal(found[..., 2:6, 2:10], room[..., 2:6, 2:10])
    assert found[..., 9:11, 9:11].max() == 0


def test_length_is_the_norm() -> None:
    flow = torch.randn(2, 2, 5, 5)
    assert torch.allclose(length(flow), flow.norm(dim=1, keepdim=True))


@pytest.mark.parametrize("name", sorted(regions.NAMED))
def test_named_regions_are_masks_of_their_place(name: str) -> None:
    mask = regions.asked_region(mean_face(2), 64, name)
    assert mask.shape == (2, 1, 64, 64)
    assert 0 <= float(mask.min()) <= float(mask.max()) == 1
    middle_of_mouth, forehead_hair, corner = mask[0, 0, 47, 32], mask[0, 0, 5, 32], mask[0, 0, 63, 0]
    assert float(middle_of_mouth) == (1 if name in ("face", "mouth", "jaw", "all") else 0)
    assert float(forehead_hair) == (1 if name in ("hair", "all") else 0)
    assert float(corner) == (1 if name == "all" else 0)


def test_a_grey_picture_is_a_region_and_an_unknown_name_is_not() -> None:
    picture = torch.zeros(1, 1, 512, 512)
    picture[..., 300:, :] = 1
    mask = regions.asked_region(mean_face(2), 256, picture)
    assert mask.shape == (2, 1, 256, 256)
    assert not mask[:, :, :150].any()
    assert mask[:, :, 150:].all()
    with pytest.raises(ValueError, match="there is no region 'nose'; known: face, mouth, lips, eyes, lids, brows, "):
        regions.asked_region(mean_face(), 64, "nose")


def test_a_region_that_was_asked_for_replaces_the_attribute_s() -> None:
    photo = face(1)
    state = prepared(photo, None, photo)
    asked = torch.zeros(1, 1, 256, 256)
    asked[..., 100:] = 1
    change = find_change(state, smile(photo, 1.5), "mouth", asked)
    assert torch.all(change.mask[..., :100] == 0)
    assert float(change.mask.max()) > 0


def test_what_covers_half_a_mouth_is_foreign_and_a_beard_is_not() -> None:
    points = mean_face()
    assert float(foreign(skin(), points).max()) == 0
    assert float(foreign(skin(hair=True), points).max()) == 0
    covered = skin(hair=True)
    covered[:, :, 165:235, 134:190] = torch.tensor([-0.6, 0.2, 0.8]).view(1, 3, 1, 1)
    found = foreign(covered, points)
    assert float((found[:, :, 168:210, 138:160] > 0.99).float().mean()) > 0.97
    assert float(found[:, :, 40:120].max()) == 0


def test_what_covers_half_a_mouth_stays() -> None:
    photo = skin()
    photo[:, :, 165:235, 134:190] = torch.tensor([-0.6, 0.2, 0.8]).view(1, 3, 1, 1)
    made = compose_one(prepared(photo, None, photo), smile(photo, 1.5), known_manner("smile"))
    inside = (slice(None), slice(None), slice(168, 232), slice(138, 176))
    share = float(((made.image[inside] - photo[inside]).abs() < 2 / 127.5).float().mean())
    assert share > 0.95, share
    assert float(made.mask.max()) > 0.9


@pytest.mark.skipif(not SWEEP, reason="GANINV_SWEEP names no folder of real renders")
def test_a_sweep_of_real_renders_is_smooth() -> None:
    folder = Path(SWEEP or "")
    read = {path.stem: to_tensor([decode(read_photo(path))]) for path in sorted(folder.glob("*.png"))}
    photo, base = read.pop("photo"), read.pop("base")
    state = prepared(photo, torch.from_numpy(np.load(folder / "landmarks.npy"))[None], base)
    manner = known_manner(folder.name.split("-")[0])
    pictures = [photo, *(compose_one(state, edited, manner).image for edited in read.values())]
    whole = float((pictures[-1] - photo).square().mean().sqrt())
    steps = [float((b - a).square().mean().sqrt()) / whole for a, b in itertools.pairwise(pictures)]
    assert max(steps) < 0.5, steps  # eight equal steps of a straight line: 0.125 each
