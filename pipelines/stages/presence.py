"""Whether an edit beyond its measured range still shows a face, by YuNet on the host.

Far outside of what was measured a generator may make grey or brown mush, whose colours are as quiet as a face's
(`pipelines.stages.noise` cannot tell it). Only edits beyond the range are looked at, so that all others cost nothing. What is
looked at is the generator's own picture before it is composed: a composer pastes a mouth of mush into a face that is there.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from pipelines.images.pixels import resize_u8
from pipelines.models.faces.yunet import YuNetFinder
from pipelines.types import U8Image

SIDE = 256  # px of the pictures that come from the device
SIDES = (256, 384)  # px of the copies that are searched: mush that passes for a face at one size seldom does at another
SHARE = 0.75  # of the score before the edit that must be left; see docs/decisions/0080
CLEAR = 0.5  # a face that scored less before the edit cannot be missed after it
_ANY = 0.05  # no face, for the network


class FaceWatch:
    """Looks for the face before and after an edit, each picture by itself.

    Args:
        path: the file of YuNet.
    """

    def __init__(self, path: Path) -> None:
        self._finder = YuNetFinder(path)

    def lost(self, before: Tensor, after: Tensor) -> Tensor:
        """n booleans: whether a face that is clear before the edit is gone after it.

        Args:
            before: n x R x R x 3, uint8, RGB, on the CPU: the inversions.
            after: n x S x S x 3 likewise: what the generator makes of the moved codes.
        """
        return self.left(before, after) < SHARE

    def left(self, before: Tensor, after: Tensor) -> Tensor:
        """n shares, at least 0, of the face's score that are left, at the size at which least is; 1 where none was clear.

        Arguments as of `lost`.
        """
        return torch.tensor([self._left(*pair) for pair in zip(before.numpy(), after.numpy(), strict=True)])

    def _left(self, before: U8Image, after: U8Image) -> float:
        small, least = _sized(before, SIDE), 1.0
        for side in SIDES:
            old = self._score(_sized(small, side))
            if old >= CLEAR:
                least = min(least, self._score(_sized(after, side)) / old)
        return least

    def _score(self, picture: U8Image) -> float:
        return max((face.score for face in self._finder.look(picture, _ANY)), default=0.0)


def _sized(picture: U8Image, side: int) -> U8Image:
    return picture if len(picture) == side else resize_u8(picture, side, side)
