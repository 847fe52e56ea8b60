"""`detail`, `sharpness`, `skin-tone` and `ghost` on pictures whose value is known."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from pipelines.metrics.detail import Detail, Sharpness, compare_bands, finest_band
from pipelines.metrics.faces import Faces, Trio
from pipelines.metrics.ghost import Ghost
from pipelines.metrics.registry import build_metrics, metrics
from pipelines.metrics.skin import SkinTone, lab, skin_places, tone_shift
from pipelines.metrics.tools import Tools
from pipelines.types import F32Array, U8Image
from tests.pipelines.metrics.fakes import CPU, FakeStore, black, faces
from tests.pipelines.metrics.test_background import face

SIDE = 1024
NAMES = ("detail", "sharpness", "skin-tone", "ghost")


def find(image: U8Image) -> F32Array:
    made = face() if image.any() else np.full((68, 2), np.nan)
    return made.astype(np.float32)


def portrait(seed: int = 0) -> U8Image:
    """1024 px: blobs of every size with sharp contours, and grain."""
    made = torch.Generator().manual_seed(seed)
    planes = torch.zeros(1, 1, SIDE, SIDE)
    for cells in (8, 16, 32, 64):
        noise = torch.randn(1, 1, cells, cells, generator=made)
        planes += (F.interpolate(noise, SIDE, mode="bicubic") > 0.3) * (256 / cells)
    planes += 3 * torch.randn(1, 1, SIDE, SIDE, generator=made)
    grey = (planes[0, 0] + 90).clamp(20, 235).round().to(torch.uint8).numpy()
    return np.stack([grey, grey - np.uint8(10), grey - np.uint8(20)], axis=2)


def moved(image: U8Image, dx: int, dy: int) -> U8Image:
    padded = np.pad(image, ((16, 16), (16, 16), (0, 0)), mode="reflect")
    return padded[16 + dy : 16 + dy + SIDE, 16 + dx : 16 + dx + SIDE]


def doubled(image: U8Image, dx: int, dy: int, share: float = 0.5) -> U8Image:
    return np.uint8(np.round((1 - share) * image.astype(float) + share * moved(image, dx, dy)))


def soft(image: U8Image, sigma: float) -> U8Image:
    offsets = torch.arange(-12.0, 13)
    taps = torch.exp(-offsets.square() / (2 * sigma**2))
    planes = F.pad(torch.from_numpy(image.copy()).float().permute(2, 0, 1)[:, None], (12,) * 4, mode="reflect")
    blurred = F.conv2d(F.conv2d(planes, taps.view(1, 1, 1, -1)), taps.view(1, 1, -1, 1)) / taps.sum() ** 2
    return blurred[:, 0].permute(1, 2, 0).round().to(torch.uint8).numpy()


def warped(image: U8Image, amount: float) -> U8Image:
    """Stretched smoothly by up to `amount` px, nowhere doubled."""
    flow = torch.randn(1, 2, 6, 6, generator=torch.Generator().manual_seed(1))
    flow = F.interpolate(flow, SIDE, mode="bicubic", align_corners=True)
    flow = flow / flow.abs().max() * amount * 2 / SIDE
    axis = (torch.arange(SIDE) + 0.5) * 2 / SIDE - 1
    grid = torch.stack(torch.meshgrid(axis, axis, indexing="xy"), dim=-1)[None] + flow.permute(0, 2, 3, 1)
    planes = torch.from_numpy(image.copy()).permute(2, 0, 1)[None].float()
    made = F.grid_sample(planes, grid, mode="bicubic", padding_mode="reflection", align_corners=False)
    return made[0].permute(1, 2, 0).round().clamp(0, 255).to(torch.uint8).numpy()


def scores(source: U8Image, result: U8Image) -> dict[str, float]:
    before = faces([source], find=find)
    trio = Trio(before, None, faces([result], before, find=find))
    parts = (Detail(), Sharpness(), SkinTone(), Ghost())
    return {name: values.item() for part in parts for name, values in part.score(trio).items()}


@pytest.fixture(scope="module")
def photo() -> U8Image:
    return portrait()


def test_the_photo_itself_is_the_best_there_is(photo: U8Image) -> None:
    assert scores(photo, photo) == pytest.approx({"detail": 1, "sharpness": 1, "skin-tone": 0, "ghost": 0}, abs=1e-5)


def test_a_blurred_photo_is_soft_but_neither_tinted_nor_doubled(photo: U8Image) -> None:
    made = scores(photo, soft(photo, 3))
    assert 0 < made["detail"] < 0.7
    assert made["sharpness"] < 0.4
    assert made["skin-tone"] < 1
    assert made["ghost"] < 0.01


def test_another_photos_grain_is_sharp_and_not_the_photos_detail(photo: U8Image) -> None:
    made = scores(photo, portrait(5))
    assert abs(made["detail"]) < 0.05
    assert made["sharpness"] == pytest.approx(1, abs=0.15)
    assert made["ghost"] < 0.02


def test_contrast_scales_sharpness_alone(photo: U8Image) -> None:
    half = np.uint8(np.round(photo.astype(float) / 2 + 60))
    made = scores(photo, half)
    assert made["sharpness"] == pytest.approx(0.5, abs=0.01)
    assert made["detail"] > 0.98


def test_noise_of_known_strength(photo: U8Image) -> None:
    """Independent noise as strong as the band itself: the sum is sqrt(2) as strong and correlates by 1 / sqrt(2)."""
    band = torch.randn(1, 1, 400, 400, generator=torch.Generator().manual_seed(0))
    other = torch.randn(1, 1, 400, 400, generator=torch.Generator().manual_seed(1))
    everywhere = torch.ones(1, 1, 400, 400, dtype=torch.bool)
    correlation, ratio = compare_bands(band, band + other, everywhere)
    assert correlation.item() == pytest.approx(0.5**0.5, abs=0.01)
    assert ratio.item() == pytest.approx(2**0.5, abs=0.02)


def test_the_finest_band_holds_waves_below_four_pixels() -> None:
    x = torch.arange(256.0)
    for period, kept in ((4, 0.99), (8, 0.708), (32, 0.075), (128, 0.005)):
        wave = torch.sin(2 * torch.pi * x / period + 0.3).expand(1, 1, 256, 256)
        band = finest_band(wave)[..., 64:192]
        assert (band.std() / wave[..., 64:192].std()).item() == pytest.approx(kept, abs=0.02)


def test_only_the_face_counts(photo: U8Image) -> None:
    changed = photo.copy()
    changed[:100], changed[-100:] = 128, 128
    made = scores(photo, changed)
    assert (made["detail"], made["sharpness"], made["skin-tone"]) == pytest.approx((1, 1, 0), abs=1e-6)


@pytest.mark.parametrize("shift", [(5, 0, 0), (0, 6, 0), (0, 0, -8), (3, 4, -2)])
def test_a_tint_of_known_length_is_measured(shift: tuple[float, float, float]) -> None:
    """One skin colour, moved in CIELAB by a known vector through an inverse made here."""
    base = np.array([205, 160, 140], np.uint8)
    tinted = _srgb(lab(base) + np.array(shift))
    source, result = (np.broadcast_to(np.uint8(np.round(c)), (256, 256, 3)).copy() for c in (base, tinted))
    assert scores(source, result)["skin-tone"] == pytest.approx(float(np.linalg.norm(shift)), abs=0.4)


def _srgb(colour: np.ndarray) -> np.ndarray:
    """The level nearest to a CIELAB colour, by search: no formula is shared with what is tested."""
    axes = [np.arange(level - 25, level + 26) for level in (205, 160, 140)]
    steps = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    return steps[np.linalg.norm(lab(steps) - colour, axis=1).argmin()]


def test_lab_of_published_colours() -> None:
    """White, black, mid grey and the primaries, as tables of sRGB in CIELAB (D65) give them."""
    known = {
        (255, 255, 255): (100, 0, 0), (0, 0, 0): (0, 0, 0), (119, 119, 119): (50.03, 0, 0),
        (255, 0, 0): (53.24, 80.09, 67.20), (0, 255, 0): (87.73, -86.18, 83.18), (0, 0, 255): (32.30, 79.19, -107.86),
    }  # fmt: skip
    np.testing.assert_allclose(lab(list(known)), list(known.values()), atol=0.05)


def test_skin_is_read_at_cheeks_and_forehead_and_one_covered_place_has_no_say() -> None:
    (left, right, forehead), radius = skin_places(face())
    assert left[0] < 0.45 < 0.55 < right[0]
    assert 0.5 < left[1] < 0.65
    assert forehead[1] < 0.36 < left[1]
    assert 0.01 < radius < 0.04
    picture = np.full((256, 256, 3), 150, np.uint8)
    hat = picture.copy()
    hat[:100] = (20, 60, 200)
    assert scores(picture, hat)["skin-tone"] == 0
    nowhere = np.full((3, 3), np.nan)
    assert np.isnan(tone_shift(nowhere, nowhere))


@pytest.mark.parametrize("change", [lambda p: moved(p, 10, 0), lambda p: warped(p, 6), lambda p: warped(p, 12)])
def test_what_is_moved_stands_once(photo: U8Image, change: Callable[[U8Image], U8Image]) -> None:
    assert scores(photo, change(photo))["ghost"] < 0.02


@pytest.mark.parametrize("step", [(6, 0), (0, 6), (-6, 6), (12, 0), (0, -12), (8, 8)])
def test_a_double_exposure_stands_twice(photo: U8Image, step: tuple[int, int]) -> None:
    assert scores(photo, doubled(photo, *step))["ghost"] > 0.4


def test_a_fainter_second_copy_counts_less(photo: U8Image) -> None:
    faint, clear = (scores(photo, doubled(photo, 8, 0, share))["ghost"] for share in (0.3, 0.5))
    assert 0.01 < faint < clear / 2


def test_a_ghost_in_one_place_is_judged_by_what_changed(photo: U8Image) -> None:
    part = photo.copy()
    part[600:800, 400:620] = doubled(photo, 10, 0)[600:800, 400:620]
    assert scores(photo, part)["ghost"] > 0.3
    noisy = np.uint8(np.clip(photo + np.random.default_rng(0).normal(0, 8, photo.shape), 0, 255))
    assert scores(photo, noisy)["ghost"] < 0.01


def test_without_a_face_only_ghosts_are_seen_and_batches_change_nothing(photo: U8Image) -> None:
    pictures = [photo, black(), portrait(3)]
    source = faces(pictures, find=find)
    result = faces([soft(photo, 2), photo, doubled(portrait(3), 8, 0)], source, find=find)
    made = {
        n: v
        for m in (Detail(), Sharpness(), SkinTone(), Ghost())
        for n, v in m.score(Trio(source, None, result)).items()
    }
    assert all(made[name][1].isnan() for name in ("detail", "sharpness", "skin-tone"))
    assert made["ghost"][1] == 0
    alone = scores(portrait(3), doubled(portrait(3), 8, 0))
    assert {name: values[2].item() for name, values in made.items()} == pytest.approx(alone, rel=1e-4)


def test_a_flat_source_has_no_detail_to_compare_with_and_a_flat_result_has_none(photo: U8Image) -> None:
    flat = np.full((512, 512, 3), 128, np.uint8)
    made = scores(flat, photo)
    assert np.isnan(made["detail"])
    assert np.isnan(made["sharpness"])
    made = scores(photo, flat)
    assert (made["detail"], made["sharpness"], made["ghost"]) == (0, 0, 0)


def test_they_are_registered_and_judge_edits() -> None:
    made = build_metrics(NAMES, Tools(FakeStore("landmarks-68"), CPU))
    assert [metric.name for metric in made] == list(NAMES)
    assert all(metrics.get(name).of_edits for name in NAMES)
    assert [metrics.get(name).better for name in NAMES] == ["higher", "none", "lower", "lower"]


def test_pictures_are_held_at_full_size_and_no_larger() -> None:
    large = faces([np.zeros((2048, 2048, 3), np.uint8), np.zeros((300, 300, 3), np.uint8)])
    assert [len(image) for image in large.full] == [1024, 300]
    assert isinstance(large, Faces)
    assert large.grey.shape == (2, 1, 1024, 1024)
