"""Ghosted pictures to learn from: what a composite is made of, drawn once and kept on disk.

Two kinds take turns. *Photos*: a photo, its render and an edited one; nobody knows how the photo ought to look under the
edit, so only what must leave it as it is can be asked (Diff-CAM's folded ghosts; specification, 7B; and no edit at all).
*Generated faces*: with detail pasted onto them and codes that are wrong as an encoder's are; for them the edit is known
(`pipelines.training.data.edit_pairs`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipelines.files import write_atomic
from pipelines.models.diffcam.masks import folded

SIDE = 256
_PLANES = (3, 3, 3, 3, 1)


@dataclass(frozen=True)
class Ghosts:
    """n composites in the making; n x 3 x 256 x 256 in [-1, 1] each, the mask n x 1 in [0, 1].

    Attributes:
        photo, base, edited: the photo, its render and the edited one.
        target: how the photo ought to look under the edit.
    """

    photo: Tensor
    base: Tensor
    edited: Tensor
    target: Tensor
    mask: Tensor

    def planes(self) -> Tensor:
        """As 8 bits a number: n x 13 x 256 x 256."""
        pictures = torch.cat((self.photo, self.base, self.edited, self.target), dim=1)
        levels = torch.cat(((pictures.clamp(-1, 1) + 1) / 2, self.mask), dim=1)
        return (levels * 255).round().to(torch.uint8)

    @classmethod
    def of(cls, planes: Tensor) -> Ghosts:
        """The reverse of `planes`."""
        levels = planes.float() / 255
        photo, base, edited, target, mask = levels.split(_PLANES, dim=1)
        return cls(photo * 2 - 1, base * 2 - 1, edited * 2 - 1, target * 2 - 1, mask)


Draw = Callable[[int], Ghosts]  # a place in the bank -> one composite, by that number alone


class GhostBank:
    """`count` composites in the folder; drawing goes on where it stopped. Even places hold photos, odd ones generated faces."""

    def __init__(self, folder: Path, count: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.count, self._counter = count, folder / "drawn.json"
        self.drawn = int(json.loads(self._counter.read_text())) if self._counter.exists() else 0
        path, shape = folder / "ghosts.u8", (count, sum(_PLANES), SIDE, SIDE)
        self._planes = np.memmap(path, dtype=np.uint8, mode="r+" if path.exists() else "w+", shape=shape)

    def fill(self, draw: Draw, report: Callable[[dict[str, Any]], None], every: int = 20) -> None:
        """Draw what is still missing."""
        for place in range(self.drawn, self.count):
            self._planes[place] = draw(place).planes()[0].cpu().numpy()
            self.drawn = place + 1
            if self.drawn % every == 0 or self.drawn == self.count:
                self._planes.flush()
                write_atomic(self._counter, json.dumps(self.drawn).encode())
                report({"drawn": self.drawn, "of": self.count})

    def at(self, places: Sequence[int]) -> Ghosts:
        """Those composites, as they were drawn."""
        return Ghosts.of(torch.from_numpy(np.stack([self._planes[place] for place in places])))

    def batch(self, places: Sequence[int], random: np.random.Generator) -> Ghosts:
        """Those composites, half of them mirrored, photos as ghosts of one of two kinds."""
        found = self.at(places)
        made = [self._one(found, index, place, random) for index, place in enumerate(places)]
        return Ghosts(*(torch.cat([getattr(one, name) for one in made]) for name in Ghosts.__dataclass_fields__))

    @staticmethod
    def _one(found: Ghosts, index: int, place: int, random: np.random.Generator) -> Ghosts:
        one = Ghosts(*(getattr(found, name)[index : index + 1] for name in Ghosts.__dataclass_fields__))
        if place % 2 == 0:
            one = replace(one, mask=folded(one.mask)) if random.random() < 0.5 else replace(one, edited=one.base)
        if random.random() < 0.5:
            one = Ghosts(*(getattr(one, name).flip(-1) for name in Ghosts.__dataclass_fields__))
        return one
