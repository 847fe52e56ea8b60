"""What a converted file is made of, and the check of tensors against a layout."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from pipelines.errors import WeightsError

Layout = dict[str, tuple[int, ...]]
_SHOWN = 3


@dataclass(frozen=True)
class Part:
    """One network of an upstream file, ready to be stored.

    Attributes:
        suffix: names the entry: ``NAME-suffix``.
        role: as in the catalogue.
        arch: the network family that reads it; `params` are that family's numbers.
        tensors: on the CPU, floating point, under the keys that the network's module has.
    """

    suffix: str
    role: str
    arch: str
    params: Mapping[str, int | float | str]
    tensors: Mapping[str, Tensor]


@dataclass(frozen=True)
class Found:
    """What a file turned out to be.

    Attributes:
        kind: short, stable: ``rosinality``, ``ada``, ``e4e``, ``psp``, ``restyle``, ``sdic``, ``hfgi``, ``arcface``,
            ``diffcam``, ``deghosting``, ``dlib-resnet``.
        what: one phrase for a person.
        parts: its networks.
        notes: what was left out or had to be made up, one phrase each.
    """

    kind: str
    what: str
    parts: tuple[Part, ...]
    notes: tuple[str, ...] = field(default=())


class Mismatch(Exception):
    """The tensors are not those of the network that the file seems to be; one phrase."""


def strip(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors below `prefix` (with its dot), under their names without it."""
    return {name[len(prefix) :]: tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def under(layout: Layout, prefix: str) -> Layout:
    """A layout with `prefix` in front of every key."""
    return {prefix + key: shape for key, shape in layout.items()}


def checked(
    what: str, tensors: Mapping[str, Tensor], layout: Layout, dead: Callable[[str], bool] = lambda key: False
) -> dict[str, Tensor]:
    """Exactly the tensors of `layout`, in its order, as float32 unless they are half precision already.

    Counters of batch norms (`num_batches_tracked`) are dropped: no network needs them to run, and files differ in
    having them (e4e specification, pitfalls).

    Args:
        what: the network in words, for messages.
        dead: true for keys that a file may have and no network reads.

    Raises:
        Mismatch: a key is missing or unknown, a shape is another one, or a number is NaN or infinite.
    """
    kept = {key: tensor for key, tensor in tensors.items() if not (dead(key) or key.endswith("num_batches_tracked"))}
    _complain(what, "lacks", (key for key in layout if key not in kept))
    _complain(what, "has unknown keys", (key for key in kept if key not in layout))
    wrong = (f"{k} {tuple(kept[k].shape)} instead of {s}" for k, s in layout.items() if tuple(kept[k].shape) != s)
    _complain(what, "has other shapes than it should", wrong)
    return {key: _number(what, key, kept[key]) for key in layout}


def _number(what: str, key: str, tensor: Tensor) -> Tensor:
    if not tensor.is_floating_point():
        raise Mismatch(f"the {what} has integers in {key}")
    if not torch.isfinite(tensor).all():
        raise Mismatch(f"the {what} has NaN or infinite numbers in {key}")
    return tensor.float() if tensor.dtype == torch.float64 else tensor


def _complain(what: str, verb: str, keys: Iterable[str]) -> None:
    found = list(keys)
    if found:
        more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        raise Mismatch(f"the {what} {verb}: {', '.join(key[:160] for key in found[:_SHOWN])}{more}")


def refuse(file: str, reason: object) -> WeightsError:
    """The error for a file that cannot be converted: one sentence."""
    return WeightsError(f"{file} cannot be converted: {reason}")


def norm(name: str, channels: int) -> Layout:
    """A batch norm with affine and running statistics."""
    fields = ("weight", "bias", "running_mean", "running_var")
    return {f"{name}.{each}": (channels,) for each in fields}


def conv(name: str, out: int, into: int, *kernel: int, bias: bool = False) -> Layout:
    """A convolution (or linear layer, without kernel)."""
    return {f"{name}.weight": (out, into, *kernel)} | ({f"{name}.bias": (out,)} if bias else {})
