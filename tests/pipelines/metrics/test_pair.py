"""Pixel metrics: known values, and an independent reference that follows the papers' loops in numpy."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch

from pipelines.images.pixels import to_tensor
from pipelines.metrics import pair
from tests.pipelines.metrics.fakes import noisy, picture

F64 = npt.NDArray[np.float64]


def _tensor(*images: npt.NDArray[np.uint8]) -> torch.Tensor:
    return to_tensor(list(images))


def _window() -> F64:
    axis = np.arange(11) - 5.0
    kernel = np.exp(-(axis[:, None] ** 2 + axis[None] ** 2) / (2 * 1.5**2))
    return kernel / kernel.sum()


def _reference_terms(x: F64, y: F64) -> tuple[F64, F64]:
    """SSIM's two maps of one channel in [0, 1], the window laid over every position as in the paper."""
    patches_x = np.lib.stride_tricks.sliding_window_view(x, (11, 11))
    patches_y = np.lib.stride_tricks.sliding_window_view(y, (11, 11))
    weights = _window()

    def expect(values: F64) -> F64:
        return np.asarray((values * weights).sum(axis=(2, 3)))

    mean_x, mean_y = expect(patches_x), expect(patches_y)
    centred_x, centred_y = patches_x - mean_x[..., None, None], patches_y - mean_y[..., None, None]
    c1, c2 = 0.0001, 0.0009
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    variances = expect(centred_x**2) + expect(centred_y**2)
    return luminance, (2 * expect(centred_x * centred_y) + c2) / (variances + c2)


def _halved(x: F64) -> F64:
    return (x[::2, ::2] + x[1::2, ::2] + x[::2, 1::2] + x[1::2, 1::2]) / 4


def test_mse_is_taken_on_minus_one_to_one() -> None:
    x, y = torch.full((2, 3, 8, 8), -1.0), torch.full((2, 3, 8, 8), 1.0)
    y[1] = -0.5
    torch.testing.assert_close(pair.mse(x, y), torch.tensor([4.0, 0.25]))


def test_psnr_has_the_peak_of_its_range() -> None:
    """Opposite extremes are 0 dB (not the -3 dB of a peak of sqrt 2); a tenth of the range is 20 dB."""
    x = torch.full((2, 3, 8, 8), -1.0)
    y = torch.stack([torch.full((3, 8, 8), 1.0), torch.full((3, 8, 8), -0.8)])
    torch.testing.assert_close(pair.psnr(x, y), torch.tensor([0.0, 20.0]), atol=1e-4, rtol=0)


def test_psnr_of_equal_pictures_is_finite() -> None:
    x = _tensor(picture(0, 32))
    assert pair.psnr(x, x).item() == 100.0


def test_ssim_agrees_with_a_direct_reference() -> None:
    first, second = picture(1, 40), noisy(picture(1, 40), 20)
    expected = []
    for channel in range(3):
        luminance, structure = _reference_terms(first[..., channel] / 255, second[..., channel] / 255)
        expected.append((luminance * structure).mean())
    made = pair.ssim(_tensor(first), _tensor(second)).item()
    assert made == pytest.approx(np.mean(expected), abs=1e-5)
    assert made < 0.95


def test_ms_ssim_agrees_with_a_direct_reference() -> None:
    first, second = picture(2, 176), noisy(picture(2, 176), 30)
    weights = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
    products = []
    for channel in range(3):
        x, y, product = first[..., channel] / 255, second[..., channel] / 255, 1.0
        for level, weight in enumerate(weights):
            luminance, structure = _reference_terms(x, y)
            product *= ((luminance * structure) if level == 4 else structure).mean() ** weight
            x, y = (_halved(x), _halved(y)) if level < 4 else (x, y)
        products.append(product)
    made = pair.ms_ssim(_tensor(first), _tensor(second)).item()
    assert made == pytest.approx(np.mean(products), abs=1e-5)
    assert made < 0.98


@pytest.mark.parametrize("metric", [pair.ssim, pair.ms_ssim])
def test_structure_metrics_are_one_for_equals_symmetric_and_fall_with_noise(metric: object) -> None:
    assert callable(metric)
    clean = picture(3)
    x, slight, heavy = _tensor(clean), _tensor(noisy(clean, 5)), _tensor(noisy(clean, 40))
    assert metric(x, x).item() == pytest.approx(1, abs=1e-6)
    torch.testing.assert_close(metric(x, heavy), metric(heavy, x))
    assert 1 > metric(x, slight).item() > metric(x, heavy).item() > 0


def test_ms_ssim_of_a_negative_is_zero_not_nan() -> None:
    x = _tensor(noisy(picture(4), 60))
    assert pair.ms_ssim(x, -x).item() == 0


def test_ms_ssim_refuses_pictures_that_are_too_small() -> None:
    x = torch.zeros(1, 3, 175, 175)
    with pytest.raises(ValueError, match="at least 176 px"):
        pair.ms_ssim(x, x)


@pytest.mark.parametrize("metric", [pair.mse, pair.psnr, pair.ssim, pair.ms_ssim])
def test_values_do_not_depend_on_the_batch(metric: object) -> None:
    assert callable(metric)
    x = _tensor(*(picture(seed) for seed in range(3)))
    y = _tensor(*(noisy(picture(seed), 20, seed) for seed in range(3)))
    single = torch.cat([metric(x[i : i + 1], y[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(metric(x, y), single)
