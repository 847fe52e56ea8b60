"""The region that an edit should leave alone, and the error there; faces are drawn by formula."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from pipelines.metrics.background import MARGIN, OutsideError, mse_outside, outside_face
from pipelines.metrics.faces import Trio
from pipelines.metrics.registry import build_metrics, metrics
from pipelines.metrics.tools import Tools
from tests.pipelines.metrics.fakes import FakeStore, black, faces, noisy, picture

F64 = npt.NDArray[np.float64]


def _arc(count: int, start: float, end: float, centre: tuple[float, float], wide: float, high: float) -> F64:
    angle = np.radians(np.linspace(start, end, count, endpoint=end - start < 360))
    return np.stack([centre[0] + wide * np.cos(angle), centre[1] + high * np.sin(angle)], axis=1)


def face(x: float = 0.5) -> F64:
    """68 landmarks of an upright face: temples at y 0.42, brows about 0.38, nose base 0.6, chin 0.82."""
    jaw = _arc(17, 180, 0, (x, 0.42), 0.22, 0.40)
    brows = [_arc(5, 200, 340, (x + dx, 0.40), 0.06, 0.03) for dx in (-0.1, 0.1)]
    nose = np.stack([np.full(4, x), np.linspace(0.44, 0.56, 4)], axis=1)
    base = np.stack([np.linspace(x - 0.04, x + 0.04, 5), np.full(5, 0.6)], axis=1)
    eyes = [_arc(6, 180, 540, (x + dx, 0.45), 0.035, 0.015) for dx in (-0.1, 0.1)]
    mouth = [_arc(12, 180, 540, (x, 0.69), 0.07, 0.03), _arc(8, 180, 540, (x, 0.69), 0.04, 0.012)]
    return np.concatenate([jaw, *brows, nose, base, *eyes, *mouth])


def _turned(points: F64, degrees: float) -> F64:
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    turned: F64 = (points - 0.5) @ np.array([[c, s], [-s, c]]) + 0.5
    return turned


def _at(mask: npt.NDArray[np.bool_], x: float, y: float) -> bool:
    side = len(mask)
    return bool(mask[int(y * side), int(x * side)])


def _find(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    made = face() if image.any() else np.full((68, 2), np.nan)
    return made.astype(np.float32)


def _changed(image: npt.NDArray[np.uint8], where: npt.NDArray[np.bool_], by: int) -> npt.NDArray[np.uint8]:
    made = image.copy()
    made[where] += np.uint8(by)
    return made


def test_the_face_holds_features_and_forehead_and_nothing_far_from_them() -> None:
    outside = outside_face(face(), 256)
    assert outside.shape == (256, 256)
    assert outside.dtype == np.bool_
    assert not any(_at(outside, x, y) for x, y in face())
    brow = face()[17:27, 1].mean()
    hairline = 2 * brow - 0.6
    assert not _at(outside, 0.5, hairline), "as far above the brows as the nose's base is below them"
    for x, y in ((0.02, 0.02), (0.98, 0.98), (0.5, 0.02), (0.05, 0.5), (0.95, 0.5), (0.25, 0.8), (0.75, 0.8)):
        assert _at(outside, x, y)


def test_the_face_reaches_beyond_its_landmarks_by_the_margin() -> None:
    """Below the chin, above the hairline and beside the temples, to a pixel."""
    points, side = face(), 512
    hairline = 2 * points[17:27, 1].mean() - 0.6
    for margin in (0.0, MARGIN, 0.2):
        inside = ~outside_face(points, side, margin)
        grown = margin * (points[8, 1] - hairline)
        rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
        expected = np.array([hairline - grown, points[8, 1] + grown, points[0, 0] - grown, points[16, 0] + grown])
        found = np.array([rows[0], rows[-1] + 1, columns[0], columns[-1] + 1]) / side
        np.testing.assert_allclose(found, expected, atol=1 / side)


def test_the_face_is_the_convex_hull_with_a_margin() -> None:
    """Every pixel, against the distance to a hull that is searched in another way: by its edges between landmarks."""
    points, side, margin = face(), 96, 0.1
    brow = points[17:27, 1].mean()
    flipped = points[[0, 16, *range(27, 48)]] * [1, -1] + [0, 2 * brow]
    cloud = np.concatenate([points, flipped])
    grown = margin * (points[8, 1] - (2 * brow - 0.6))
    axis = (np.arange(side) + 0.5) / side
    pixels = np.stack(np.meshgrid(axis, axis), axis=-1)
    distance = _distance_to_hull(pixels, cloud)
    outside = outside_face(points, side, margin)
    clear = np.abs(distance - grown) > 0.5 / side  # a pixel on the very edge may fall to either side
    np.testing.assert_array_equal(outside[clear], (distance > grown)[clear])
    assert clear.mean() > 0.9


def _distance_to_hull(pixels: F64, cloud: F64) -> F64:
    """H x W distances of H x W x 2 pixels to the hull of n x 2 points, 0 inside."""
    ends = []
    for i, a in enumerate(cloud):
        for j, b in enumerate(cloud):
            cross = (b - a)[0] * (cloud - a)[:, 1] - (b - a)[1] * (cloud - a)[:, 0]
            if i != j and (b != a).any() and (cross >= -1e-12).all():
                ends.append((a, b))
    inside = np.ones(pixels.shape[:2], bool)
    nearest = np.full(pixels.shape[:2], np.inf)
    for a, b in ends:
        away, along = pixels - a, b - a
        inside &= along[0] * away[..., 1] - along[1] * away[..., 0] >= 0
        share = np.clip((away @ along) / (along @ along), 0, 1)
        nearest = np.minimum(nearest, np.linalg.norm(away - share[..., None] * along, axis=-1))
    return np.where(inside, 0, nearest)


@pytest.mark.parametrize("quarter", [1, 2, 3])
def test_a_turned_head_has_the_turned_face(quarter: int) -> None:
    """The forehead is where the brows are, not where the picture's top is."""
    upright = outside_face(face(0.45), 128)
    turned = outside_face(_turned(face(0.45), 90 * quarter), 128)
    assert (turned != np.rot90(upright, -quarter)).mean() < 0.005
    assert (turned != upright).mean() > 0.03


def test_shares_mean_the_same_at_every_side() -> None:
    small, large = outside_face(face(), 64), outside_face(face(), 512)
    assert small.mean() == pytest.approx(large.mean(), abs=0.005)
    assert 0.4 < large.mean() < 0.8


def test_a_face_may_reach_beyond_the_picture_or_fill_it() -> None:
    shifted = outside_face(face(1.0), 64)
    assert not shifted[32, 63]
    assert shifted[:, :32].all()
    assert not outside_face((face() - 0.5) * 20 + 0.5, 64).any()


@pytest.mark.parametrize("missing", [slice(0, 1), slice(0, 68)])
def test_no_face_leaves_nothing_to_measure(missing: slice) -> None:
    points = face()
    points[missing] = np.nan
    assert not outside_face(points, 32).any()
    assert not outside_face(np.full((68, 2), 0.5), 32).any()


@pytest.mark.parametrize(
    ("points", "side", "margin"),
    [(np.zeros((5, 2)), 8, 0.1), (face(), 0, 0.1), (face(), 8, -0.1), (face(), 8, math.nan)],
)
def test_nonsense_is_refused(points: F64, side: int, margin: float) -> None:
    with pytest.raises(ValueError, match="68 x 2"):
        outside_face(points, side, margin)


def test_a_change_of_the_face_alone_costs_nothing() -> None:
    source = np.full((256, 256, 3), 100, np.uint8)
    outside = outside_face(_find(source), 256)
    trio = Trio(faces([source], find=_find), None, faces([_changed(source, ~outside, 90)], find=_find))
    assert OutsideError().score(trio)["mse-outside"].tolist() == [0.0]
    assert (trio.source.pixels - trio.result.pixels).abs().max() > 0.5, "there was a change"


def test_a_change_outside_counts_in_full() -> None:
    """A 51 grey levels' step is 0.4 on [-1, 1]: everywhere outside 0.16, in half of those pixels 0.08."""
    source = np.full((256, 256, 3), 100, np.uint8)
    outside = outside_face(_find(source), 256)
    half = outside & (np.cumsum(outside).reshape(outside.shape) <= outside.sum() // 2)
    results = [_changed(source, outside, 51), _changed(source, half, 51), _changed(source, ~half, 51)]
    trio = Trio(faces([source] * 3, find=_find), None, faces(results, find=_find))
    share = half.sum() / outside.sum()
    expected = torch.tensor([0.16, 0.16 * share, 0.16 * (1 - share)], dtype=torch.float32)
    torch.testing.assert_close(OutsideError().score(trio)["mse-outside"], expected, rtol=1e-4, atol=1e-6)


def test_no_face_in_the_source_gives_no_value_and_leaves_the_others_alone() -> None:
    source = faces([black(), picture(0)], find=_find)
    result = faces([picture(1), black()], source, find=_find)
    score = OutsideError().score(Trio(source, None, result))["mse-outside"]
    assert score[0].isnan()
    assert score[1] > 0, "the result needs no face of its own"


def test_the_source_is_searched_once_for_all_edits_and_the_results_never() -> None:
    calls: list[int] = []

    def counted(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        calls.append(1)
        return _find(image)

    source = faces([picture(0)], find=counted)
    for seed in (1, 2):
        OutsideError().score(Trio(source, None, faces([picture(seed)], source, find=counted)))
    assert len(calls) == 1


def test_an_empty_mask_has_no_mean_and_a_full_one_has_the_plain_mean() -> None:
    x, y = torch.zeros(2, 3, 4, 4), torch.full((2, 3, 4, 4), 0.5)
    mask = torch.stack([torch.zeros(4, 4, dtype=torch.bool), torch.ones(4, 4, dtype=torch.bool)])
    torch.testing.assert_close(mse_outside(x, y, mask), torch.tensor([math.nan, 0.25]), equal_nan=True)


def _tools() -> Tools:
    store: Any = FakeStore("landmarks-68")
    return Tools(store, torch.device("cpu"))


def test_it_is_registered_as_a_metric_that_judges_edits() -> None:
    [metric] = build_metrics(["mse-outside"], _tools())
    entry = metrics.get("mse-outside")
    assert isinstance(metric, OutsideError)
    assert (entry.better, entry.weights, entry.of_edits) == ("lower", ("landmarks-68",), True)


@pytest.mark.weights
def test_a_real_face_is_told_from_its_background(store: Any) -> None:
    """Noise in the middle of an aligned photo, where eyes, nose and mouth are, costs nothing; in a corner it does."""
    from pipelines.images.pixels import decode, read_photo
    from pipelines.stages.align.aligner import Aligner, locate

    tools = Tools(store, torch.device("cpu"))
    photo = decode(read_photo(store.path("sample-astronaut")))
    crop = Aligner(tools.finder, size=256)(photo)[0].crop
    middle, corner = crop.copy(), crop.copy()
    middle[96:192, 88:168] = noisy(crop, 60)[96:192, 88:168]
    corner[:32, :32] = noisy(crop, 60)[:32, :32]

    def find(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        return locate(image, tools.finder)

    trio = Trio(faces([crop] * 2, find=find), None, faces([middle, corner], find=find))
    score = OutsideError().score(trio)["mse-outside"]
    assert score[0] == 0
    assert score[1] > 0.001
