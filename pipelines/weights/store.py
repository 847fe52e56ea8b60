"""Weights by name: from the user's cache, else a mirror, else the entry's own sources; sha256 checked, always."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from pipelines.errors import WeightsError
from pipelines.weights import assets
from pipelines.weights import catalogue as catalogue_module
from pipelines.weights.cache import Cache
from pipelines.weights.catalogue import Catalogue, WeightEntry, find_entry, load_catalogue
from pipelines.weights.checkpoints.convert import Conversion, Converter
from pipelines.weights.checkpoints.read import convert_checkpoint, read_checkpoint
from pipelines.weights.config import StoreConfig
from pipelines.weights.download import FetchEvent, SourceError, copy_file, mirror_file, place_copy, sha256_of
from pipelines.weights.sources import Sources
from pipelines.weights.user_entries import with_user_entries

__all__ = ["Conversion", "FetchEvent", "Status", "StoreConfig", "WeightStore"]

Status = Literal["cached", "converted", "package", "mirror", "index", "https", "absent"]


class WeightStore:
    """Verified weight files by catalogue name.

    Args:
        config: where and how.
        on_event: told about each fetch; called in the thread that fetches.
        catalogue: entries by name; the packed `weights.toml` where not given.
    """

    def __init__(
        self,
        config: StoreConfig,
        on_event: Callable[[FetchEvent], None] | None = None,
        catalogue: Catalogue | None = None,
    ) -> None:
        self.config = config
        self._entries = with_user_entries(catalogue if catalogue is not None else load_catalogue(), config.home)
        self._cache = Cache(config.home)
        self._sources = Sources(config, self._cache, self.entries(), on_event or (lambda event: None))

    def entry(self, name: str) -> WeightEntry:
        """The catalogue entry; raises WeightsError that lists the known names, nearest first."""
        return find_entry(self._entries, name)

    def entries(self) -> list[WeightEntry]:
        """All entries, in the catalogue's order; then what the user converted."""
        return list(self._entries.values())

    def closure(self, names: Iterable[str]) -> list[str]:
        """`names` and everything that they require, each once, in a stable order."""
        return catalogue_module.closure(self._entries, names)

    def group(self, name: str) -> list[str]:
        """What was converted as `name`, and `name` itself where it is an entry; raises WeightsError for neither."""
        group = [each.name for each in self._entries.values() if each.source_entry == name]
        return group if group and name not in self._entries else [*group, self.entry(name).name]

    def status(self, name: str) -> Status:
        """Where `path(name)` would take the file from; hashes nothing."""
        entry = self.entry(name)
        parts = [self._entries.get(f"{name}-{part}") for part in entry.parts]
        if parts and all(part and self._cache.has(part) for part in parts):
            return "converted"
        if self._cache.has(entry):
            return "package" if entry.packed else "cached"
        if mirror_file(self.config.mirror, entry.filename):
            return "mirror"
        if entry.members:
            return "index"
        return "https" if entry.sources and not entry.packed else "absent"

    def have(self, name: str) -> bool:
        """True where the file lies in the package, the cache or a mirror folder, so that no network is needed."""
        return self.status(name) in ("cached", "converted", "package", "mirror")

    def card(self, name: str) -> dict[str, Any]:
        """How one of our own entries was made (data, recipe, commit, figures, licence); {} for all others.

        Raises:
            WeightsError: this installation lacks the card, or it is damaged.
        """
        return assets.card(name) if self.entry(name).packed else {}

    def sha256(self, name: str) -> str:
        """The hash that the entry's file must have: the catalogue's, else the one trusted on first use, else ""."""
        return self._cache.expected(self.entry(name))

    def path(self, name: str) -> Path:
        """The verified file of one entry (not of what it requires), fetched where it is not cached.

        Of an upstream file that was converted and is not kept itself, the safetensors of its main network.

        Raises:
            WeightsError: missing and offline, no source serves it, or it is not the file that the catalogue names.
        """
        entry = self.entry(name)
        cached = self._cache.checked(entry)
        if cached:
            return cached[0]
        if entry.parts and self._made(entry):
            return self.path(self.resolve(name, entry.role))
        problem = self._sources.fetch(entry)
        if problem:
            raise self._missing({name: problem})
        return self._cache.file(entry)

    def tensors(self, name: str) -> dict[str, Tensor]:
        """All tensors of a checkpoint entry, on the CPU, under their full upstream names (nothing is stripped).

        A ``.pth`` is opened once, after its hash was checked and with ``weights_only=True``; from then on the
        safetensors made from it are read. Of an upstream file with several networks (``.pt``, ``.pkl``) these are the
        tensors of its main one, the entry's own role, under the keys that `pipelines.weights.formats` describes;
        converted first where the file is at hand and was not.

        Raises:
            WeightsError: as `path`, or the file is no checkpoint.
        """
        entry = self.entry(name)
        if entry.parts:
            return self.tensors(self.resolve(name, entry.role))
        path = self.path(name)
        if entry.format == "safetensors":
            return assets.load_safetensors(path)
        if entry.format != "pth":
            raise WeightsError(f"'{name}' ({entry.filename}) is a {entry.format} file, not a checkpoint of tensors")
        return self._converted(entry, path)

    def _converted(self, entry: WeightEntry, path: Path) -> dict[str, Tensor]:
        """The tensors of a verified ``.pth``, by way of the safetensors made from it."""
        cached = self._cache.checked(entry)
        target = self._cache.converted(entry, cached[1] if cached else sha256_of(path))
        key = f"{entry.name}.converted"
        if self._cache.stamped(key, target):
            with contextlib.suppress(WeightsError):  # a damaged one is made anew
                return assets.load_safetensors(target)
        try:
            with self._cache.part(f"{entry.name}.safetensors") as part:
                convert_checkpoint(path, part)
                part.replace(target)
                self._cache.stamp(key, target)
        except WeightsError:
            # A read-only folder: do without the copy. A checkpoint that is refused is refused again here.
            return read_checkpoint(path)
        return assets.load_safetensors(target)

    def convert(self, file: Path, name: str | None = None, output: Path | None = None) -> Conversion:
        """Convert an upstream file (see `pipelines.weights.checkpoints.convert.Converter.convert`); its entries are
        known from now on."""
        done = Converter(self._cache, self._entries).convert(file, name, output)
        if output is None:
            self._entries |= {entry.name: entry for entry in done.entries}
        return done

    def resolve(self, name: str, role: str) -> str:
        """The entry with the tensors of a network: `name` itself, or the part of a converted file of that name.

        Args:
            name: an entry; or what a file was converted as (``e4e`` for ``e4e-encoder``); or an upstream entry of the
                catalogue, which is converted now where its file is at hand.
            role: ``generator``, ``encoder``, ``compensator``, ``identity``.

        Raises:
            WeightsError: an unknown name; a file without such a network; or one that cannot be had, and what to do.
        """
        entry = self._entries.get(name)
        if entry is not None and entry.role == role and not entry.parts:
            return name
        if entry is not None and entry.parts:
            problem = self._ensure(name)
            if problem:
                raise self._missing({name: problem})
        parts = [each for each in self._entries.values() if each.source_entry == name]
        for each in parts:
            if each.role == role:
                return each.name
        if parts:
            raise WeightsError(f"'{name}' holds no {role}: it was converted to {', '.join(p.name for p in parts)}")
        raise WeightsError(f"'{self.entry(name).name}' is no {role}, but of the role '{self.entry(name).role}'")

    def pull(self, names: Iterable[str]) -> dict[str, Path]:
        """Fetch `names` and what they require; name -> verified file.

        Raises:
            WeightsError: names every file that could not be had, why, and the `ganinv weights pull` line.
        """
        wanted = self.closure(names)
        problems = {name: problem for name in wanted if (problem := self._ensure(name))}
        if problems:
            raise self._missing(problems)
        return {
            name: self.path(name) if self.entry(name).parts else self._cache.file(self.entry(name)) for name in wanted
        }

    def pull_to(self, folder: Path, names: Iterable[str]) -> dict[str, Path]:
        """Fetch `names` and what they require, and copy them into `folder`, which then serves as a mirror.

        Raises:
            WeightsError: as `pull`, or the folder cannot be written.
        """
        copies: dict[str, Path] = {}
        for name, path in self.pull(names).items():
            if path.name != self.entry(name).filename:
                raise WeightsError(
                    f"only the conversion of '{name}' is kept: copy {self.entry(name).filename} yourself"
                )
            copies[name] = folder / path.name
            place_copy(path, copies[name], self.sha256(name))
        return copies

    def verify(self, names: Iterable[str] | None = None) -> dict[str, str]:
        """Hash cached files in full: name -> "" where right, else what is wrong, in one sentence.

        Args:
            names: None = whatever is cached. A named entry that is not cached is reported as such.
        """
        chosen = [e.name for e in self.entries() if self._cache.has(e)] if names is None else list(names)
        results: dict[str, str] = {}
        for name in chosen:
            entry = self.entry(name)
            try:
                there = self._cache.has(entry)
                results[name] = "" if there and self._cache.rehash(entry) else f"'{name}' is not cached"
            except WeightsError as error:
                results[name] = str(error)
        return results

    def add(self, file: Path, name: str) -> Path:
        """Copy the user's own `file` into the store as the entry `name`, after the hash check.

        Raises:
            WeightsError: no such file, or it is not the one that the catalogue names. An entry without a known hash
                trusts this file from now on.
        """
        entry = self.entry(name)
        try:
            self._cache.check_size(entry, file, str(file))
            with self._cache.part(entry.filename) as part:
                copy_file(file, part, self._sources.progress(entry))
                return self._cache.admit(entry, part, str(file))
        except SourceError as error:
            raise WeightsError(str(error)) from None

    def remove(self, name: str) -> bool:
        """Delete an entry's file, its conversions and its trusted hash from the cache; True where there was a file.

        `name` may also be what a file was converted as: then all of its parts go.
        """
        group = [self._entries[each] for each in self.group(name)]
        try:
            there = [self._cache.remove(entry) for entry in group]
            for entry in group:
                if entry.source_file:
                    del self._entries[entry.name]
                    if not any(other.source_entry == entry.source_entry for other in self._entries.values()):
                        self._cache.distrust(entry.source_entry)
            return any(there)
        except OSError as error:
            raise WeightsError(f"'{name}' cannot be removed from {self.config.home}: {error}") from None

    def _ensure(self, name: str) -> str:
        """ "" once the file is cached and right, else why it cannot be had."""
        entry = self.entry(name)
        if not entry.parts:
            return "" if self._cache.checked(entry) else self._sources.fetch(entry)
        if self._made(entry):
            return ""
        problem = "" if self._cache.checked(entry) else self._sources.fetch(entry)
        if not problem:
            self.convert(self._cache.file(entry), name)
        return problem

    def _made(self, entry: WeightEntry) -> bool:
        """Whether an upstream file was converted, and all of its parts are in place and unchanged."""
        parts = [self._entries.get(f"{entry.name}-{part}") for part in entry.parts]
        return all(part is not None and self._cache.checked(part) is not None for part in parts)

    def _missing(self, problems: Mapping[str, str]) -> WeightsError:
        names = list(problems)
        if set(problems.values()) == {"offline"}:
            files = ", ".join(f"{self.entry(name).filename} ({name})" for name in names)
            head = f"missing weights, and fetching is off (offline): {files}"
        else:
            files = "; ".join(f"{self.entry(name).filename} ({name}): {problems[name]}" for name in names)
            head = f"weights cannot be fetched: {files}"
        pull = f"Where there is a network run `ganinv weights pull {' '.join(names)}`, or put"
        hopeless = all(self.entry(name).parts and not self.entry(name).sources for name in names)
        return WeightsError(
            f"{head}. {'Or put' if hopeless else pull} the files into a folder that GANINV_MIRROR names"
        )
