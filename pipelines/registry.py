"""One small registry per kind of part (generator, embedder, refiner, compensator, metric, detector)."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from pipelines.errors import UsageError

T = TypeVar("T")


def nearest(name: str, known: list[str]) -> list[str]:
    """The known names, those that look most like `name` first."""
    close = difflib.get_close_matches(name, known, n=len(known), cutoff=0.4)
    return close + [other for other in known if other not in close]


class Registry(Generic[T]):
    """Name -> value (usually a factory). Duplicates raise; an unknown name lists the known ones, nearest first."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, T] = {}

    def add(self, name: str, value: T) -> T:
        """Register `value` under `name`; raises ValueError where the name is taken."""
        if name in self._entries:
            raise ValueError(f"{self.kind} {name!r} is registered twice")
        self._entries[name] = value
        return value

    def register(self, name: str) -> Callable[[T], T]:
        """Decorator form of `add`."""
        return lambda value: self.add(name, value)

    def get(self, name: str) -> T:
        """The value of `name`; raises UsageError that names the nearest known ones."""
        try:
            return self._entries[name]
        except KeyError:
            choices = ", ".join(nearest(name, list(self._entries)))
            raise UsageError(f"unknown {self.kind} '{name}'; known: {choices}") from None

    def names(self) -> list[str]:
        return list(self._entries)

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)
