"""A run's plan, ready to start: what to read, what to make of it, and what is done already."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pipelines.engine.input.listing import Listing, StreamedPhotos, take_part
from pipelines.engine.output.checks import check_places, refuse_foreign_files, without_own
from pipelines.engine.reading.decoder_pool import Reader
from pipelines.engine.resume.ledger import Ledger
from pipelines.engine.resume.pending import Pending
from pipelines.engine.stage import Work
from pipelines.errors import UsageError
from pipelines.records.manifest import Record, has_manifest
from pipelines.records.manifest_index import ManifestIndex
from pipelines.records.outputs import FACE, FOLDERS, Output
from pipelines.run_specs import RunSpec


def nothing() -> None:
    """Prepares nothing."""


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
    prepare: Callable[[], object] = nothing
    workers: int = 0
    devices: tuple[str, ...] = ("cpu",)
    about: Mapping[str, Any] = field(default_factory=dict)

    @property
    def tops(self) -> frozenset[str] | None:
        """Folders that the run may fill; None: it writes keys at the top."""
        kinds = {output.kind.partition("/")[0] for output in self.outputs}
        return None if FACE in kinds else FOLDERS | kinds

    def check(self) -> StreamedPhotos:
        """This run's photos; raises UsageError where the folders cannot be meant so.

        Only the photos that were listed first are looked at, `pending` looks at each as it comes; but the name of each is
        asked for where `align` is to write into a folder with other files in it, which must not be written over.
        """
        spec, photos = self.spec, self.listing.photos
        check_places(spec.inputs, spec.output, photos.first, self.tops)
        if not spec.resume and not spec.overwrite and has_manifest(spec.output):
            raise UsageError(f"'{spec.output}' holds an earlier run; drop --no-resume, or use --overwrite")
        if not spec.overwrite:
            kinds = () if self.tops is None else tuple(output.kind for output in self.outputs)
            planned = kinds or (f"{photo.key}.{spec.format}" for photo in photos)
            refuse_foreign_files(spec.output, planned)
        return take_part(photos, spec.limit, spec.shard)

    def pending(self, photos: StreamedPhotos) -> tuple[Ledger, Pending]:
        """The ledger of the output folder, and what is to do, found as it is asked for."""
        ledger, spec = self.ledger(ManifestIndex(self.spec.output)), self.spec
        checked = photos if photos.whole else without_own(photos, spec.output, self.tops)
        counted = photos if photos.countable and not photos.whole else None
        return ledger, Pending(checked, ledger, spec.overwrite, spec.retry_failed, counted)

    def ledger(self, records: Mapping[str, Record]) -> Ledger:
        """`records` as seen by this run."""
        return Ledger(self.spec.output, records, self.outputs)
