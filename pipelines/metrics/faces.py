"""A batch of pictures as metrics see it: pixels at one size, landmarks, and what was computed from them once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from pipelines.edits import Edit
from pipelines.images.pixels import resize_area, resize_u8, to_tensor
from pipelines.types import F32Array, U8Image

VIEW = 256  # px; the side at which this field compares pictures (Richardson et al. 2021 and all after)
FULL = 1024  # px; the side at which detail is judged, that of both default generators
FACE_SIDE = 512  # px; more does not help a 150 px face chip or the landmark finder, and costs memory

LUMA = (0.299, 0.587, 0.114)

Locate = Callable[[U8Image], F32Array]
T = TypeVar("T")


@dataclass(frozen=True)
class Picture:
    """One picture, ready to be measured.

    Attributes:
        pixels: 3 x 256 x 256 float32, RGB, [-1, 1], shrunk from the full size without rounding.
        image: uint8, RGB, square, at most 512 px a side: for landmarks, face chips and thumbnails.
        full: uint8, RGB, square, at most 1024 px a side.
    """

    pixels: Tensor
    image: U8Image
    full: U8Image

    @classmethod
    def of(cls, image: U8Image) -> Picture:
        """From a uint8 H x W x 3 picture of any size; one that is not square is squeezed, as inversion does."""
        full, side = (min(limit, max(image.shape[:2])) for limit in (FULL, FACE_SIDE))
        return cls(resize_area(to_tensor([image]), VIEW)[0], resize_u8(image, side, side), _resized(image, full))


class Faces:
    """n pictures on a device. Results that several metrics share (landmarks, descriptors) are computed once.

    Args:
        pictures: n pictures.
        device: where `pixels` goes.
        locate: finds 68 x 2 landmarks in a picture, as a share of its side; NaN where there is no face.
        fallback: faces whose landmarks stand in where a picture has none of its own (the source, for a result).
    """

    def __init__(
        self, pictures: Sequence[Picture], device: torch.device, locate: Locate, fallback: Faces | None = None
    ) -> None:
        self.images: list[U8Image] = [picture.image for picture in pictures]
        self.full: list[U8Image] = [picture.full for picture in pictures]
        self.pixels = torch.stack([picture.pixels for picture in pictures]).to(device)
        self._locate = locate
        self._fallback = fallback
        self._memo: dict[str, Any] = {}

    def __len__(self) -> int:
        return len(self.images)

    @property
    def device(self) -> torch.device:
        return self.pixels.device

    @cached_property
    def own_landmarks(self) -> F32Array:
        """n x 68 x 2, (x, y) as a share of the side; NaN where no face was found in the picture itself."""
        return np.stack([self._locate(image) for image in self.images])

    @cached_property
    def lost(self) -> NDArray[np.bool_]:
        """n bool: pictures without a face of their own where the fallback has one."""
        missing, nowhere = (np.isnan(points).any(axis=(1, 2)) for points in (self.own_landmarks, self.landmarks))
        return np.logical_and(missing, ~nowhere)

    @property
    def faceless(self) -> int:
        """How many are `lost`; 0 until a metric asked for landmarks."""
        return int(self.lost.sum()) if "own_landmarks" in self.__dict__ else 0

    @cached_property
    def landmarks(self) -> F32Array:
        """As `own_landmarks`, with the fallback's in place of missing ones."""
        own = self.own_landmarks
        if self._fallback is None:
            return own
        missing = np.isnan(own).any(axis=(1, 2), keepdims=True)
        return np.where(missing, self._fallback.landmarks, own).astype(np.float32)

    @cached_property
    def grey(self) -> Tensor:
        """n x 1 x 1024 x 1024 float32 on the device, grey levels 0 to 255 (ITU-R BT.601); smaller pictures enlarged."""
        return torch.cat([_grey(image, self.device) for image in self.full])

    def memo(self, name: str, make: Callable[[], T]) -> T:
        """What `make` returned the first time it was asked for under `name`."""
        if name not in self._memo:
            self._memo[name] = make()
        value: T = self._memo[name]
        return value


@dataclass(frozen=True)
class Trio:
    """What one score is computed from, n pictures each.

    Attributes:
        source: the aligned photos.
        base: what an edit started from: the inversion for an edit, the source for the inversion itself; None where
            the run holds no inversion.
        result: the pictures to judge.
        edit: what the result was asked to be; None for the inversion, and where it is not known.
        composed: the edit was put into the photo, so that at strength 0 it is the photo, not the inversion.
        returned: the result, inverted and edited the opposite way; None where nobody did that.
    """

    source: Faces
    base: Faces | None
    result: Faces
    edit: Edit | None = None
    composed: bool = False
    returned: Faces | None = None

    @property
    def start(self) -> Faces | None:
        """What the edit would be at strength 0: the photo of a composed one, else the inversion (None: not there)."""
        return self.source if self.composed else self.base


def _resized(image: U8Image, side: int) -> U8Image:
    return image if image.shape[:2] == (side, side) else resize_u8(image, side, side)


def _grey(image: U8Image, device: torch.device) -> Tensor:
    """1 x 1 x 1024 x 1024."""
    levels = torch.from_numpy(np.array(image)).to(device).float() @ torch.tensor(LUMA, device=device)
    planes = levels[None, None]
    return planes if len(image) == FULL else F.interpolate(planes, (FULL, FULL), mode="bilinear", align_corners=False)
