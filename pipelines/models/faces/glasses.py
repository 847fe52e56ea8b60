"""Whether a face wears glasses: a small network that looks at a strip around the eyes, cut straight by the landmarks.

Ours: nobody publishes one on a package index. It was trained on generated faces alone, labelled by what glasses draw on the
bridge of the nose and under the eyes, and audited by eye; its card says how well it does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipelines.types import F32Array, U8Image

GLASSES_ASSET: Final = "glasses"
STRIP: Final = (40, 64)  # px
_ACROSS: Final = (-1.1, 1.1)  # of the strip, in distances of the eye centres from their middle
_DOWN: Final = (-0.55, 0.75)
_SURE: Final = 4.0  # of a logit: beyond being sure it says nothing more
_WIDTHS: Final = (16, 32, 48)


class Glasses(nn.Module):
    """Strips n x 3 x 40 x 64 in [-1, 1], RGB -> n logits of glasses (natural log of the odds)."""

    def __init__(self) -> None:
        super().__init__()
        sizes = [3, *_WIDTHS]
        self.convs = nn.ModuleList(nn.Conv2d(a, b, 3, 2, 1) for a, b in zip(sizes, _WIDTHS, strict=False))
        self.out = nn.Linear(4 * _WIDTHS[-1], 1)

    def forward(self, x: Tensor) -> Tensor:
        for conv in self.convs:
            x = F.relu(conv(x))
        logits: Tensor = self.out(F.avg_pool2d(x, (5, 2)).flatten(1))[:, 0]
        return logits

    @torch.no_grad()
    def measure(self, images: Sequence[U8Image], landmarks: Sequence[F32Array]) -> F32Array:
        """n pictures uint8 H x W x 3, RGB, and their 68 x 2 landmarks in pixels -> n logits, within 4; mean of both hands."""
        strips = torch.cat([eye_strip(image, points) for image, points in zip(images, landmarks, strict=True)])
        logits: F32Array = ((self(strips) + self(strips.flip(3))) / 2).clamp(-_SURE, _SURE).numpy()
        return logits


def load_glasses(tensors: Mapping[str, Tensor]) -> Glasses:
    """The network with these weights, frozen."""
    network = Glasses()
    network.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
    return network.requires_grad_(False).eval()


def eye_strip(image: U8Image, landmarks: npt.ArrayLike) -> Tensor:
    """1 x 3 x 40 x 64 in [-1, 1]: the eyes, brows to cheekbones, level."""
    points = np.asarray(landmarks, np.float64)
    left, right = points[36:42].mean(0), points[42:48].mean(0)
    across = right - left
    down = np.array((-across[1], across[0]))
    x, y = np.linspace(*_ACROSS, STRIP[1])[None, :, None], np.linspace(*_DOWN, STRIP[0])[:, None, None]
    places = (left + right) / 2 + x * across + y * down
    height, width = image.shape[:2]
    grid = torch.from_numpy((places + 0.5) / (width, height) * 2 - 1).float()[None]
    picture = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None].float() / 127.5 - 1
    if max(height, width) > 256:  # fine detail would alias
        picture = F.interpolate(picture, (256, 256), mode="bilinear", antialias=True)
    return F.grid_sample(picture, grid, align_corners=False, padding_mode="border")
