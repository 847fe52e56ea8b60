"""A run's plan, ready to start: what to read, what to make of it, and what is done already."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from pipelines.engine.input.listing import LazyPhotos, Listing, Photo, take_part
from pipelines.engine.output.checks import check_places, refuse_foreign_files, without_own
from pipelines.engine.reading.decoder_pool import Reader
from pipelines.engine.resume.ledger import Ledger, divide
from pipelines.engine.resume.pending import Todo
from pipelines.engine.stage import Work
from pipelines.engine.types import Task
from pipelines.errors import UsageError
from pipelines.records.manifest import Record, has_manifest
from pipelines.records.manifest_index import ManifestIndex
from pipelines.records.outputs import FACE, FOLDERS, Output
from pipelines.specs import RunSpec


def nothing() -> None:
    """Prepares nothing."""


@contextmanager
def _uncollected() -> Iterator[None]:
    """Without Python's search for reference cycles, which looks at every record of 100,000 again and again."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@dataclass(frozen=True)
class Job:
    """One run, all names resolved and nothing loaded; travels to the workers (`engine.plan` makes it).

    Attributes:
        command: align, invert or edit.
        spec: the options.
        listing: what INPUT means.
        outputs: what every item must have, and (`per` photo) what those whose place in a photo is known have together.
        make_reader: picklable; builds the reader in the decoding process.
        make_work: device name -> what stands between reader and writer (loads no model yet); picklable.
        prepare: called before anything is read, but only where there is something to do: fetches weights.
        workers: decoding processes, of each device.
        devices: where to compute; more than one: a process for each.
        about: what `run.json` says beyond counts (device, versions, weights).
    """

    command: str
    spec: RunSpec
    listing: Listing
    outputs: tuple[Output, ...]
    make_reader: Callable[[], Reader]
    make_work: Callable[[str], Work]
    prepare: Callable[[], None] = nothing
    workers: int = 0
    devices: tuple[str, ...] = ("cpu",)
    about: Mapping[str, Any] = field(default_factory=dict)

    @property
    def tops(self) -> frozenset[str] | None:
        """Folders that the run may fill; None: it writes keys at the top."""
        kinds = {output.kind.partition("/")[0] for output in self.outputs}
        return None if FACE in kinds else FOLDERS | kinds

    def check(self) -> Sequence[Photo]:
        """This run's photos; raises UsageError where the folders cannot be meant so.

        Of `LazyPhotos` only the first are looked at, `todo` looks at each as it comes; but the name of each is asked
        for where `align` is to write into a folder with other files in it, which must not be written over.
        """
        spec, photos = self.spec, self.listing.photos
        first = photos.first if isinstance(photos, LazyPhotos) else photos
        check_places(spec.input, spec.output, first, self.tops)
        if not spec.resume and not spec.overwrite and has_manifest(spec.output):
            raise UsageError(f"'{spec.output}' holds an earlier run; drop --no-resume, or use --overwrite")
        if not spec.overwrite:
            kinds = () if self.tops is None else tuple(output.kind for output in self.outputs)
            planned = kinds or (f"{photo.key}.{spec.format}" for photo in photos)
            refuse_foreign_files(spec.output, planned)
        return take_part(photos, spec.limit, spec.shard)

    def divide(self, photos: Sequence[Photo]) -> tuple[Ledger, list[Task], list[tuple[Photo, int]]]:
        """The ledger of the output folder, what is to do, and what is done."""
        with _uncollected():
            ledger = self.ledger(ManifestIndex(self.spec.output))
            return ledger, *divide(self._checked(photos), ledger, self.spec.overwrite, self.spec.retry_failed)

    def todo(self, photos: LazyPhotos) -> tuple[Ledger, Todo]:
        """As `divide`, but found while the run goes on."""
        ledger, spec = self.ledger(ManifestIndex(self.spec.output)), self.spec
        counted = photos if photos.countable else None
        return ledger, Todo(self._checked(photos), ledger, spec.overwrite, spec.retry_failed, counted)

    def _checked(self, photos: Sequence[Photo]) -> Iterable[Photo]:
        """What `check` could not look at before the run began."""
        return without_own(photos, self.spec.output, self.tops) if isinstance(photos, LazyPhotos) else photos

    def ledger(self, records: Mapping[str, Record]) -> Ledger:
        """`records` as seen by this run."""
        return Ledger(self.spec.output, records, self.outputs)
