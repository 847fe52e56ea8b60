"""What INPUT means: a folder, a picture, a list, tar archives, a URL or a run's own folder -> photos in a stable order."""

from __future__ import annotations

import io
import os
import posixpath
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO
from urllib.parse import unquote

from pipelines.engine.input.archive import archives
from pipelines.engine.input.folder import FolderWalk, RemoteWalk
from pipelines.engine.input.groups import grouped as brought_together
from pipelines.engine.input.groups import sibling_crop
from pipelines.engine.input.keys import LeftOut, Naming, apart, failing, gate
from pipelines.engine.input.lists import listed
from pipelines.engine.input.streaming import Find, Listing, StreamedPhotos
from pipelines.errors import NoInputError, PhotoError, UsageError
from pipelines.images.decode import IMAGE_SUFFIXES
from pipelines.records.manifest import MANIFEST, Record, has_manifest
from pipelines.records.manifest_index import ManifestIndex
from pipelines.records.outputs import LATENTS
from pipelines.records.photos import Origin, Photo
from pipelines.storage.lines import Deadline, FileLines, StreamLines
from pipelines.storage.names import query_mark, split_key, tidy
from pipelines.storage.remote import as_url, needs_network, read_remote
from pipelines.storage.tar_index import expand, unreadable

LISTED_FIRST = 10_000  # photos that are listed, and checked, before a run starts,
LISTED_SECONDS = 5.0  # unless they come slowly: then those that are there so long after the first
Inputs = Path | Sequence[Path]


@dataclass(frozen=True)
class InputOptions:
    """How an input is read.

    Attributes:
        use_run: where the folder was written by this tool, read its manifest: crops are trusted to be aligned, and
            an inverted folder stands for the faces that it was made from.
        faces_all: every photo may give several items `KEY.n`, so such a key must not be a photo's own.
        stdin: where ``-`` reads its paths, one a line (default: standard input).
        output: the run's folder: a file keeps the key that its manifest has for it; left out where it is in the input.
        follow_links: also follow links to folders outside of an input folder.
        offline: a photo behind a URL fails, and no connection is opened.
        grouped: with `use_run`, crops of one photo follow each other (`engine.input.groups`).
    """

    use_run: bool = False
    faces_all: bool = False
    stdin: IO[str] | None = None
    output: Path | None = None
    follow_links: bool = False
    offline: bool = False
    grouped: bool = False


_USUAL = InputOptions()


def list_input(source: Inputs, options: InputOptions = _USUAL) -> Listing:
    """All photos that INPUT means; of a large or slow input (see `StreamedPhotos`) the first are listed, and checked.

    Args:
        source: folder (searched recursively), picture, ``.txt`` list, ``.tar``, ``NAME-{000..012}.tar``, ``-``, or a
            URL of any of these but ``-``; or several of these, of which each but a picture is a folder of its own name.
        options: how it is read.

    Raises:
        UsageError: the input does not exist or cannot be meant.
        NoInputError: there is not one photo.
    """
    deadline = Deadline(LISTED_SECONDS)
    sources = (source,) if isinstance(source, Path) else tuple(source)
    inputs = [_Input(each, options, deadline, len(sources) > 1) for each in sources]
    photos = _begun(inputs, options, deadline, ", ".join(map(str, sources[:3])))
    latents = [each.latents for each in inputs if each.latents is not None]
    return Listing(photos, photos.notes, latents[0] if len(inputs) == len(latents) == 1 else None)


def _begun(inputs: Sequence[_Input], options: InputOptions, deadline: Deadline, name: str) -> StreamedPhotos:
    naming = Naming(options.output, options.faces_all)
    ordered = len(inputs) == 1 and inputs[0].ordered

    def find(left_out: LeftOut) -> Iterator[Photo]:
        found = (photo for each in inputs for photo in each.photos(left_out))
        passed = gate(_connected(found, left_out) if options.offline else found, left_out)
        return passed if ordered else apart(passed, naming)

    photos = StreamedPhotos.begun(find, LISTED_FIRST, deadline, all(each.countable for each in inputs))
    if not photos.first:
        raise NoInputError("; ".join((f"there is no picture in '{name}'", *photos.notes)))
    troubles = {photo.trouble for photo in photos.first}
    if photos.whole and all(trouble is not None and trouble.code == "unreadable" for trouble in troubles):
        raise UsageError("; ".join(trouble.message for trouble in troubles if trouble)[:2000])
    return photos


class _Input:
    """One INPUT, and how its photos are found.

    Attributes:
        photos: finds them, from the beginning.
        ordered: each has a key of its own already.
        countable: as of `StreamedPhotos`.
        latents: the folder with codes of the same keys, where the input is one of `invert` or `edit`.
    """

    def __init__(self, source: Path, options: InputOptions, deadline: Deadline, several: bool) -> None:
        self.ordered, self.countable = False, True
        self.latents: Path | None = None
        self._source, self._options, self._deadline = source, options, deadline
        url = as_url(source)
        self._several = several
        self.photos: Find
        if str(source) == "-":
            self._lines(StreamLines(options.stdin or sys.stdin, deadline), os.getcwd())
        elif url is not None and not os.path.lexists(source):
            self._url(url)
        elif source.is_dir():
            self._folder()
        else:
            self._file()

    def _named(self, name: str) -> str:
        """What goes before the keys of one of several inputs."""
        return f"{tidy(name)}/" if self._several and name not in ("", ".") else ""

    def _found(self, find: Find, name: str = "") -> None:
        prefix = self._named(name)

        def photos(left_out: LeftOut) -> Iterable[Photo]:
            return (_below(photo, prefix) if prefix else photo for photo in find(left_out))

        self.photos = photos

    def _naming(self, name: str) -> Naming:
        return Naming(self._options.output, self._options.faces_all, self._named(name))

    def _folder(self) -> None:
        root, options = self._source, self._options
        place = os.path.abspath(root)
        name = os.path.basename(place)
        records = ManifestIndex(root) if options.use_run and has_manifest(root) else None
        self.ordered = True
        inverted = records is not None and records.has_output(LATENTS)
        self.latents = Path(place) / LATENTS if inverted else None
        known: Mapping[str, Record] = records if records is not None else {}
        naming, output = self._naming(name), str(options.output or "")

        def find(left_out: LeftOut) -> Iterable[Photo]:
            if records is not None:
                left_out.damaged.append(records.notes)
            if inverted:
                return _from_inversions(known, options.grouped)
            walk = FolderWalk(place, known, naming, left_out, options.follow_links, output)
            return brought_together(walk, known, sibling_crop) if options.grouped and known else walk

        self._found(find, name)

    def _file(self) -> None:
        """A file of this machine, or a pattern of tar archives."""
        source = self._source
        path = os.path.abspath(source)
        if not source.exists():
            names = expand(path)
            if len(names) > 1:
                return self._archives(names)
            hint = "give a folder, a picture, a .txt list or a .tar archive"
            if str(source).startswith("-"):
                hint = "if it is an option, write it before '--': all behind that is input"
            raise UsageError(f"the input '{source}' does not exist; {hint}")
        suffix = source.suffix.lower()
        if suffix == ".txt":
            whole = source.is_file()  # else a pipe with a name
            lines = FileLines(source) if whole else StreamLines(open(source, "rb"), self._deadline, str(source))  # noqa: SIM115
            return self._lines(lines, os.path.dirname(path), source.stem)
        if suffix == ".tar":
            return self._archives((path,), source.stem)
        if source.name == MANIFEST:
            raise UsageError(f"'{source}' is a run's record, not a picture; give its folder")
        if suffix in {".zip", ".gz", ".tgz", ".7z", ".rar"}:
            raise UsageError(f"'{source}' is an archive; unpack it and give the folder, or make it a plain .tar")
        photo = Photo(split_key(tidy(source.name))[0], path)
        return self._found(lambda left_out: (photo,))

    def _url(self, url: str) -> None:
        """A query is no part of the name: ``https://host/a.jpg?id=1`` is a picture."""
        if self._options.offline and needs_network(url):
            raise UsageError(f"'{url}' needs the network, which --offline forbids; copy it here and give its path")
        name = unquote(posixpath.basename(re.split(r"[?#]", url, maxsplit=1)[0]))
        stem, suffix = split_key(tidy(name))
        if suffix.lower() == ".tar":
            self.countable = False
            self._found(lambda left_out: archives(expand(url), left_out), stem)
        elif suffix.lower() == ".txt":
            try:
                text = read_remote(url)
            except PhotoError as error:
                raise UsageError(error.message) from None
            self._lines(StreamLines(io.BytesIO(text), self._deadline, url), posixpath.dirname(url), stem)
        elif suffix.lower() in IMAGE_SUFFIXES:
            photo = Photo(stem + query_mark(url), url)
            self._found(lambda left_out: (photo,))
        else:
            self.ordered, self.countable = True, False
            naming, root = self._naming(name), url.rstrip("/") + "/"
            self._found(lambda left_out: RemoteWalk(root, naming, left_out), name)

    def _lines(self, lines: FileLines | StreamLines, base: str, name: str = "") -> None:
        self._found(lambda left_out: listed(lines, base, left_out, self._options.offline), name)

    def _archives(self, paths: tuple[str, ...], name: str = "") -> None:
        """Those of this machine; one that is not there is told now, and not when its turn comes."""
        for path in paths:
            try:
                os.stat(path)
            except OSError as error:
                raise unreadable(path, error) from None
        self._found(lambda left_out: archives(paths, left_out), name)


def _connected(photos: Iterable[Photo], left_out: LeftOut) -> Iterator[Photo]:
    """The photos without the network: those behind a URL fail, crops whose photo is behind one are not pasted."""
    for photo in photos:
        if needs_network(photo.path):
            yield failing(photo, "offline", f"'{photo.path}' needs the network, which --offline forbids")
            continue
        if photo.origin is not None and needs_network(photo.origin.path):
            left_out.add("photos to paste into need the network (--offline)", photo.origin.path)
            photo = replace(photo, origin=None)
        yield photo


def _from_inversions(records: Mapping[str, Record], grouped: bool) -> Iterable[Photo]:
    """The faces that an inverted folder was made from: crops as they are, photos to be cut where they were cut."""
    photos = (_from_inversion(key, records[key]) for key in sorted(records) if records[key].status == "ok")
    return brought_together(photos, records, lambda _, key, record: _from_inversion(key, record)) if grouped else photos


def _from_inversion(key: str, record: Record) -> Photo:
    cut = Origin(record.source, record.digest, record.quad) if record.quad else None
    return Photo(tidy(key), record.source, origin=cut, cut=cut, trusted=True)


def _below(photo: Photo, prefix: str) -> Photo:
    """The photo of one of several inputs."""
    group = tuple((prefix + key, path) for key, path in photo.group)
    return replace(photo, key=prefix + photo.key, group=group)
