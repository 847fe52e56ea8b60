"""Runs whose output is not a folder: tar archives (`pack`), a remote store (`upload`).

The run itself works in a folder beside it, with all that a run has (lock, manifest, resume), and its results are moved on
from there while it goes on (`moving`); so a run needs room for what is in flight, not for all its results.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from pipelines.engine.events import OnEvent, ProgressEvent, RunSummary
from pipelines.engine.job import Job
from pipelines.engine.output.checks import remove_half_written
from pipelines.engine.output.shards import Packer
from pipelines.engine.output.transfer import Gate, Mover, Moving
from pipelines.engine.run import run_job
from pipelines.errors import UsageError
from pipelines.records.deliveries import fold
from pipelines.records.manifest import has_manifest
from pipelines.records.manifest_tail import NewRecords
from pipelines.records.run_lock import exclusive_run
from pipelines.records.uploads import Uploader
from pipelines.run_specs import RunSpec
from pipelines.storage.remote import as_url, open_store
from pipelines.storage.webdataset import Archives

SpecT = TypeVar("SpecT", bound=RunSpec)


def is_archive(output: Path) -> bool:
    """Whether an output means tar archives."""
    return output.suffix.lower() == ".tar"


def working_folder(spec: RunSpec) -> Path:
    """The folder that the run itself writes: `spec.output`, or one beside the archives, or one in the working directory
    for a remote store.

    Raises:
        UsageError: archives in a remote store, or a web server, which takes nothing.
    """
    url = as_url(spec.output)
    if url is not None and not os.path.lexists(spec.output):
        if is_archive(spec.output):
            raise UsageError(f"'{url}': archives are written to a local folder; copy them, or give a remote folder")
        if url.startswith(("http://", "https://")):
            raise UsageError(f"'{url}': nothing can be written to a web server; choose a folder or a bucket with -o")
        mark = hashlib.sha256(url.rstrip("/").encode()).hexdigest()[:8]
        share = f"-{spec.part}" if spec.part else ""
        return Path(f"{url.rstrip('/').rpartition('/')[2]}-{mark}{share}.run")
    if is_archive(spec.output) and not spec.output.is_dir():
        return Archives.parse(str(spec.output), spec.shard).folder()
    return spec.output


def staging_spec(spec: SpecT) -> SpecT:
    """The same run into its working folder."""
    folder = working_folder(spec)
    return spec if folder == spec.output else spec.model_copy(update={"output": folder})


def run_to_destination(spec: SpecT, make_job: Callable[[SpecT], Job], on_event: OnEvent | None = None) -> RunSummary:
    """`run_job`, whatever kind of output the spec names.

    Args:
        spec: the options; `items_per_shard` photos make an archive.
        make_job: spec with the working folder as its output -> job.
        on_event: as for `run_job`.

    Raises:
        UsageError, OutputError, KeyboardInterrupt: as for `run_job`; what is not moved yet stays in the working folder,
            and the next run goes on from there.
    """
    inner = staging_spec(spec)
    if inner is spec:
        return run_job(make_job(spec), on_event)
    url = as_url(spec.output)
    if url is not None:
        open_store(url)  # what is not installed is said before any model loads
    if spec.output.is_file() and not has_manifest(inner.output):
        raise UsageError(f"'{spec.output}' exists and was not written by a run; move it away or choose another name")
    job = make_job(inner)
    with exclusive_run(inner.output):
        remove_half_written(inner.output)
        mover: Mover
        if is_archive(spec.output):
            archives = Archives.parse(str(spec.output), spec.shard)
            _refuse_foreign(archives, inner.output)
            fold(inner.output)
            mover = Packer(archives, inner.output, [photo.key for photo in job.check()], spec.items_per_shard)
        else:
            mover = uploader = Uploader(str(url), inner.output, spec.part)
            uploader.adopt()
    summary = _run_and_move(job, mover, on_event)
    with exclusive_run(inner.output):
        fold(inner.output)  # what has been moved already must not be looked for here
        if summary.complete:
            mover.finish()
        mover.close()
    return replace(summary, output=str(url or spec.output))


def _run_and_move(job: Job, mover: Mover, on_event: OnEvent | None) -> RunSummary:
    moving = Moving(mover, NewRecords(job.spec.output), Gate(job.spec.output))

    def told(event: ProgressEvent) -> None:
        moving.check()
        if on_event is not None:
            on_event(event)

    moving.start()
    try:
        summary = run_job(job, told)
    finally:
        moving.stop()
    moving.check()
    return summary


def _refuse_foreign(archives: Archives, folder: Path) -> None:
    """Archives of somebody else must not be written over."""
    if has_manifest(folder) or not os.path.exists(archives.name(0)):
        return
    raise UsageError(f"'{archives.name(0)}' is in the way and was not written by a run; move it or choose another name")
