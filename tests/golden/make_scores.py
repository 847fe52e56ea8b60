"""Recomputes scores.json by independent implementations (scikit-image, pytorch-msssim), which are no dependency:

pip install --target DIR --no-deps scikit-image pytorch-msssim scipy lazy_loader packaging imageio tifffile
PYTHONPATH=DIR:. python -m tests.golden.make_scores
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from pytorch_msssim import ms_ssim
from skimage import color, filters, metrics

from tests.golden.pictures import U8, photo, variants

INSIDE = (slice(40, 150), slice(30, 160))  # where the finest band is compared


def scores(x: U8, y: U8) -> dict[str, float]:
    """name -> value, each by a library's own routine."""
    a, b = (image / 127.5 - 1 for image in (x, y))
    planes = [torch.from_numpy(image / 255.0).permute(2, 0, 1)[None] for image in (x, y)]
    window = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    grey = [image.astype(np.float64) @ (0.299, 0.587, 0.114) for image in (x, y)]
    bands = [(g - filters.gaussian(g, 2, truncate=4, mode="mirror", preserve_range=True))[INSIDE] for g in grey]
    lab = [color.rgb2lab(image / 255.0) for image in (x, y)]
    return {
        "mse": metrics.mean_squared_error(a, b),
        "psnr": metrics.peak_signal_noise_ratio(a, b, data_range=2),
        "ssim": metrics.structural_similarity(x / 255, y / 255, data_range=1, channel_axis=2, **window),
        "ms-ssim": float(ms_ssim(*planes, data_range=1.0)),
        "detail": float(np.corrcoef(bands[0].ravel(), bands[1].ravel())[0, 1]),
        "sharpness": float(bands[1].std() / bands[0].std()),
        "cie76": float(np.linalg.norm(np.mean(lab[1] - lab[0], axis=(0, 1)))),
    }


if __name__ == "__main__":
    source = photo()
    made = {name: {k: round(float(v), 7) for k, v in scores(source, y).items()} for name, y in variants(source).items()}
    Path(__file__).with_name("scores.json").write_text(json.dumps(made, indent=1) + "\n")
