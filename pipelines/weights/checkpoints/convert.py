"""From an upstream file to entries in the user's weights folder: hash, trust, detect, write. One step of `convert`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pipelines.errors import UsageError, WeightsError
from pipelines.files import replacing
from pipelines.weights.cache import Cache
from pipelines.weights.catalogue import WeightEntry
from pipelines.weights.checkpoints.detect import detect
from pipelines.weights.checkpoints.read import write_tensors
from pipelines.weights.download import sha256_of
from pipelines.weights.formats.parts import Found, Part
from pipelines.weights.user_entries import NAME, keep_entry, name_of

UNKNOWN_LICENCE = "unknown: ask where the file came from"


@dataclass(frozen=True)
class Conversion:
    """What `convert` did.

    Attributes:
        name: what the file was converted as.
        found: what the file is, in words, and notes.
        sha256: of the upstream file.
        first: True where this hash was trusted on first use, and recorded, just now.
        entries: the entries made, ``NAME-part``.
        files: name of an entry -> its safetensors file.
    """

    name: str
    what: str
    notes: tuple[str, ...]
    sha256: str
    first: bool
    entries: tuple[WeightEntry, ...]
    files: Mapping[str, Path]


class Converter:
    """Converts upstream files.

    Args:
        cache: the weights folder.
        entries: the catalogue and the user's own entries.
    """

    def __init__(self, cache: Cache, entries: Mapping[str, WeightEntry]) -> None:
        self._cache = cache
        self._entries = entries

    def convert(self, file: Path, name: str | None = None, output: Path | None = None) -> Conversion:
        """Convert `file` and keep the result.

        Args:
            name: what to call it; else the catalogue entry with this file name, else the file's own name.
            output: a folder to write ``NAME-part.safetensors`` to instead of the weights folder (or one file ending in
                ``.safetensors``, where the upstream file holds one network); nothing is recorded then.

        Raises:
            UsageError: no such file, or a name that cannot be meant.
            WeightsError: as `detect`; another hash than the one trusted; another network than the catalogue's entry
                names; the folder cannot be written.
        """
        if not file.is_file():
            raise UsageError(f"{file} is not a file; name the upstream file to convert")
        name = name or self._guess(file)
        entry = self._check_name(name)
        digest = sha256_of(file)
        wanted = self._wanted(name, entry)
        if wanted and wanted != digest:
            raise WeightsError(
                f"{file.name} is not the file that '{name}' names: sha256 {digest}, expected {wanted}; if you trust it, "
                f"run `ganinv weights rm {name}` first, or convert it under another name with --as"
            )
        found = detect(file)
        _fits(file, found, name, entry)
        made = [(self._describe(part, name, entry, file, digest), part) for part in found.parts]
        if output is not None:
            files = _write_outside(output, made)
            return Conversion(name, found.what, found.notes, digest, False, tuple(each for each, _ in made), files)
        kept = tuple(self._keep(described, part) for described, part in made)
        if not wanted:
            self._cache.trust(name, digest)
        places = {each.name: self._cache.file(each) for each in kept}
        return Conversion(name, found.what, found.notes, digest, not wanted, kept, places)

    def _guess(self, file: Path) -> str:
        match = [each for each in self._entries.values() if each.filename == file.name and not each.source_file]
        return match[0].name if match else name_of(file.stem)

    def _check_name(self, name: str) -> WeightEntry | None:
        """The catalogue's entry of that name, if there is one."""
        if not NAME.fullmatch(name):
            raise UsageError(
                f"'{name}' cannot be a name of weights: use lower-case letters, digits, points and hyphens"
            )
        entry = self._entries.get(name)
        if entry is not None and (entry.source_file or entry.format not in ("pt", "pkl", "pth", "dat")):
            raise UsageError(f"'{name}' is an entry of its own, which is not converted; choose another name with --as")
        return entry

    def _wanted(self, name: str, entry: WeightEntry | None) -> str:
        return (entry.sha256 if entry else "") or self._cache.trusted(name)

    def _describe(self, part: Part, name: str, entry: WeightEntry | None, file: Path, digest: str) -> WeightEntry:
        """The new entry, still without hash and size of its own file."""
        full = f"{name}-{part.suffix}"
        if full in self._entries and not self._entries[full].source_file:
            raise UsageError(f"'{full}' is an entry of the catalogue; choose another name with --as")
        about = entry.params if entry and entry.role == part.role else {}
        return WeightEntry.model_validate(
            {
                "name": full,
                "role": part.role,
                "arch": part.arch,
                "params": {**about, **part.params},
                "format": "safetensors",
                "filename": f"{full}.safetensors",
                "licence": entry.licence if entry else UNKNOWN_LICENCE,
                "noncommercial": entry.noncommercial if entry else False,
                "origin": entry.origin if entry else f"converted from {file.name}",
                "source_entry": name,
                "source_file": file.name,
                "source_sha256": digest,
            }
        )

    def _keep(self, entry: WeightEntry, part: Part) -> WeightEntry:
        """Numbers first, then the record: a killed conversion leaves no entry without its file."""
        with self._cache.part(entry.filename) as target:
            write_tensors(part.tensors, target, _metadata(entry))
            done = entry.model_copy(update={"sha256": sha256_of(target), "bytes": target.stat().st_size})
            self._cache.admit(done, target, entry.source_file)
            keep_entry(self._cache.home, done)
        return done


def _metadata(entry: WeightEntry) -> dict[str, str]:
    """What the safetensors file says about itself: role, arch, params, licence, origin and the upstream file's hash."""
    return {"ganinv": json.dumps(entry.model_dump(mode="json", exclude_defaults=True))}


def _fits(file: Path, found: Found, name: str, entry: WeightEntry | None) -> None:
    """Raises WeightsError where the file is another network than the catalogue's entry names."""
    if entry is None:
        return
    fitting = any(part.role == entry.role and part.arch == entry.arch for part in found.parts)
    missing = [part for part in entry.parts if part not in {each.suffix for each in found.parts}]
    if not fitting or missing:
        raise WeightsError(
            f"{file.name} is {found.what}, not what '{name}' names ({entry.role}, {entry.arch}"
            f"{', with ' + ' and '.join(entry.parts) if entry.parts else ''}); convert it under another name with --as"
        )


def _write_outside(output: Path, made: list[tuple[WeightEntry, Part]]) -> dict[str, Path]:
    """Write the parts where the user said; raises UsageError for one file and several networks."""
    single = output.suffix == ".safetensors"
    if single and len(made) > 1:
        names = ", ".join(entry.name for entry, _ in made)
        raise UsageError(f"--output {output} is one file, but there are {len(made)} networks ({names}); name a folder")
    files = {entry.name: output if single else output / entry.filename for entry, _ in made}
    for entry, part in made:
        target = files[entry.name]
        try:
            with replacing(target) as passing:
                write_tensors(part.tensors, passing, _metadata(entry))
        except OSError as error:
            raise WeightsError(f"{target} cannot be written: {error.strerror or error}") from None
    return files
