"""Which layers of a StyleGAN2 there are, and which of them a pass needs.

Layers run in one order: the 4 px convolution, its picture, then per block the up-sampling convolution, the second
convolution, the picture. A *point* names what stands behind a layer: 64 after the 64 px block's first convolution,
``"64b"`` after its second, ``"64rgb"`` the skip picture of that size. At 4 px there are ``4`` and ``"4rgb"``.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from torch import Tensor

from pipelines.types import Injection, Point


@dataclass(frozen=True)
class Layer:
    """One layer.

    Attributes:
        point: what stands behind it.
        module: its module's key in the state dict, e.g. ``"convs.6"``.
        row: row of W+ that drives it.
        size: side of its output in pixels.
        rgb: a toRGB layer (its output is the skip picture), else a convolution.
        noise: index of its noise map; -1 for toRGB.
    """

    point: Point
    module: str
    row: int
    size: int
    rgb: bool
    noise: int = -1


def layers_of(resolution: int) -> tuple[Layer, ...]:
    """All layers in the order in which they run.

    Rows as in the official code: the 4 px convolution reads row 0 and its toRGB row 1; the block of 8 x 2^k px reads
    rows 2k+1, 2k+2 and, for its toRGB, 2k+3. Raises ValueError where `resolution` is no power of two from 8 on.
    """
    if resolution < 8 or resolution & (resolution - 1):
        raise ValueError(f"a StyleGAN2 generator of {resolution} px: the size must be a power of two, 8 or more")
    layers = [Layer(4, "conv1", 0, 4, False, 0), Layer("4rgb", "to_rgb1", 1, 4, True)]
    for k in range(resolution.bit_length() - 3):
        size = 8 << k
        layers += [
            Layer(size, f"convs.{2 * k}", 2 * k + 1, size, False, 2 * k + 1),
            Layer(f"{size}b", f"convs.{2 * k + 1}", 2 * k + 2, size, False, 2 * k + 2),
            Layer(f"{size}rgb", f"to_rgbs.{k}", 2 * k + 3, size, True),
        ]
    return tuple(layers)


def needed(
    layers: tuple[Layer, ...], inject: Mapping[Point, Injection], collect: Collection[Point], image: bool
) -> tuple[Layer, ...]:
    """The layers that a pass must visit, in order: walked from the top, each asks for what it reads.

    An injected tensor ends the walk on its strand (convolutions or skip pictures): what it replaces and, unless
    something else asks for it, what lies below is left out. So a picture from an injected 64 px feature still climbs to
    32 px for the skip picture, unless that is injected, too.

    Args:
        image: the picture of the top block is wanted, besides what is in `collect`.

    Raises:
        ValueError: `inject` or `collect` names no point of this generator.
    """
    known = {layer.point for layer in layers}
    if unknown := [point for point in (*inject, *collect) if point not in known]:
        raise ValueError(f"no feature point {unknown[0]!r}; known: {', '.join(str(layer.point) for layer in layers)}")
    chosen: list[Layer] = []
    feature, skip = False, image
    for layer in reversed(layers):
        wanted = (skip if layer.rgb else feature) or layer.point in collect
        if not wanted:
            continue
        chosen.append(layer)
        replaced = isinstance(inject.get(layer.point), Tensor)
        if layer.rgb:
            skip = not replaced
            feature = feature or not replaced
        else:
            feature = not replaced
    return tuple(reversed(chosen))
