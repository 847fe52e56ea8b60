"""Scores of a committed photo and its variants, as scikit-image and pytorch-msssim give them (tests/golden/make_scores.py)."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from pipelines.images.pixels import to_tensor
from pipelines.metrics import pair
from pipelines.metrics.detail import compare_bands, finest_band
from pipelines.metrics.faces import LUMA
from pipelines.metrics.skin import lab
from tests.golden.pictures import U8, photo, variants

KNOWN = json.loads((Path(__file__).parents[2] / "golden/scores.json").read_text())


def _grey(image: U8) -> torch.Tensor:
    return (torch.from_numpy(image.astype(np.float32)) @ torch.tensor(LUMA))[None, None]


@pytest.mark.parametrize("name", KNOWN)
def test_independent_implementations_give_the_same_scores(name: str) -> None:
    source, result = photo(), variants(photo())[name]
    x, y = to_tensor([source]), to_tensor([result])
    functions = {"mse": pair.mse, "psnr": pair.psnr, "ssim": pair.ssim, "ms-ssim": pair.ms_ssim}
    made = {metric: function(x, y).item() for metric, function in functions.items()}
    inside = torch.zeros(1, 1, *source.shape[:2], dtype=torch.bool)
    inside[..., 40:150, 30:160] = True
    correlation, ratio = compare_bands(finest_band(_grey(source)), finest_band(_grey(result)), inside)
    shift = np.mean(lab(result) - lab(source), axis=(0, 1))
    made |= {"detail": correlation.item(), "sharpness": ratio.item(), "cie76": float(np.linalg.norm(shift))}
    assert made == pytest.approx(KNOWN[name], rel=1e-4, abs=2e-4)
