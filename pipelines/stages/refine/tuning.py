"""A face's own generator weights while they are being tuned, and the compact form in which they are kept.

A convolution's change is a product of two thin matrices where the kernel is large (low rank, as in Hu et al., LoRA, ICLR
2022), and a whole matrix elsewhere. All are counted in units of the kernel's own size, so that one step size serves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor

from pipelines.stages.lending import Lent
from pipelines.stages.render import LEFT, RIGHT, whole_delta
from pipelines.types import Generator


def tuned_layers(generator: Generator, patterns: Sequence[str]) -> dict[str, Tensor]:
    """The generator's parameters whose names match one of `patterns` (as file names do), by name."""
    named = generator.named_parameters()  # type: ignore[attr-defined]
    return {name: p for name, p in named if any(fnmatchcase(name, pattern) for pattern in patterns)}


def fitting_rank(layers: Mapping[str, Tensor], numbers: int) -> int:
    """The largest rank, 1 at least, at which the changes of `layers` take no more than so many numbers in all."""
    shapes = [_sides(kernel) for kernel in layers.values()]
    ranks = range(max((min(shape) for shape in shapes), default=1), 0, -1)
    return next((rank for rank in ranks if sum(_size(shape, rank) for shape in shapes) <= numbers), 1)


class Tuning:
    """One face's changes of some kernels. They begin at zero: the first picture is the generator's own.

    Args:
        generator: is never written to; `run` lends its methods with other weights.
        layers: see `tuned_layers`.
        rank: of the products; a kernel with fewer numbers than its product would have is changed as a whole.
        seed: of the right factors, whose start must not be zero.

    Attributes:
        variables: what an optimiser moves, each rows x columns.
    """

    def __init__(self, generator: Generator, layers: Mapping[str, Tensor], rank: int, seed: int) -> None:
        self._lent = Lent(generator)
        self._layers = layers
        self._parts: dict[str, Tensor] = {}
        random = torch.Generator().manual_seed(seed)
        for name, kernel in layers.items():
            rows, columns = _sides(kernel)
            if rank * (rows + columns) < rows * columns:
                right = torch.randn(rank, columns, generator=random) / rank**0.5
                self._parts[name + LEFT] = kernel.new_zeros(rows, rank)
                self._parts[name + RIGHT] = right.to(kernel)
            else:
                self._parts[name] = kernel.new_zeros(rows, columns)
        self._sizes = {name: kernel.detach().square().mean().sqrt() for name, kernel in layers.items()}
        self.variables = [part.requires_grad_() for part in self._parts.values()]

    def run(self, use: Callable[[Any], Tensor]) -> Tensor:
        """What `use` makes of the generator with this face's weights; gradients reach `variables`."""
        return self._lent.run(self.weights(), use)

    def weights(self) -> dict[str, Tensor]:
        """The tuned kernels, by name, of the generator's own shapes."""
        deltas = self._scaled()
        return {name: kernel + whole_delta(deltas, name, kernel) for name, kernel in self._layers.items()}

    def deltas(self) -> dict[str, Tensor]:
        """As `Inversion.deltas` keeps them, for one face: 1 x a kernel's shape, or 1 x a factor's."""
        found = {name: part.detach()[None] for name, part in self._scaled().items()}
        return {
            name: d.reshape(1, *self._layers[name].shape) if name in self._layers else d for name, d in found.items()
        }

    def _scaled(self) -> dict[str, Tensor]:
        """The right factors carry no unit."""
        return {
            name: part if name.endswith(RIGHT) else part * self._sizes[name.removesuffix(LEFT)]
            for name, part in self._parts.items()
        }


def _sides(kernel: Tensor) -> tuple[int, int]:
    """Rows and columns of a kernel as a matrix; a leading dimension of 1 (StyleGAN2's) is none."""
    rows = next((side for side in kernel.shape if side > 1), 1)
    return rows, kernel.numel() // rows


def _size(shape: tuple[int, int], rank: int) -> int:
    rows, columns = shape
    return min(rank * (rows + columns), rows * columns)
