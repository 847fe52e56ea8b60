"""What INPUT means: a folder, a picture, a list of paths or a run's own folder -> photos in a stable order."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from pipelines.errors import NoInputError, UsageError
from pipelines.images import IMAGE_SUFFIXES
from pipelines.manifest import Record, has_manifest, read_manifest
from pipelines.types import Quad

FACE = "face"  # the kind of output that `align` writes
LATENTS = "latents"  # the kind of output that marks an inverted item
_RUN_FILES = re.compile(r"manifest\.jsonl|run(\.\d+-of-\d+)?\.json|metrics\.json|report\.html")


@dataclass(frozen=True)
class Origin:
    """Where an aligned crop was cut from: the photo's path, its sha256, and the crop's corners in it."""

    path: str
    digest: str
    quad: Quad


@dataclass(frozen=True)
class Photo:
    """One file to read.

    Attributes:
        key: path relative to the input, POSIX, without suffix.
        path: absolute path.
        origin: the photo that this crop came from (input was a folder of `align`), for pasting back.
        cut: crop the photo by these corners instead of searching it (input was a folder of `invert --align`);
            `cut.path` equals `path`.
        trusted: an earlier run vouches that the file is an aligned crop.
    """

    key: str
    path: str
    origin: Origin | None = None
    cut: Origin | None = None
    trusted: bool = False


@dataclass(frozen=True)
class Listing:
    """The photos, sorted by key, and what a person should hear about the rest.

    Attributes:
        photos: sorted by key.
        notes: one sentence per kind of thing that was left out.
        latents: the folder with codes of the same keys (input was a folder of `invert` or `edit`), or None.
    """

    photos: tuple[Photo, ...]
    notes: tuple[str, ...] = ()
    latents: Path | None = None


def list_input(source: Path, use_run: bool = False, faces_all: bool = False, stdin: TextIO | None = None) -> Listing:
    """All photos that INPUT means.

    Args:
        source: folder (searched recursively), picture, ``.txt`` list, or ``-``.
        use_run: where the folder was written by this tool, read its manifest: crops are trusted to be aligned, and
            an inverted folder stands for the faces that it was made from.
        faces_all: every photo may give several items `KEY.n`, so such a key must not be a photo's own.
        stdin: where ``-`` reads its paths, one a line (default: standard input).

    Raises:
        UsageError: the input does not exist or cannot be meant; two photos would share one key.
        NoInputError: there is not one photo.
    """
    if str(source) == "-":
        listing = _from_lines(stdin or sys.stdin, Path.cwd())
    elif source.is_dir():
        listing = _from_folder(source, use_run)
    elif not source.exists():
        raise UsageError(f"the input '{source}' does not exist; give a folder, a picture or a .txt list of paths")
    elif source.suffix.lower() == ".txt":
        with open(source, encoding="utf-8", errors="surrogateescape") as lines:
            listing = _from_lines(lines, source.parent)
    else:
        _refuse_archive(source)
        listing = Listing((Photo(_split(source.name)[0], os.path.abspath(source)),))
    if not listing.photos:
        left_out = "; " + "; ".join(listing.notes) if listing.notes else ""
        raise NoInputError(f"there is no picture in '{source}'{left_out}")
    _refuse_shared_keys(listing.photos, faces_all)
    return listing


def take_part(photos: tuple[Photo, ...], limit: int | None, shard: tuple[int, int] | None) -> tuple[Photo, ...]:
    """The first `limit` photos, of those the contiguous run of shard (I, N), I from 1; shards differ by one at most."""
    chosen = photos[:limit]
    if shard is None:
        return chosen
    index, count = shard
    return chosen[len(chosen) * (index - 1) // count : len(chosen) * index // count]


def _from_folder(root: Path, use_run: bool) -> Listing:
    records = read_manifest(root) if use_run and has_manifest(root) else {}
    if any(LATENTS in record.outputs for record in records.values()):
        return _from_inversions(root, records)
    root = Path(os.path.abspath(root))
    crops = {record.outputs[FACE]: record for record in records.values() if FACE in record.outputs}
    withdrawn = {record.key for record in records.values() if record.status == "skipped"}
    photos, unlisted, notes = [], [], []
    for relative, problem in _walk(root):
        key, suffix = _split(relative)
        if problem:
            notes.append(problem)
        elif suffix.lower() not in IMAGE_SUFFIXES:
            if not (records and _RUN_FILES.fullmatch(relative)):
                unlisted.append(relative)
        elif key not in withdrawn:
            photos.append(_photo(key, os.path.join(root, relative), crops.get(relative)))
    if unlisted:
        shown = ", ".join(repr(name) for name in sorted(unlisted)[:3])
        notes.append(f"{len(unlisted)} files have no picture's suffix and were left out, for example {shown}")
    return Listing(tuple(sorted(photos, key=lambda photo: photo.key)), tuple(notes))


def _photo(key: str, path: str, record: Record | None) -> Photo:
    if record is None:
        return Photo(key, path)
    origin = Origin(record.source, record.digest, record.quad) if record.quad else None
    return Photo(key, path, origin=origin, trusted=True)


def _from_inversions(root: Path, records: dict[str, Record]) -> Listing:
    """The faces that an inverted folder was made from: crops as they are, photos to be cut where they were cut."""
    photos = []
    for key in sorted(records):
        record = records[key]
        if record.status == "ok":
            cut = Origin(record.source, record.digest, record.quad) if record.quad else None
            photos.append(Photo(key, record.source, origin=cut, cut=cut, trusted=True))
    return Listing(tuple(photos), latents=Path(os.path.abspath(root)) / "latents")


def _walk(root: Path) -> Iterator[tuple[str, str]]:
    """Every file below `root` (hidden and half-written ones aside), links followed but never in a circle.

    Yields (path relative to `root`, POSIX, "") for a file and (path, sentence) for a folder that cannot be read.
    """
    waiting: list[tuple[str, frozenset[tuple[int, int]]]] = [("", frozenset())]
    while waiting:
        below, above = waiting.pop()
        folder = root / below
        try:
            status = os.stat(folder)
            entries = list(os.scandir(folder))
        except OSError as error:
            yield below, f"the folder '{folder}' cannot be read ({error.strerror}) and was left out"
            continue
        here = above | {(status.st_dev, status.st_ino)}
        for entry in entries:
            if entry.name.startswith(".") or entry.name.endswith(".part") or entry.name == "manifest.d":
                continue
            inner = _folder_identity(entry)
            if inner is None:
                yield below + entry.name, ""
            elif inner not in here:
                waiting.append((f"{below}{entry.name}/", here))


def _folder_identity(entry: os.DirEntry[str]) -> tuple[int, int] | None:
    """(device, inode) of a folder, also behind a link; None for files, broken links and links in a circle."""
    try:
        if not entry.is_dir():  # known from the listing itself: no look at each of 100,000 files
            return None
        status = entry.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _from_lines(lines: Iterable[str], base: Path) -> Listing:
    """Paths, one a line, relative to `base`. A key does not depend on the list's other lines, so lists can grow."""
    base = Path(os.path.abspath(base))
    photos: dict[str, Photo] = {}
    for line in lines:
        text = line.rstrip("\r\n")
        if text.strip():
            path = Path(os.path.abspath(base / text))
            inside = path.is_relative_to(base)
            relative = path.relative_to(base if inside else path.anchor).as_posix()
            photos.setdefault(str(path), Photo(_split(relative)[0], str(path)))
    return Listing(tuple(sorted(photos.values(), key=lambda photo: photo.key)))


def _split(relative: str) -> tuple[str, str]:
    """POSIX path -> (key, suffix with its dot), as pathlib sees them, but fast."""
    start = relative.rfind("/") + 1
    dot = relative.rfind(".")
    return (relative[:dot], relative[dot:]) if start < dot < len(relative) - 1 else (relative, "")


def _refuse_archive(source: Path) -> None:
    if source.suffix.lower() in {".tar", ".zip", ".gz", ".tgz", ".7z", ".rar"}:
        raise UsageError(f"'{source}' is an archive; unpack it and give the folder")


def _refuse_shared_keys(photos: tuple[Photo, ...], faces_all: bool) -> None:
    first: dict[str, str] = {}
    for photo in photos:
        if photo.key in first:
            raise UsageError(
                f"'{first[photo.key]}' and '{photo.path}' would both write '{photo.key}'; rename or remove one of them"
            )
        first[photo.key] = photo.path
    if not faces_all:
        return
    for photo in photos:
        match = re.fullmatch(r"(.+)\.[1-9]\d*", photo.key, re.DOTALL)
        if match and match[1] in first:
            raise UsageError(
                f"'{photo.path}' has the name that a further face of '{first[match[1]]}' gets; rename one of them"
            )
