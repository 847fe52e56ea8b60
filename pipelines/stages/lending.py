"""A generator's methods with other weights, buffers included, for the time of one call: nothing is written into it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from torch import Tensor, nn
from torch.func import functional_call

T = TypeVar("T")


class _Borrowed(nn.Module):
    """Lends a generator's methods to `functional_call`, which calls a module and nothing else."""

    def __init__(self, generator: Any) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, run: Callable[[Any], T]) -> T:
        return run(self.generator)


class Lent:
    """A generator that is lent with other weights.

    Args:
        generator: is never written to.
    """

    def __init__(self, generator: Any) -> None:
        self._borrowed = _Borrowed(generator)

    def run(self, weights: Mapping[str, Tensor], use: Callable[[Any], Tensor]) -> Tensor:
        """What `use` makes of the generator with `weights` (its own names) in place of its own; gradients reach them."""
        renamed = {f"generator.{name}": weight for name, weight in weights.items()}
        made: Tensor = functional_call(self._borrowed, renamed, (use,))
        return made
