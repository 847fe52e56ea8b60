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

SIDE = 256  # px of the pictures that are searched
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
        pairs = zip(before.numpy(), after.numpy(), strict=True)
        scores = [(self._score(one), self._score(other)) for one, other in pairs]
        return torch.tensor([old >= CLEAR and new < SHARE * old for old, new in scores])

    def _score(self, picture: U8Image) -> float:
        small = picture if len(picture) == SIDE else resize_u8(picture, SIDE, SIDE)
        return max((face.score for face in self._finder.look(small, _ANY)), default=0.0)
