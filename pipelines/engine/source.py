"""What INPUT means: a folder, a picture, a list, tar archives, a URL or a run's own folder -> photos in a stable order."""

from __future__ import annotations

import os
import posixpath
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TextIO, overload

from pipelines.decode import IMAGE_SUFFIXES
from pipelines.engine.known import KnownRecords
from pipelines.engine.members import members
from pipelines.engine.photos import FACE, LATENTS, Listing, Origin, Photo, split_key
from pipelines.engine.remote import as_url, find_files, is_url, read_remote
from pipelines.engine.tarball import expand, unsafe_name
from pipelines.engine.walk import FURTHER, FolderWalk
from pipelines.errors import NoInputError, PhotoError, UsageError
from pipelines.manifest import Record, has_manifest

__all__ = ["FACE", "LATENTS", "FolderPhotos", "Listing", "Origin", "Photo", "list_input", "take_part"]
LISTED_FIRST = 10_000  # photos that are listed, and checked, before a run starts


def list_input(source: Path, use_run: bool = False, faces_all: bool = False, stdin: TextIO | None = None) -> Listing:
    """All photos that INPUT means.

    Args:
        source: folder (searched recursively), picture, ``.txt`` list, ``.tar``, ``NAME-{000..012}.tar``, ``-``, or a
            URL of any of these but ``-``.
        use_run: where the folder was written by this tool, read its manifest: crops are trusted to be aligned, and
            an inverted folder stands for the faces that it was made from.
        faces_all: every photo may give several items `KEY.n`, so such a key must not be a photo's own.
        stdin: where ``-`` reads its paths, one a line (default: standard input).

    Raises:
        UsageError: the input does not exist or cannot be meant; two photos would share one key.
        NoInputError: there is not one photo.
    """
    url = as_url(source)
    if str(source) == "-":
        listing = _from_lines(stdin or sys.stdin, os.getcwd())
    elif url is not None and not os.path.lexists(source):
        listing = _from_url(url)
    elif source.is_dir():
        listing = _from_folder(source, use_run, faces_all)
    else:
        listing = _from_file(source)
    if isinstance(listing.photos, FolderPhotos):
        return listing
    if not listing.photos:
        left_out = "; " + "; ".join(listing.notes) if listing.notes else ""
        raise NoInputError(f"there is no picture in '{source}'{left_out}")
    _refuse_shared_keys(listing.photos, faces_all)
    return listing


class FolderPhotos(Sequence[Photo]):
    """A large folder's photos, sorted by key, found as they are asked for: every iteration walks the folder.

    Photos that share a key, or that lie in an archive which cannot be read, are failing ones.

    Args:
        root, records, faces_all: as of `FolderWalk`.
        start, stop: which of the folder's photos these are.

    Attributes:
        notes: see `FolderWalk`; there once an iteration has come to the folder's end.
    """

    def __init__(
        self,
        root: str,
        records: Mapping[str, Record],
        faces_all: bool,
        start: int = 0,
        stop: int | None = None,
    ) -> None:
        self.notes: list[str] = []
        self._about = root, records, faces_all
        self._start, self._stop = start, stop
        self._count: int | None = None

    def __iter__(self) -> Iterator[Photo]:
        walk = FolderWalk(*self._about, strict=False)
        yield from islice(walk, self._start, self._stop)
        self.notes[:] = walk.notes

    def __len__(self) -> int:
        """Counted by a walk, the first time."""
        if self._count is None:
            self._count = sum(1 for _ in self)
        return self._count

    @overload
    def __getitem__(self, index: int) -> Photo: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[Photo, ...]: ...

    def __getitem__(self, index: int | slice) -> Photo | tuple[Photo, ...]:
        return tuple(self)[index]

    def first(self) -> tuple[Photo, ...]:
        """Those that are listed, and checked, before a run starts."""
        return tuple(islice(self, LISTED_FIRST))

    def part(self, start: int, stop: int | None) -> FolderPhotos:
        """The photos from `start` to before `stop`, found likewise."""
        ends = [end for end in (self._stop, None if stop is None else self._start + stop) if end is not None]
        part = FolderPhotos(*self._about, self._start + start, min(ends, default=None))
        part.notes = self.notes
        return part


def take_part(photos: Sequence[Photo], limit: int | None, shard: tuple[int, int] | None) -> Sequence[Photo]:
    """The first `limit` photos, of those the contiguous run of shard (I, N), I from 1; shards differ by one at most.

    Of `FolderPhotos` again such; they are counted first where there are shards, and only then.
    """
    if limit is not None:
        photos = photos.part(0, limit) if isinstance(photos, FolderPhotos) else photos[:limit]
    if shard is None:
        return photos
    index, count = shard
    start, stop = len(photos) * (index - 1) // count, len(photos) * index // count
    return photos.part(start, stop) if isinstance(photos, FolderPhotos) else photos[start:stop]


def _from_folder(root: Path, use_run: bool, faces_all: bool) -> Listing:
    records = KnownRecords(root) if use_run and has_manifest(root) else None
    if records is not None and records.has_output(LATENTS):
        return _from_inversions(root, records)
    place = os.path.abspath(root)
    walk = FolderWalk(place, records or {}, faces_all, strict=True)
    first = tuple(islice(walk, LISTED_FIRST + 1))
    if len(first) <= LISTED_FIRST:
        return Listing(first, tuple(walk.notes))
    _refuse_shared_keys(first, faces_all)
    photos = FolderPhotos(place, records or {}, faces_all)
    return Listing(photos, photos.notes)


def _from_inversions(root: Path, records: Mapping[str, Record]) -> Listing:
    """The faces that an inverted folder was made from: crops as they are, photos to be cut where they were cut."""
    photos = []
    for key in sorted(records):
        record = records[key]
        if record.status == "ok":
            cut = Origin(record.source, record.digest, record.quad) if record.quad else None
            photos.append(Photo(key, record.source, origin=cut, cut=cut, trusted=True))
    return Listing(tuple(photos), latents=Path(os.path.abspath(root)) / "latents")


def _from_file(source: Path) -> Listing:
    """A file of this machine, or a pattern of tar archives."""
    if not source.exists():
        names = expand(os.path.abspath(source))
        if len(names) > 1:
            return _from_tars(names)
        raise UsageError(
            f"the input '{source}' does not exist; give a folder, a picture, a .txt list or a .tar archive"
        )
    suffix = source.suffix.lower()
    if suffix == ".txt":
        with open(source, encoding="utf-8", errors="surrogateescape") as lines:
            return _from_lines(lines, os.path.dirname(os.path.abspath(source)))
    if suffix == ".tar":
        return _from_tars((os.path.abspath(source),))
    if suffix in {".zip", ".gz", ".tgz", ".7z", ".rar"}:
        raise UsageError(f"'{source}' is an archive; unpack it and give the folder, or make it a plain .tar")
    return Listing((Photo(split_key(source.name)[0], os.path.abspath(source)),))


def _from_url(url: str) -> Listing:
    suffix = split_key(posixpath.basename(url))[1].lower()
    if suffix == ".tar":
        return _from_tars(expand(url))
    if suffix == ".txt":
        try:
            text = read_remote(url).decode("utf-8", errors="surrogateescape")
        except PhotoError as error:
            raise UsageError(error.message) from None
        return _from_lines(text.splitlines(), posixpath.dirname(url))
    if suffix in IMAGE_SUFFIXES:
        return Listing((Photo(split_key(posixpath.basename(url))[0], url),))
    photos: list[Photo] = []
    notes: list[str] = []
    for relative, (address, stat) in find_files(url).items():
        key, suffix = split_key(relative)
        if suffix.lower() == ".tar":
            _add_tar(address, key + "/", photos, notes)
        elif suffix.lower() in IMAGE_SUFFIXES:
            reason = unsafe_name(relative)
            if reason:
                notes.append(f"{url}: {relative!r} {reason} and was left out")
            else:
                photos.append(Photo(posixpath.normpath(key), address, stat=stat))
    return Listing(tuple(sorted(photos, key=lambda photo: photo.key)), tuple(notes))


def _from_tars(paths: tuple[str, ...]) -> Listing:
    """Members by their paths; below the archive's own name where there are several archives."""
    photos: list[Photo] = []
    notes: list[str] = []
    for path in paths:
        prefix = split_key(posixpath.basename(path))[0] + "/" if len(paths) > 1 else ""
        _add_tar(path, prefix, photos, notes)
    return Listing(tuple(sorted(photos, key=lambda photo: photo.key)), tuple(notes))


def _add_tar(path: str, prefix: str, photos: list[Photo], notes: list[str]) -> None:
    """The pictures of one archive."""
    found, refused = members(path, prefix)
    photos.extend(found)
    notes.extend(refused)


def _from_lines(lines: Iterable[str], base: str) -> Listing:
    """Paths or URLs, one a line, relative to `base`. A key does not depend on other lines, so lists can grow."""
    photos: dict[str, Photo] = {}
    members: list[Photo] = []
    notes: list[str] = []
    for line in lines:
        text = line.rstrip("\r\n")
        if not text.strip():
            continue
        path = text if is_url(text) else f"{base}/{text}" if is_url(base) else os.path.abspath(os.path.join(base, text))
        relative = _relative(path, base)
        reason = unsafe_name(relative)
        if reason:
            notes.append(f"{text!r} {reason} and was left out")
        elif split_key(relative)[1].lower() == ".tar":
            _add_tar(path, split_key(relative)[0] + "/", members, notes)
        else:
            photos.setdefault(path, Photo(split_key(posixpath.normpath(relative))[0], path))
    return Listing(tuple(sorted((*photos.values(), *members), key=lambda photo: photo.key)), tuple(notes))


def _relative(path: str, base: str) -> str:
    """What names a listed file: its path below the list's folder, else its whole path (or host and path)."""
    remote, head = is_url(path), base.rstrip("/") + "/"
    if path.startswith(head):
        relative = path[len(head) :]
    elif remote:
        relative = path.split("://", 1)[1]
    else:
        relative = Path(path).relative_to(Path(path).anchor).as_posix()
    return relative.split("?", 1)[0] if remote else relative


def _refuse_shared_keys(photos: Sequence[Photo], faces_all: bool) -> None:
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
        match = FURTHER.fullmatch(photo.key)
        if match and match[1] in first:
            raise UsageError(
                f"'{photo.path}' has the name that a further face of '{first[match[1]]}' gets; rename one of them"
            )
