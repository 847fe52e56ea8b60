"""The verbs as Python functions: `align`, `invert`, `edit`, and `plan` for what they would do.

    from pipelines.api import edit
    from pipelines.edits import parse_edits
    from pipelines.specs import EditSpec
    summary = edit(EditSpec(input="faces", output="edits", edits=parse_edits(["smile=+2"])), store)

All three stream the input through the devices that the spec names, go on where an earlier run stopped, record a bad
photo instead of raising, and raise `pipelines.errors.GanInvError` for a user's mistake.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from pipelines.devices import default_batch, device_names, resolve_device
from pipelines.engine.destination import SpecT, moved_in, run_out
from pipelines.engine.device.batching import ChainSettings, ChainWork
from pipelines.engine.events import OnEvent, ProgressEvent, RunSummary
from pipelines.engine.input.listing import FACE, Listing, list_input
from pipelines.engine.input.remote import needs_network
from pipelines.engine.job import Job
from pipelines.engine.output.paste import make_paster
from pipelines.engine.reading.crops import GivenFaces, build_align_reader, build_invert_reader, reader_weights
from pipelines.engine.resume.ledger import BASE_KINDS
from pipelines.engine.stage import AlignWork
from pipelines.errors import UsageError
from pipelines.records.manifest import fingerprint
from pipelines.specs import AlignSpec, EditSpec, InvertSpec, RunSpec
from pipelines.stages.align.aligner import Aligner
from pipelines.stages.align.detectors import LANDMARKS, build_aligner, detectors
from pipelines.stages.build import ChainPlan, build_chain, plan_chain
from pipelines.stages.paste import paste
from pipelines.weights.store import WeightStore

__all__ = ["OnEvent", "ProgressEvent", "RunSummary", "align", "build_aligner", "edit", "invert", "plan"]


def align(spec: AlignSpec, store: WeightStore, on_event: OnEvent | None = None) -> RunSummary:
    """Photos -> `KEY.png`, upright square crops (uint8 RGB, `spec.size` px) placed as FFHQ places them.

    Args:
        spec: the options; a photo's n-th further face is `KEY.n`.
        store: where weights come from.
        on_event: called from this thread with every step.

    Raises:
        UsageError, NoInputError, WeightsError, OutputError: see `pipelines.errors`.
    """
    return _run(spec, partial(_align_job, store=store), store, on_event)


def invert(spec: InvertSpec, store: WeightStore, on_event: OnEvent | None = None) -> RunSummary:
    """Faces -> `inversion/KEY.png` and `latents/KEY.safetensors`. Arguments and errors as for `align`.

    A picture that is not placed as FFHQ places faces is inverted all the same, with a warning and its distance in the
    record (`misalignment`); one in which no face is found likewise. One that is not square fails.
    """
    return _run(spec, partial(_chain_job, "invert", store=store), store, on_event)


def edit(spec: EditSpec, store: WeightStore, on_event: OnEvent | None = None) -> RunSummary:
    """As `invert`, and `EDIT/KEY.png` for every edit; codes on disk that are current are used again.

    A later run with other edits adds to the folder: what is there stays, and is not computed again.
    """
    return _run(spec, partial(_edit_job, store=store), store, on_event)


def plan(spec: AlignSpec, store: WeightStore) -> dict[str, Any]:
    """What the verb of this spec's class would do (`--dry-run`): reads the manifest, loads no model, writes nothing.

    Returns:
        command, input, output, photos, to_do, done (items), notes, weights (name, cached), edits (names), device,
        batch_size, num_workers.
    """
    job = _job(moved_in(spec), store)
    _, todo = job.todo(job.check())
    tasks = todo.rest()
    return {
        "command": job.command,
        "input": ", ".join(map(str, spec.inputs)),
        "output": str(spec.output),
        "photos": todo.seen,
        "to_do": len(tasks),
        "done": todo.done,
        "notes": list(job.listing.notes),
        "weights": [{"name": name, "cached": store.have(name)} for name in _weights(spec, store)],
        "edits": [change.name for change in spec.edits] if isinstance(spec, EditSpec) else [],
        "device": job.about["device"],
        "batch_size": job.about["batch_size"],
        "num_workers": job.workers,
    }


def _run(spec: SpecT, make_job: Callable[[SpecT], Job], store: WeightStore, on_event: OnEvent | None) -> RunSummary:
    if store.config.offline and needs_network(str(spec.output)) and not os.path.lexists(spec.output):
        raise UsageError(f"the output '{spec.output}' needs the network, which --offline forbids; choose a folder")
    return run_out(spec, make_job, on_event)


def _job(spec: AlignSpec, store: WeightStore) -> Job:
    if isinstance(spec, EditSpec):
        return _edit_job(spec, store)
    return _chain_job("invert", spec, store) if isinstance(spec, InvertSpec) else _align_job(spec, store)


def _align_job(spec: AlignSpec, store: WeightStore) -> Job:
    weights = reader_weights(spec)
    devices = device_names(spec.device) if spec.device.startswith("cpu:") else ("cpu",)
    return Job(
        command="align",
        spec=spec,
        listing=_listing(spec, store, use_run=False),
        identity=fingerprint("align", spec.format, _search_identity(spec, store)),
        kinds=(FACE,),
        make_reader=partial(build_align_reader, spec, store.config),
        make_work=partial(_align_work, spec.format),
        prepare=partial(store.require, weights),
        workers=_workers(spec, max(1, _cores() // len(devices))),
        devices=devices,
        about=_about("cpu", 1, spec, store),
    )


def _listing(spec: AlignSpec, store: WeightStore, use_run: bool) -> Listing:
    faces_all = not use_run and spec.faces == "all"
    offline = store.config.offline
    return list_input(spec.inputs, use_run, faces_all, None, spec.output, spec.follow_links, offline)


def _align_work(format: str, device: str) -> AlignWork:
    """Nothing of `align` runs on a device; several CPU processes still share the photos."""
    return AlignWork(format)


def _edit_job(spec: EditSpec, store: WeightStore) -> Job:
    if not spec.edits:
        raise UsageError("no edit is asked for; add for example --attr smile=+2")
    if spec.latents is not None and not spec.latents.is_dir():
        raise UsageError(f"the folder of codes '{spec.latents}' does not exist; give a run's folder, or leave it out")
    return _chain_job("edit", spec, store)


def _chain_job(command: str, spec: InvertSpec, store: WeightStore) -> Job:
    planned = plan_chain(spec, store)
    devices = _devices(spec)
    listing = _listing(spec, store, use_run=not spec.align)
    edits = spec.edits if isinstance(spec, EditSpec) else ()
    pasting = isinstance(spec, EditSpec) and spec.paste
    names = tuple(change.name for change in edits)
    settings = ChainSettings(
        edits, spec.format, spec.batch_size or 0, spec.seed, planned.codes, _folders(spec, listing)
    )
    return Job(
        command=command,
        spec=spec,
        listing=listing,
        identity=_chain_identity(spec, store, planned),
        kinds=(*BASE_KINDS, *names),
        paste_kinds=tuple(f"photos/{name}" for name in names) if pasting else (),
        tops=frozenset({*BASE_KINDS, *names, "photos"}),
        make_reader=partial(build_invert_reader, spec, store.config, planned.landmarks),
        make_work=partial(_chain_work, planned, _quiet(store), settings, pasting),
        prepare=partial(store.require, _weights(spec, store)),
        workers=_workers(spec, _decoders(devices)),
        devices=devices,
        about=_about(spec.device if spec.backend == "dask" else ", ".join(devices), _batch(spec), spec, store),
    )


def _chain_work(
    planned: ChainPlan, store: WeightStore, settings: ChainSettings, pasting: bool, device: str
) -> ChainWork:
    """Called in the process that computes: a cluster's worker may have another device than the parent."""
    here = resolve_device(device)
    settings = replace(settings, batch_size=settings.batch_size or default_batch(here))
    make_chain = partial(build_chain, planned, store, here)
    return ChainWork(make_chain, here, settings, make_paster(paste) if pasting else None)


def _quiet(store: WeightStore) -> WeightStore:
    """The same weights without the reporter of fetches, which may hold a terminal and cannot travel."""
    return WeightStore(store.config, catalogue={entry.name: entry for entry in store.entries()})


def _devices(spec: RunSpec) -> tuple[str, ...]:
    """The devices of this machine; for a cluster, the one name that every worker resolves for itself."""
    if spec.backend == "loky":
        return device_names(spec.device)
    if "," in spec.device or spec.device.startswith("cpu:"):
        raise UsageError(f"--device {spec.device}: on a cluster every worker has one device; start a worker for each")
    return (spec.device,)


def _batch(spec: RunSpec) -> int | None:
    """Faces per pass, as far as it is known here."""
    if spec.batch_size or spec.backend == "dask":
        return spec.batch_size
    return default_batch(resolve_device(_devices(spec)[0]))


def _decoders(devices: tuple[str, ...]) -> int:
    """Decoding processes of each device: one where the CPU computes too, else its share of the cores."""
    return 1 if devices[0] == "cpu" else min(8, max(1, (_cores() - 1) // len(devices)))


def _folders(spec: InvertSpec, listing: Listing) -> tuple[Path, ...]:
    """Where codes may lie: the output itself, the folder that the user names, the run that is the input."""
    folders = [] if spec.overwrite else [spec.output / "latents"]
    if isinstance(spec, EditSpec) and spec.latents is not None:
        inner = spec.latents / "latents"
        folders.append(inner if inner.is_dir() else spec.latents)
    if listing.latents is not None:
        folders.append(listing.latents)
    return tuple(folders)


def _chain_identity(spec: InvertSpec, store: WeightStore, planned: ChainPlan) -> str:
    """What decides the pictures, the list of edits aside: a later run may add edits to what is there."""
    faces = (
        _search_identity(spec, store)
        if spec.align
        else ["given", GivenFaces.version, spec.size, store.sha256(LANDMARKS)]
    )
    return fingerprint(
        "chain",
        planned.inversion,
        planned.method.compose,
        sorted(planned.edits.values()) if planned.directions else None,
        spec.seed,
        spec.format,
        faces,
    )


def _search_identity(spec: AlignSpec, store: WeightStore) -> list[object]:
    """What decides a photo's crops."""
    detector = detectors.get(spec.detector)
    hashes = [store.sha256(name) for name in detector.entries]
    options = [spec.size, spec.faces, spec.min_score, spec.min_size]
    return [Aligner.version, spec.detector, detector.version, *hashes, *options]


def _weights(spec: AlignSpec, store: WeightStore) -> tuple[str, ...]:
    chain = plan_chain(spec, store).weights if isinstance(spec, InvertSpec) else ()
    return tuple(dict.fromkeys((*reader_weights(spec), *chain)))


def _workers(spec: RunSpec, cores: int) -> int:
    return cores if spec.num_workers is None else spec.num_workers


def _cores() -> int:
    """Cores that this process may use (a container's or a job's share, where the system tells)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _about(device: str, batch_size: int | None, spec: AlignSpec, store: WeightStore) -> dict[str, Any]:
    try:
        own = version("ganinv")
    except PackageNotFoundError:  # used from a source folder
        own = "unknown"
    return {
        "versions": {"ganinv": own, "torch": torch.__version__, "python": platform.python_version()},
        "device": device,
        "batch_size": batch_size,
        "weights": {name: store.sha256(name) for name in _weights(spec, store)},
    }
