"""A run's plan, ready to start: what to read, what to make of it, and what is done already."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from pipelines.engine.input.streaming import Listing, StreamedPhotos
from pipelines.engine.output.checks import check_places, refuse_foreign_files, without_own
from pipelines.engine.output.named import refuse_shared_stems, without_reserved
from pipelines.engine.reading.decoder import Reader
from pipelines.engine.resume.ledger import Ledger
from pipelines.engine.resume.pending import Pending
from pipelines.engine.stage import Work
from pipelines.errors import UsageError
from pipelines.records.edit_plan import EditPlan
from pipelines.records.manifest import Record, has_manifest
from pipelines.records.manifest_index import ManifestIndex
from pipelines.records.names import NameTemplate
from pipelines.records.outputs import FACE, FOLDERS, Output
from pipelines.records.photos import Photo
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
        plan: which face gets which of the outputs; None: all get all.
        warnings: what a person should hear before the run.
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
    plan: EditPlan | None = None
    warnings: tuple[str, ...] = ()

    @property
    def tops(self) -> frozenset[str] | None:
        """Folders that the run may fill; None: it writes keys at the top."""
        tops = {output.name.top if output.name else output.kind.partition("/")[0] for output in self.outputs}
        return None if tops & {FACE, ""} else FOLDERS | tops

    @property
    def _template(self) -> NameTemplate | None:
        return next((output.name for output in self.outputs if output.name is not None), None)

    def check(self) -> StreamedPhotos:
        """This run's photos; raises UsageError where the folders cannot be meant so.

        Only the photos that were listed first are looked at, `pending` looks at each as it comes; but the name of each is
        asked for where `align` is to write into a folder with other files in it, which must not be written over.
        """
        spec, photos = self.spec, self.listing.photos
        if self.plan is not None:
            photos = photos.only(self.plan.keys_of, self.plan.rows, others=bool(self.plan.always))
        check_places(spec.inputs, spec.output, photos.first, self.tops)
        if not spec.resume and not spec.overwrite and has_manifest(spec.output):
            raise UsageError(f"'{spec.output}' holds an earlier run; drop --no-resume, or use --overwrite")
        if not spec.overwrite:
            named = [output for output in self.outputs if output.kind == FACE or output.name is not None]
            kinds = (output.kind for output in self.outputs if output not in named)
            refuse_foreign_files(spec.output, chain(kinds, (o.path(p.key) for p in photos if named for o in named)))
        if self._template is not None and self._template.needs_listing:
            refuse_shared_stems(photos, self._template.text)
        return photos.part(spec.limit, spec.shard)

    def pending(self, photos: StreamedPhotos) -> tuple[Ledger, Pending]:
        """The ledger of the output folder, and what is to do, found as it is asked for."""
        ledger, spec = self.ledger(ManifestIndex(self.spec.output)), self.spec
        checked: Iterable[Photo] = photos if photos.whole else without_own(photos, spec.output, self.tops)
        checked = checked if self._template is None else without_reserved(checked, self._template)
        counted = photos if photos.countable and not photos.whole else None
        return ledger, Pending(checked, ledger, spec.overwrite, spec.retry_failed, counted)

    def ledger(self, records: Mapping[str, Record]) -> Ledger:
        """`records` as seen by this run."""
        return Ledger(self.spec.output, records, self.outputs, self.plan)
