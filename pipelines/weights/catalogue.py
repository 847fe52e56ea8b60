"""The catalogue of weights: `weights.toml`, parsed into frozen entries whose unknown keys are refused."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from pipelines.errors import WeightsError
from pipelines.registry import nearest

Role = Literal[
    "generator", "encoder", "compensator", "detector", "landmarks", "identity", "attribute", "perceptual", "parsing",
    "trunk", "directions", "sample",
]  # fmt: skip
Format = Literal["openvino-bin", "openvino-xml", "dat", "pth", "onnx", "safetensors", "image", "pt", "pkl", "tflite"]
ArchiveKind = Literal["wheel", "sdist"]

_INDEX = re.compile(r"index:(?P<package>[A-Za-z0-9._-]+)==(?P<version>[^:\s]+):(?P<kind>wheel|sdist):(?P<member>\S+)")
_HEX = re.compile(r"[0-9a-f]*")
_PACKAGE = "package:"


@dataclass(frozen=True)
class IndexMember:
    """One file inside an archive of a package index: the parsed form of an ``index:`` source."""

    package: str
    version: str
    kind: ArchiveKind
    member: str

    @property
    def archive(self) -> str:
        """What a person would call the archive, e.g. ``random-face 2021.7.21.1 (wheel)``."""
        return f"{self.package} {self.version} ({self.kind})"


def index_member(source: str) -> IndexMember | None:
    """The parsed ``index:PACKAGE==VERSION:wheel|sdist:MEMBER`` source, or None for any other text."""
    found = _INDEX.fullmatch(source)
    if found is None:
        return None
    kind: ArchiveKind = "wheel" if found["kind"] == "wheel" else "sdist"
    return IndexMember(found["package"], found["version"], kind, found["member"])


class WeightEntry(BaseModel):
    """One file that `ganinv` can load. Frozen; unknown keys are refused.

    Attributes:
        name: how the command line and the builders name it.
        role: what it is for.
        arch: the network family that reads it; `params` are that family's numbers.
        format: how the bytes are to be read.
        filename: upstream file name; in the cache and in mirrors the file has this name.
        sources: tried in order: ``index:...`` (see `IndexMember`) or ``https://...``; or ``package:NAME`` alone, a file
            of our own that travels inside the package, with a card (NAME.json) beside it.
        sha256: of the file, lower-case hex; empty = trust on first use.
        sha256_prefix: the leading digits, where only they are known.
        bytes: size of the file; 0 = unknown.
        licence: licence of the weights in words, shown at the first fetch.
        noncommercial: true where the weights, or what they were made from, may not serve commercial ends.
        origin: who published them.
        requires: names of the other entries without which this one is of no use.
        parts: of an upstream file that must be converted first: the entries ``NAME-part`` that this makes.
        source_entry: of a converted entry: the NAME that its file was converted as.
        source_file: of a converted entry: the name of the upstream file.
        source_sha256: of a converted entry: sha256 of the upstream file.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]*$")
    role: Role
    arch: str
    params: Mapping[str, int | float | str] = {}
    format: Format
    filename: str = Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]*$")  # a plain name: never a path out of the cache
    sources: tuple[str, ...] = ()
    sha256: str = ""
    sha256_prefix: str = ""
    bytes: int = Field(default=0, ge=0)
    licence: str = Field(min_length=1)
    noncommercial: bool = False
    origin: str
    requires: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()
    source_entry: str = ""
    source_file: str = ""
    source_sha256: str = ""

    @field_validator("sources")
    @classmethod
    def _known_sources(cls, sources: tuple[str, ...]) -> tuple[str, ...]:
        for source in sources:
            member = index_member(source)
            if member is None and not source.startswith(("https://", _PACKAGE)):
                raise ValueError(
                    f"source {source!r} is neither index:PACKAGE==VERSION:wheel|sdist:MEMBER nor https:// nor package:NAME"
                )
            if member is not None and (member.member.startswith("/") or ".." in member.member.split("/")):
                raise ValueError(f"source {source!r} points outside its archive")
        return sources

    @model_validator(mode="after")
    def _hash_and_size(self) -> WeightEntry:
        if not (_HEX.fullmatch(self.sha256) and len(self.sha256) in (0, 64)):
            raise ValueError("sha256 must be 64 lower-case hex digits, or empty")
        if not _HEX.fullmatch(self.sha256_prefix) or (self.sha256 and not self.sha256.startswith(self.sha256_prefix)):
            raise ValueError("sha256_prefix must be the leading hex digits of the sha256")
        if (self.format in ("pt", "pkl")) != bool(self.parts):
            raise ValueError("parts belong to the formats pt and pkl, and only to them")
        if self.members and not (self.sha256 and self.bytes):
            raise ValueError("an index source needs sha256 and bytes: whoever owns a name on an index can change it")
        inside = [source.removeprefix(_PACKAGE) for source in self.sources if source.startswith(_PACKAGE)]
        if inside and not (self.sha256 and self.sources == (f"{_PACKAGE}{Path(self.filename).stem}",)):
            raise ValueError("a file inside the package is its only source, has its name, and needs sha256")
        return self

    @property
    def packed(self) -> bool:
        """Whether the file travels inside the package: never fetched, never removed."""
        return any(source.startswith(_PACKAGE) for source in self.sources)

    @property
    def members(self) -> tuple[IndexMember, ...]:
        """The ``index:`` sources, parsed."""
        return tuple(member for member in map(index_member, self.sources) if member is not None)


Catalogue = Mapping[str, WeightEntry]


def catalogue_path() -> Path:
    """`weights.toml`: inside the package where installed from a wheel, at the top of a source checkout."""
    packed = Path(str(resources.files("pipelines.weights").joinpath("weights.toml")))
    return packed if packed.is_file() else Path(__file__).resolve().parents[2] / "weights.toml"


def load_catalogue(path: Path | None = None) -> dict[str, WeightEntry]:
    """All entries of the catalogue by name, in the file's order.

    Raises:
        WeightsError: no such file, not TOML, an unknown or missing key, a `requires` that names no entry, or two
            entries that claim one file name.
    """
    path = path or catalogue_path()
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise WeightsError(f"the catalogue {path} cannot be read: {error}") from None
    entries = {name: _entry(name, table, path) for name, table in tables.items()}
    _check_links(entries, path)
    return entries


def _entry(name: str, table: Any, path: Path) -> WeightEntry:
    if not isinstance(table, dict):
        raise WeightsError(f"{path}: '{name}' must be a table, such as [{name}]")
    try:
        return WeightEntry.model_validate({**table, "name": name})
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'entry'}: {e['msg']}" for e in error.errors())
        raise WeightsError(f"{path}: entry '{name}' is wrong: {problems}") from None


def _check_links(entries: Catalogue, path: Path) -> None:
    owners: dict[str, str] = {}
    for entry in entries.values():
        unknown = [name for name in entry.requires if name not in entries]
        if unknown:
            raise WeightsError(f"{path}: entry '{entry.name}' requires {', '.join(unknown)}, which is not an entry")
        # Lower case: two names that differ only in case are one file on some disks.
        other = owners.setdefault(entry.filename.lower(), entry.name)
        if other != entry.name:
            raise WeightsError(f"{path}: entries '{other}' and '{entry.name}' share the file name {entry.filename}")


def find_entry(entries: Catalogue, name: str) -> WeightEntry:
    """The entry called `name`; raises WeightsError that lists the known names, nearest first."""
    try:
        return entries[name]
    except KeyError:
        choices = ", ".join(nearest(name, list(entries)))
        raise WeightsError(f"unknown weights '{name}'; known: {choices}") from None


def closure(entries: Catalogue, names: Iterable[str]) -> list[str]:
    """`names` and all that they require, each once, in a stable order (a name before what it requires)."""
    found: dict[str, None] = {}
    waiting = list(names)
    while waiting:
        name = waiting.pop(0)
        if name not in found:
            found[name] = None
            waiting = [*find_entry(entries, name).requires, *waiting]
    return list(found)
