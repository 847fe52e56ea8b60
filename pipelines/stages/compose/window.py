"""The part of a full-size picture that an edit touches: everything at full size is done inside it alone."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from pipelines.stages.compose.filters import enlarge


@dataclass(frozen=True)
class Window:
    """A rectangle of the small grid, and how many times larger the full picture is.

    Attributes:
        top, left, bottom, right: in pixels of the small grid, the last two excluded.
        factor: full side / small side.
    """

    top: int
    left: int
    bottom: int
    right: int
    factor: int

    @property
    def empty(self) -> bool:
        return self.bottom <= self.top

    @property
    def corner(self) -> tuple[int, int]:
        """(y, x) of the first pixel at full size."""
        return self.top * self.factor, self.left * self.factor

    def scaled(self, times: int) -> Window:
        """The same window over a small grid `times` as fine."""
        edges = (self.top * times, self.left * times, self.bottom * times, self.right * times)
        return Window(*edges, self.factor // times)

    def within(self, other: Window) -> Window:
        """What of the window lies in another one of the same grids."""
        top, left = max(self.top, other.top), max(self.left, other.left)
        return Window(top, left, min(self.bottom, other.bottom), min(self.right, other.right), self.factor)

    def cut(self, x: Tensor, of: Window | None = None) -> Tensor:
        """The window's view of a full-size picture n x C x R x R, or of another window of one."""
        f, (top, left) = self.factor, (0, 0) if of is None else (of.top, of.left)
        return x[..., (self.top - top) * f : (self.bottom - top) * f, (self.left - left) * f : (self.right - left) * f]

    def grown(self, x: Tensor) -> Tensor:
        """The window of the small n x C x r x r at full size; as if all of it had been enlarged and then cut."""
        top, left = max(0, self.top - 1), max(0, self.left - 1)
        part = enlarge(x[..., top : self.bottom + 1, left : self.right + 1], self.factor)
        y, x0 = (self.top - top) * self.factor, (self.left - left) * self.factor
        height, width = (self.bottom - self.top) * self.factor, (self.right - self.left) * self.factor
        return part[..., y : y + height, x0 : x0 + width]

    def spread(self, x: Tensor) -> Tensor:
        """The window of the small n x C x r x r at full size, each pixel as a square."""
        part = x[..., self.top : self.bottom, self.left : self.right]
        return part.repeat_interleave(self.factor, -2).repeat_interleave(self.factor, -1)


def window_of(mask: Tensor, factor: int, margin: int = 2) -> Window:
    """What n x 1 x r x r covers with `margin` small pixels around it; off the CPU, where asking would stall, all of it."""
    side = mask.shape[-1]
    if mask.device.type != "cpu":
        return Window(0, 0, side, side, factor)
    some = (mask > 0).any(dim=1).any(dim=0)
    rows, columns = some.any(dim=1).nonzero().flatten().tolist(), some.any(dim=0).nonzero().flatten().tolist()
    if not rows:
        return Window(0, 0, 0, 0, factor)
    low = [max(0, line[0] - margin) for line in (rows, columns)]
    high = [min(side, line[-1] + 1 + margin) for line in (rows, columns)]
    return Window(low[0], low[1], high[0], high[1], factor)
