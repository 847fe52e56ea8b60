"""Values that consist of tensors of a batch, and are cut, joined, moved and stored by one map: their own fields."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Self

import torch
from torch import Tensor


@dataclass(frozen=True)
class Kept:
    """How a field of `KeptTensors` travels.

    Attributes:
        name: of its tensors in files: ``name``, or ``name.KEY`` where the field maps keys to tensors.
        disk: what a file keeps of its numbers; None: one number a face, kept in the file's head and always on the host.
    """

    name: str
    disk: torch.dtype | None = None


def kept(name: str, disk: torch.dtype | None = None, **more: Any) -> Any:
    """A dataclass field that goes wherever its value goes; see `Kept`."""
    return field(metadata={"kept": Kept(name, disk)}, **more)


@dataclass(frozen=True)
class KeptTensors:
    """A batch whose fields are all made by `kept`: each a tensor, or a mapping of tensors, with a face a row."""

    def __getitem__(self, index: Tensor | slice) -> Self:
        """The faces at `index`."""
        return self._changed(lambda tensor, _: tensor[index])

    @classmethod
    def cat(cls, parts: Sequence[Self]) -> Self:
        """Several inversions of one method as one, in order."""
        joined = [{(how, key): tensor for how, key, tensor in part.tensors()} for part in parts]
        whole = (torch.cat([part[how, key] for part in joined]) for how, key, _ in parts[0].tensors())
        return parts[0].holding(whole)

    def to(self, device: torch.device) -> Self:
        """The same there; scores are the host's wherever the rest is."""
        return self._changed(lambda tensor, how: tensor.detach().to(device if how.disk else "cpu"))

    def stored(self) -> Self:
        """As a file keeps it, so that edits from disk and edits in one pass are the same."""
        return self._changed(lambda tensor, how: tensor.detach().to(how.disk).float() if how.disk else tensor)

    def like(self) -> tuple[frozenset[object], ...]:
        """What must be equal of inversions that are to be joined."""
        return tuple(frozenset(v) for _, v, how in self._parts() if how.disk and isinstance(v, Mapping))

    def tensors(self) -> Iterator[tuple[Kept, object, Tensor]]:
        """Every tensor with its field's `Kept` and its key there (None: the field is the tensor)."""
        for _, value, how in self._parts():
            for key, tensor in value.items() if isinstance(value, Mapping) else ((None, value),):
                yield how, key, tensor

    def holding(self, tensors: Iterable[Tensor]) -> Self:
        """The same with other tensors, in the order of `tensors`."""
        others = iter(tensors)
        return self._changed(lambda tensor, _: next(others))

    def _parts(self) -> Iterator[tuple[str, Any, Kept]]:
        for each in fields(self):
            yield each.name, getattr(self, each.name), each.metadata["kept"]

    def _changed(self, change: Callable[[Tensor, Kept], Tensor]) -> Self:
        made: dict[str, Any] = {}
        for name, value, how in self._parts():
            many = isinstance(value, Mapping)
            made[name] = {key: change(each, how) for key, each in value.items()} if many else change(value, how)
        return replace(self, **made)
