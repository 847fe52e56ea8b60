"""One small registry per kind of part (generator, embedder, refiner, compensator, composer, metric, detector)."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pipelines.errors import UsageError

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
F = TypeVar("F", bound=Callable[..., Any])


def nearest(name: str, known: list[str]) -> list[str]:
    """The known names, those that look most like `name` first."""
    close = difflib.get_close_matches(name, known, n=len(known), cutoff=0.4)
    return close + [other for other in known if other not in close]


@dataclass(frozen=True)
class Entry(Generic[T_co]):
    """A part's factory, with what must be known before it runs.

    Attributes:
        build: makes the part; what it is called with depends on the kind (`pipelines.stages.entry`).
        weights: entries of the catalogue that it needs.
        version: raised whenever its results change; part of the fingerprint.
        landmarks: whether it looks at the faces' landmarks.
        options: which of the options of `pipelines.stages.fitting` it reads.
    """

    build: Callable[..., T_co]
    weights: tuple[str, ...] = ()
    version: str = "1"
    landmarks: bool = False
    options: tuple[str, ...] = ()


class Registry(Generic[T]):
    """Name -> value (usually an `Entry`). Duplicates raise; an unknown name lists the known ones, nearest first.

    Args:
        kind: what a message calls them.
        package: where the own parts lie, a module each (or one module), which are imported when a name is first asked
            for: a part registers itself, and nothing else has to know its file.
    """

    def __init__(self, kind: str, package: str = "") -> None:
        self.kind = kind
        self._package = package
        self._entries: dict[str, T] = {}

    def add(self, name: str, value: T) -> T:
        """Register `value` under `name`; raises ValueError where the name is taken."""
        if name in self._entries:
            raise ValueError(f"{self.kind} {name!r} is registered twice")
        self._entries[name] = value
        return value

    def get(self, name: str) -> T:
        """The value of `name`; raises UsageError that names the nearest known ones."""
        self._find()
        try:
            return self._entries[name]
        except KeyError:
            choices = ", ".join(nearest(name, list(self._entries)))
            raise UsageError(f"unknown {self.kind} '{name}'; known: {choices}") from None

    def names(self) -> list[str]:
        self._find()
        return list(self._entries)

    def __contains__(self, name: object) -> bool:
        self._find()
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        self._find()
        return iter(self._entries)

    def _find(self) -> None:
        package, self._package = self._package, ""
        if package:
            found = importlib.import_module(package)
            for module in pkgutil.iter_modules(getattr(found, "__path__", ()), package + "."):
                importlib.import_module(module.name)


class PartRegistry(Registry[Entry[T]]):
    """A registry of parts. `@composers.register("mine")` above a function that builds one registers it."""

    def register(
        self,
        name: str,
        weights: tuple[str, ...] = (),
        version: str = "1",
        landmarks: bool = False,
        options: tuple[str, ...] = (),
    ) -> Callable[[F], F]:
        """Decorator of a build function; the arguments are those of `Entry`."""

        def adds(build: F) -> F:
            self.add(name, Entry(build, weights, version, landmarks, options))
            return build

        return adds
