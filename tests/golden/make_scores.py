"""Recomputes scores.json by independent implementations. Of these only lpips is a dependency, so the others go elsewhere:

pip install --target DIR --no-deps scikit-image pytorch-msssim torchmetrics lightning-utilities lazy_loader imageio tifffile
PYTHONPATH=.:DIR python -m tests.golden.make_scores
"""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import lpips
import numpy as np
import torch
from pytorch_msssim import ms_ssim
from skimage import color, filters, metrics
from torchmetrics.functional import image as tm

from tests.golden.pictures import U8, drawn_alexnet, photo, variants

INSIDE = (slice(40, 150), slice(30, 160))  # where the finest band is compared
PACKAGES = ("scikit-image", "pytorch-msssim", "torchmetrics", "lpips", "torch")


def scores(x: U8, y: U8, perceptual: lpips.LPIPS) -> dict[str, float]:
    """name -> value, each by a library's own routine; the second of a name is another library's."""
    a, b = (image / 127.5 - 1 for image in (x, y))
    planes = [torch.from_numpy(image / 255.0).permute(2, 0, 1)[None] for image in (x, y)]
    signed = [2 * plane.float() - 1 for plane in planes]
    window = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    grey = [image.astype(np.float64) @ (0.299, 0.587, 0.114) for image in (x, y)]
    bands = [(g - filters.gaussian(g, 2, truncate=4, mode="mirror", preserve_range=True))[INSIDE] for g in grey]
    maps = tm.structural_similarity_index_measure(*planes, data_range=1.0, return_full_image=True)[
        1
    ]  # mirrored borders
    lab = [color.rgb2lab(image / 255.0) for image in (x, y)]
    return {
        "mse": metrics.mean_squared_error(a, b),
        "psnr": metrics.peak_signal_noise_ratio(a, b, data_range=2),
        "psnr torchmetrics": float(tm.peak_signal_noise_ratio(planes[1], planes[0], data_range=1.0)),
        "ssim": metrics.structural_similarity(x / 255, y / 255, data_range=1, channel_axis=2, **window),
        "ssim torchmetrics": float(maps[..., 5:-5, 5:-5].mean()),
        "ms-ssim": float(ms_ssim(*planes, data_range=1.0)),
        "ms-ssim torchmetrics": float(tm.multiscale_structural_similarity_index_measure(*planes, data_range=1.0)),
        "lpips-alex drawn trunk": float(perceptual(*signed)),
        "detail": float(np.corrcoef(bands[0].ravel(), bands[1].ravel())[0, 1]),
        "sharpness": float(bands[1].std() / bands[0].std()),
        "cie76": float(np.linalg.norm(np.mean(lab[1] - lab[0], axis=(0, 1)))),
    }


def drawn_lpips() -> lpips.LPIPS:
    """The package's own distance and heads on a trunk that `drawn_alexnet` fills: the real one takes a download."""
    network = lpips.LPIPS(net="alex", pnet_rand=True, verbose=False)
    layers = dict(network.net.named_modules())
    with torch.no_grad():
        for name, tensor in drawn_alexnet().items():
            _, index, kind = name.split(".")
            layer: Any = next(layer for key, layer in layers.items() if key.endswith(f".{index}"))
            getattr(layer, kind).copy_(tensor)
    return network.eval()


@torch.no_grad()
def main() -> None:
    source, perceptual = photo(), drawn_lpips()
    made = {
        name: {metric: round(float(value), 7) for metric, value in scores(source, picture, perceptual).items()}
        for name, picture in variants(source).items()
    }
    about = {"command": "python -m tests.golden.make_scores", "versions": {name: version(name) for name in PACKAGES}}
    Path(__file__).with_name("scores.json").write_text(json.dumps({**about, "scores": made}, indent=1) + "\n")


if __name__ == "__main__":
    main()
