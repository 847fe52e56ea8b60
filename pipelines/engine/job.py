"""A run, ready to start: what to read, what to make of it, and what is done already."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pipelines.engine.loader import Reader
from pipelines.engine.places import check_places, refuse_foreign_files
from pipelines.engine.reader import Task
from pipelines.engine.resume import Ledger, divide
from pipelines.engine.source import Listing, Photo, take_part
from pipelines.engine.work import Work
from pipelines.errors import UsageError
from pipelines.manifest import has_manifest, read_manifest
from pipelines.specs import RunSpec


def _nothing() -> None:
    return


@dataclass(frozen=True)
class Job:
    """One run; nothing has been loaded yet.

    Attributes:
        command: align, invert or edit.
        spec: the options.
        listing: what INPUT means.
        identity: everything but the input that decides the outputs, hashed.
        kinds: the outputs that every item must have; `paste_kinds`: those of items whose place in a photo is known.
        tops: folders that the run fills; None: keys at the top.
        make_reader: picklable; builds the reader in the decoding process.
        make_work: builds what stands between reader and writer (loads no model yet).
        prepare: called before anything is read, but only where there is something to do: fetches weights.
        workers: decoding processes.
        about: what `run.json` says beyond counts (device, versions, weights).
    """

    command: str
    spec: RunSpec
    listing: Listing
    identity: str
    kinds: tuple[str, ...]
    make_reader: Callable[[], Reader]
    make_work: Callable[[], Work]
    prepare: Callable[[], None] = _nothing
    tops: frozenset[str] | None = None
    paste_kinds: tuple[str, ...] = ()
    workers: int = 0
    about: Mapping[str, Any] = field(default_factory=dict)

    def check(self) -> tuple[Photo, ...]:
        """This run's photos; raises UsageError where the folders cannot be meant so."""
        spec, photos = self.spec, self.listing.photos
        check_places(spec.input, spec.output, photos, self.tops)
        if not spec.resume and not spec.overwrite and has_manifest(spec.output):
            raise UsageError(f"'{spec.output}' holds an earlier run; drop --no-resume, or use --overwrite")
        if not spec.overwrite:
            kinds = self.kinds if self.tops else ()
            planned = kinds or tuple(f"{photo.key}.{spec.format}" for photo in photos)
            refuse_foreign_files(spec.output, planned)
        return take_part(photos, spec.limit, spec.shard)

    def divide(self, photos: tuple[Photo, ...]) -> tuple[Ledger, list[Task], list[tuple[Photo, int]]]:
        """The ledger of the output folder, what is to do, and what is done."""
        records = read_manifest(self.spec.output)
        ledger = Ledger(self.spec.output, records, self.identity, self.kinds, self.paste_kinds)
        return ledger, *divide(photos, ledger, self.spec.overwrite, self.spec.retry_failed)
