"""What INPUT means: a folder, a picture, a list, tar archives, a URL or a run's own folder -> photos in a stable order."""

from __future__ import annotations

import io
import os
import posixpath
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO

from pipelines.engine.input.folder import FolderWalk, RemoteWalk
from pipelines.engine.input.groups import grouped, numbered, sibling_crop
from pipelines.engine.input.lists import ArchivePhotos, ListedPhotos
from pipelines.engine.input.remote import as_url, read_remote
from pipelines.engine.input.streaming import Find, LazyPhotos, Patience, look_ahead
from pipelines.engine.input.tar_index import expand, unreadable
from pipelines.engine.lines import FileLines, StreamLines
from pipelines.engine.types import FACE, FURTHER, LATENTS, Listing, Origin, Photo, split_key
from pipelines.errors import NoInputError, PhotoError, UsageError
from pipelines.images.decode import IMAGE_SUFFIXES
from pipelines.records.manifest import Record, has_manifest
from pipelines.records.manifest_index import ManifestIndex

__all__ = ["FACE", "LATENTS", "LazyPhotos", "Listing", "Origin", "Photo", "list_input", "take_part"]
LISTED_FIRST = 10_000  # photos that are listed, and checked, before a run starts,
LISTED_SECONDS = 5.0  # unless they come slowly: then those that are there so long after the first


def list_input(
    source: Path,
    use_run: bool = False,
    faces_all: bool = False,
    stdin: IO[str] | None = None,
    grouped: bool = False,
) -> Listing:
    """All photos that INPUT means; of a large or slow input (see `LazyPhotos`) the first are listed, and checked.

    Args:
        source: folder (searched recursively), picture, ``.txt`` list, ``.tar``, ``NAME-{000..012}.tar``, ``-``, or a
            URL of any of these but ``-``.
        use_run: where the folder was written by this tool, read its manifest: crops are trusted to be aligned, and
            an inverted folder stands for the faces that it was made from.
        faces_all: every photo may give several items `KEY.n`, so such a key must not be a photo's own.
        stdin: where ``-`` reads its paths, one a line (default: standard input).
        grouped: with `use_run`, crops of one photo follow each other (`engine.input.groups`).

    Raises:
        UsageError: the input does not exist or cannot be meant; two of the photos that are listed first share a key.
        NoInputError: there is not one photo.
    """
    return _Input(source, faces_all, grouped).listing(use_run, stdin)


def take_part(photos: Sequence[Photo], limit: int | None, shard: tuple[int, int] | None) -> Sequence[Photo]:
    """The first `limit` photos, of those every N-th from the I-th on for shard (I, N), I from 1.

    Shards differ by one photo at most, and none needs to know how many there are: of `LazyPhotos` again such. Crops of
    one photo (see `engine.input.groups`) count as one, and stay together.
    """
    which = range(sys.maxsize)[:limit] if limit is not None else range(sys.maxsize)
    which = which[shard[0] - 1 :: shard[1]] if shard else which
    if isinstance(photos, LazyPhotos):
        return photos[which.start : which.stop : which.step]
    return tuple(photo for place, photo in numbered(photos) if place in which)


class _Input:
    """INPUT, and how its photos are found."""

    def __init__(self, source: Path, faces_all: bool, grouped: bool) -> None:
        self._source = source
        self._grouped = grouped
        self._faces_all = faces_all
        self._patience = Patience(LISTED_SECONDS)

    def listing(self, use_run: bool, stdin: IO[str] | None) -> Listing:
        source, url = self._source, as_url(self._source)
        if str(source) == "-":
            return self._lines(StreamLines(stdin or sys.stdin, self._patience), os.getcwd())
        if url is not None and not os.path.lexists(source):
            return self._url(url)
        return self._folder(use_run) if source.is_dir() else self._file()

    def _listed(self, find: Find, countable: bool = True) -> Listing:
        """The whole listing, where that is soon there; else what is found while the run goes on."""
        notes: list[str] = []
        first, whole = look_ahead(find(True, notes), LISTED_FIRST, self._patience)
        self._some(first, notes)
        _refuse_shared_keys(first, self._faces_all)
        if whole:
            return Listing(first, tuple(notes))
        photos = LazyPhotos(find, first, countable)
        return Listing(photos, photos.notes)

    def _some(self, photos: tuple[Photo, ...], notes: Sequence[str]) -> tuple[Photo, ...]:
        if not photos:
            left_out = "; " + "; ".join(notes) if notes else ""
            raise NoInputError(f"there is no picture in '{self._source}'{left_out}")
        return photos

    def _folder(self, use_run: bool) -> Listing:
        root = self._source
        records = ManifestIndex(root) if use_run and has_manifest(root) else None
        if records is not None and records.has_output(LATENTS):
            photos = _from_inversions(records)
            if self._grouped:
                photos = tuple(grouped(photos, records, lambda _, key, record: _from_inversion(key, record)))
            return Listing(self._some(photos, []), latents=Path(os.path.abspath(root)) / LATENTS)
        known: Mapping[str, Record] = records if records is not None else {}
        place, faces_all = os.path.abspath(root), self._faces_all

        def find(strict: bool, notes: list[str]) -> Iterable[Photo]:
            walk = FolderWalk(place, known, faces_all, strict, notes)
            return grouped(walk, known, sibling_crop) if self._grouped and known else walk

        return self._listed(find)

    def _file(self) -> Listing:
        """A file of this machine, or a pattern of tar archives."""
        source = self._source
        if not source.exists():
            names = expand(os.path.abspath(source))
            if len(names) > 1:
                return self._archives(names)
            raise UsageError(
                f"the input '{source}' does not exist; give a folder, a picture, a .txt list or a .tar archive"
            )
        suffix = source.suffix.lower()
        if suffix == ".txt":
            whole = source.is_file()  # else a pipe with a name
            lines = FileLines(source) if whole else StreamLines(open(source, "rb"), self._patience)  # noqa: SIM115
            return self._lines(lines, os.path.dirname(os.path.abspath(source)))
        if suffix == ".tar":
            return self._archives((os.path.abspath(source),))
        if suffix in {".zip", ".gz", ".tgz", ".7z", ".rar"}:
            raise UsageError(f"'{source}' is an archive; unpack it and give the folder, or make it a plain .tar")
        return Listing((Photo(split_key(source.name)[0], os.path.abspath(source)),))

    def _url(self, url: str) -> Listing:
        suffix = split_key(posixpath.basename(url))[1].lower()
        if suffix == ".tar":
            return self._listed(ArchivePhotos(expand(url), self._faces_all), countable=False)
        if suffix == ".txt":
            try:
                text = read_remote(url)
            except PhotoError as error:
                raise UsageError(error.message) from None
            return self._lines(StreamLines(io.BytesIO(text), self._patience), posixpath.dirname(url))
        if suffix in IMAGE_SUFFIXES:
            return Listing((Photo(split_key(posixpath.basename(url))[0], url),))
        faces_all = self._faces_all
        return self._listed(lambda strict, notes: RemoteWalk(url, faces_all, strict, notes), countable=False)

    def _lines(self, lines: FileLines | StreamLines, base: str) -> Listing:
        return self._listed(ListedPhotos(lines, base, self._faces_all))

    def _archives(self, paths: tuple[str, ...]) -> Listing:
        """Those of this machine; one that is not there is told now, and not when its turn comes."""
        for path in paths:
            try:
                os.stat(path)
            except OSError as error:
                raise unreadable(path, error) from None
        return self._listed(ArchivePhotos(paths, self._faces_all))


def _from_inversions(records: Mapping[str, Record]) -> tuple[Photo, ...]:
    """The faces that an inverted folder was made from: crops as they are, photos to be cut where they were cut."""
    return tuple(_from_inversion(key, records[key]) for key in sorted(records) if records[key].status == "ok")


def _from_inversion(key: str, record: Record) -> Photo:
    cut = Origin(record.source, record.digest, record.quad) if record.quad else None
    return Photo(key, record.source, origin=cut, cut=cut, trusted=True)


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
