"""Apparent age by a small network of separable convolutions, the age half of face-api's age and gender network.

A second family beside the residual network of `agegender`: that one reads 64 px and follows the shape of a head, this one 112
px with the skin's lines in them. Architecture: a small Xception (Chollet, CVPR 2017) with two entry reductions, two middle
blocks and one exit reduction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipelines.images.pixels import to_tensor
from pipelines.types import F32Array, U8Image

YEARS_ASSET: Final = "years"
SIDE: Final = 112  # px
ROOM: Final = 1.2  # side of the square that is read, in sizes of the landmarks' box
_MEANS: Final = (122.782, 117.001, 104.298)  # RGB bytes, taken off before the division by 256


class _Separable(nn.Module):
    def __init__(self, inside: int, outside: int) -> None:
        super().__init__()
        self.each = nn.Conv2d(inside, inside, 3, padding=1, groups=inside, bias=False)
        self.mix = nn.Conv2d(inside, outside, 1)

    def forward(self, x: Tensor) -> Tensor:
        mixed: Tensor = self.mix(self.each(x))
        return mixed


class _Reduction(nn.Module):
    """Halves the side; `opens`: the entry's first one, whose input is rectified already."""

    def __init__(self, inside: int, outside: int, opens: bool = False) -> None:
        super().__init__()
        self.opens = opens
        self.first, self.second = _Separable(inside, outside), _Separable(outside, outside)
        self.wider = nn.Conv2d(inside, outside, 1, 2)

    def forward(self, x: Tensor) -> Tensor:
        y = self.second(F.relu(self.first(x if self.opens else F.relu(x))))
        odd = y.shape[-1] % 2
        y = F.pad(y, (odd, 1, odd, 1), value=float("-inf"))  # "same": an even side is padded behind alone
        pooled: Tensor = F.max_pool2d(y, 3, 2) + self.wider(x)
        return pooled


class Years(nn.Module):
    """n x 3 x 112 x 112, RGB bytes as floats in [0, 255], -> n years."""

    def __init__(self) -> None:
        super().__init__()
        self.enter = nn.Conv2d(3, 32, 3, 2)
        self.entry = nn.Sequential(_Reduction(32, 64, opens=True), _Reduction(64, 128))
        self.middle = nn.ModuleList(nn.ModuleList(_Separable(128, 128) for _ in range(3)) for _ in range(2))
        self.leave = _Reduction(128, 256)
        self.last = _Separable(256, 512)
        self.age = nn.Linear(512, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.entry(F.relu(self.enter((x - x.new_tensor(_MEANS).view(1, 3, 1, 1)) / 256)))
        for block in self.middle:
            y = x
            for layer in block:  # type: ignore[attr-defined]
                y = layer(F.relu(y))
            x = x + y
        x = F.relu(self.last(self.leave(x)))
        years: Tensor = self.age(x.mean(dim=(2, 3)))[:, 0]
        return years

    @torch.no_grad()
    def measure(self, images: Sequence[U8Image], landmarks: Sequence[F32Array]) -> F32Array:
        """n pictures uint8 H x W x 3, RGB, and their 68 x 2 landmarks in pixels -> n years, from 0 on."""
        found = zip(images, landmarks, strict=True)
        read = [self(face_square(to_tensor([image]), torch.from_numpy(points))) for image, points in found]
        years: F32Array = torch.cat(read).clamp_min(0).numpy()
        return years


def load_years(tensors: Mapping[str, Tensor]) -> Years:
    """The network with these weights, frozen."""
    network = Years()
    network.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
    return network.requires_grad_(False).eval()


def face_square(image: Tensor, points: Tensor) -> Tensor:
    """1 x 3 x H x W in [-1, 1] and 68 x 2 landmarks in pixels -> the square around them, 1 x 3 x 112 x 112 in [0, 255].

    What lies outside the picture is grey.
    """
    low, high = points.amin(dim=0), points.amax(dim=0)
    side, middle = (high - low).max() * ROOM, (low + high) / 2
    height, width = image.shape[-2:]
    shrink = max(1, round(float(side) / SIDE))  # fine detail would alias
    small = F.interpolate(image, (height // shrink, width // shrink), mode="area") if shrink > 1 else image
    places = ((torch.arange(SIDE) + 0.5) / SIDE - 0.5) * side
    x, y = (middle[0] + places) / width * 2 - 1, (middle[1] + places) / height * 2 - 1
    down, across = torch.meshgrid(y, x, indexing="ij")
    seen = F.grid_sample(small, torch.stack((across, down), dim=-1)[None].float(), align_corners=False)
    return (seen + 1) * 127.5
