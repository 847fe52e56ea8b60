"""Directions in W and W+: a vector with a name, the rows that it acts on, and a unit.

Our own directions (`pipelines/assets/directions-mobile-ffhq.*`, made by `ganinv train directions`) are calibrated: strength
+1 moves the measured attribute by one standard deviation over the generator's own faces. Directions from files keep the
unit of their file (InterFaceGAN: distance along a unit normal, Shen et al. 2020; GANSpace: standard deviations of a
principal component, Härkönen et al. 2020).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pipelines.edits import Edit
from pipelines.errors import UsageError
from pipelines.registry import nearest
from pipelines.types import Inversion

_SPAN = re.compile(r"^(?P<name>.+?)@(?P<start>\d+)-(?P<stop>\d+)$")


@dataclass(frozen=True)
class Hold:
    """What a direction that loses an attribute adds against that, as far as a code says which side of it a face is on.

    Attributes:
        look: 512; a face's reading is tanh(mean row of its code . look + offset), from -1 to 1.
        vector: L x 512, towards +1 of the attribute.
    """

    look: Tensor
    offset: float
    vector: Tensor

    def step(self, latents: Tensor) -> Tensor:
        """Codes n x L x 512 -> what keeps each face on its side, n x L x 512, for one unit of strength."""
        reading = torch.tanh(latents.mean(dim=1) @ self.look + self.offset)
        return reading[:, None, None] * self.vector

    def to(self, like: Tensor) -> Hold:
        """The same beside `like`."""
        return replace(self, look=self.look.to(like), vector=self.vector.to(like))


@dataclass(frozen=True)
class Direction:
    """`vector` L x 512 (zero in rows that it leaves alone), added once per unit of strength.

    Attributes:
        way: how a composer brings it into the photo: ``shape``, ``skin`` or ``head``; "": to be seen from its effect.
        region: where it may change the photo (a name of `pipelines.stages.compose`); "": to be seen likewise.
        below: L x 512, added instead of `vector` where a strength is below 0; None: the same both ways.
        hold: what is added besides where a strength is below 0; None: nothing.
    """

    name: str
    vector: Tensor
    unit: str
    source: str
    way: str = ""
    region: str = ""
    below: Tensor | None = None
    hold: Hold | None = None

    @property
    def digest(self) -> str:
        """Of what it adds to codes."""
        found = hashlib.sha256(self.vector.contiguous().numpy().tobytes())
        if self.below is not None:
            found.update(self.below.contiguous().numpy().tobytes())
        if self.hold is not None:
            for tensor in (self.hold.look, torch.tensor(self.hold.offset), self.hold.vector):
                found.update(tensor.contiguous().numpy().tobytes())
        return found.hexdigest()

    def limited(self, start: int, stop: int) -> Direction:
        """The same direction in rows start..stop (both included) alone; every row where it had only some."""
        rows = self.vector.abs().sum(1)
        base = self.vector.index_select(0, rows.argmax().reshape(1))[0]
        vector = torch.zeros_like(self.vector)
        vector[start : stop + 1] = base
        return replace(self, name=f"{self.name}@{start}-{stop}", vector=vector, below=None, hold=None)


class DirectionSet:
    """Named directions; applies an edit's terms to codes."""

    def __init__(self, directions: Iterable[Direction]) -> None:
        self._by_name: dict[str, Direction] = {}
        self._placed: dict[tuple[str, bool, torch.device, torch.dtype], tuple[Tensor, Hold | None]] = {}
        for direction in directions:
            if direction.name in self._by_name:
                raise UsageError(
                    f"two directions are called '{direction.name}' (one may be built in): rename your file"
                )
            self._by_name[direction.name] = direction

    def names(self) -> list[str]:
        return list(self._by_name)

    def get(self, name: str) -> Direction:
        """The direction called `name`; ``name@3-7`` limits it to rows 3 to 7.

        Raises:
            UsageError: unknown name (nearest ones listed) or rows outside the code.
        """
        span = _SPAN.match(name)
        plain = span["name"] if span else name
        if plain not in self._by_name:
            raise UsageError(f"unknown attribute '{plain}'; known: {', '.join(nearest(plain, self.names()))}")
        direction = self._by_name[plain]
        if span is None:
            return direction
        start, stop = int(span["start"]), int(span["stop"])
        if not start <= stop < direction.vector.shape[0]:
            raise UsageError(f"'{name}': rows must lie in 0-{direction.vector.shape[0] - 1}, the first one first")
        return direction.limited(start, stop)

    def apply(self, latents: Tensor, terms: Sequence[tuple[str, float]]) -> Tensor:
        """latents n x L x 512 plus each term's strength times its direction, same shape."""
        moved = latents
        for name, strength in terms:
            vector, hold = self._there(name, strength < 0, latents)
            moved = moved + strength * vector
            if hold is not None:
                moved = moved - strength * hold.step(latents)
        return moved

    def _there(self, name: str, below: bool, like: Tensor) -> tuple[Tensor, Hold | None]:
        """What a direction adds, beside `like`; copied there once, as a copy for every batch would hold a GPU up."""
        place = name, below, like.device, like.dtype
        if place not in self._placed:
            direction = self.get(name)
            chosen = direction.vector if direction.below is None or not below else direction.below
            hold = direction.hold.to(like) if direction.hold is not None and below else None
            self._placed[place] = chosen.to(like), hold
        return self._placed[place]


class DirectionEditor:
    """See `pipelines.types.LatentEditor`."""

    version = "1"

    def __init__(self, directions: DirectionSet) -> None:
        self.directions = directions

    def move(self, inversion: Inversion, edit: Edit) -> Tensor:
        """The codes plus every term's direction times its strength."""
        if not any(strength for _, strength in edit.terms):
            return inversion.latents
        return self.directions.apply(inversion.latents, edit.terms)
