"""From a spec to a run's plan, a `Job`: resolved once, before anything is read or loaded, and sent to the workers as it is."""

from __future__ import annotations

import platform
from dataclasses import replace
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from pipelines import plugins
from pipelines.devices import cores, default_batch, device_names, resolve_device
from pipelines.engine.device.align_only import AlignOnly
from pipelines.engine.device.batching import Batcher, ChainSettings
from pipelines.engine.input.listing import InputOptions, list_input
from pipelines.engine.input.streaming import Listing
from pipelines.engine.job import Job
from pipelines.engine.planned_outputs import align_outputs, chain_outputs
from pipelines.engine.reading.reader import build_reader
from pipelines.errors import UsageError
from pipelines.images.animation import check_film
from pipelines.records.edit_plan import EditPlan, read_plan
from pipelines.records.outputs import LATENTS
from pipelines.run_specs import RunSpec
from pipelines.specs import AlignSpec, EditSpec, InvertSpec
from pipelines.stages.align.crops import reader_weights
from pipelines.stages.align.detectors import YUNET
from pipelines.stages.before import codes_before
from pipelines.stages.build import ChainPlan, build_chain, plan_chain
from pipelines.stages.edit.directions import beyond_range
from pipelines.stages.edit.references import with_references
from pipelines.stages.presence import FaceWatch
from pipelines.weights.store import WeightStore


def plan_run(spec: AlignSpec, store: WeightStore) -> Job:
    """The job of a spec, whose class says which verb is meant.

    Raises:
        UsageError: names that nobody knows, no edit, devices that cannot be meant, an input that does not exist.
        NoInputError: there is not one photo.
    """
    plugins.load(spec.plugins)
    if not isinstance(spec, InvertSpec):
        return _align_job(spec, store)
    if isinstance(spec, EditSpec):
        spec = with_references(spec, store)
        plan = read_plan(spec.plan, [edit.name for edit in spec.edits]) if spec.plan is not None else None
        spec = spec if plan is None else _with_edits(spec, plan)
        _check_edit(spec)
        return _chain_job(spec, plan_chain(spec, store), store, plan)
    return _chain_job(spec, plan_chain(spec, store), store)


def _with_edits(spec: EditSpec, plan: EditPlan) -> EditSpec:
    """The spec with the plan's edits among its own."""
    edits = {edit.name: edit for edit in (*plan.edits, *spec.edits)}
    return spec.model_copy(update={"edits": tuple(edits.values())})


def _check_edit(spec: EditSpec) -> None:
    if not spec.edits:
        raise UsageError("no edit is asked for; add for example --attr smile=+2")
    if spec.animate:
        check_film(spec.animate_format)
    if spec.latents is not None and not spec.latents.is_dir():
        raise UsageError(f"the folder of codes '{spec.latents}' does not exist; give a run's folder, or leave it out")


def _align_job(spec: AlignSpec, store: WeightStore) -> Job:
    weights = reader_weights(spec)
    devices = device_names(spec.device) if spec.device.startswith("cpu:") else ("cpu",)
    return Job(
        command="align",
        spec=spec,
        listing=_listing(spec, store),
        outputs=align_outputs(spec, store),
        make_reader=partial(build_reader, spec, store.config),
        make_work=_align_only,
        prepare=partial(store.pull, weights),
        workers=max(1, cores() // len(devices)) if spec.num_workers is None else spec.num_workers,
        devices=devices,
        about=_about("cpu", 1, weights, store),
    )


def _chain_job(spec: InvertSpec, planned: ChainPlan, store: WeightStore, plan: EditPlan | None = None) -> Job:
    devices = _devices(spec)
    pasting = isinstance(spec, EditSpec) and spec.paste
    listing = _listing(spec, store, use_run=not spec.align, grouped=pasting)
    warnings = beyond_range(spec.edits) if isinstance(spec, EditSpec) else []
    watched = (YUNET,) if warnings else ()
    weights = tuple(dict.fromkeys((*reader_weights(spec), *planned.weights, *watched)))
    return Job(
        command="edit" if isinstance(spec, EditSpec) else "invert",
        spec=spec,
        listing=listing,
        outputs=chain_outputs(spec, planned, store, plan),
        make_reader=partial(build_reader, spec, store.config, planned.landmarks),
        make_work=partial(_batcher, spec.plugins, planned, _quiet(store), _settings(spec, planned, listing, store)),
        prepare=partial(store.pull, weights),
        workers=_decoders(devices) if spec.num_workers is None else spec.num_workers,
        devices=devices,
        about=_about(spec.device if spec.backend == "dask" else ", ".join(devices), _batch(spec), weights, store)
        | _regularized(spec, planned),
        plan=plan,
        warnings=tuple(warnings),
    )


def _regularized(spec: InvertSpec, planned: ChainPlan) -> dict[str, str]:
    """Which faces an encoder that is fitted to each photo was kept good on."""
    if "cycle" not in planned.method.refine:
        return {}
    return {"regularized_with": str(spec.regularize_with or "generated faces")}


def _listing(spec: AlignSpec, store: WeightStore, use_run: bool = False, grouped: bool = False) -> Listing:
    options = InputOptions(
        use_run=use_run,
        faces_all=not use_run and spec.faces == "all",
        output=spec.output,
        follow_links=spec.follow_links,
        offline=store.config.offline,
        grouped=grouped,
    )
    return list_input(spec.inputs, options)


def _settings(spec: InvertSpec, planned: ChainPlan, listing: Listing, store: WeightStore) -> ChainSettings:
    return ChainSettings(
        edits=spec.edits if isinstance(spec, EditSpec) else (),
        batch_size=spec.batch_size or 0,
        seed=spec.seed,
        codes=(planned.codes, codes_before(spec, planned, store)),
        folders=_folders(spec, listing),
        composed=planned.method.compose != "none",
    )


def describe(job: Job, store: WeightStore) -> dict[str, Any]:
    """What a job would do; see `pipelines.api.plan`."""
    _, pending = job.pending(job.check())
    tasks = pending.rest()
    return {
        "command": job.command,
        "input": str(job.spec.input),
        "output": str(job.spec.output),
        "photos": pending.seen,
        "to_do": len(tasks),
        "done": pending.done,
        "notes": [*job.warnings, *job.listing.notes],
        "weights": [{"name": name, "cached": store.have(name)} for name in job.about["weights"]],
        "edits": [change.name for change in job.spec.edits] if isinstance(job.spec, EditSpec) else [],
        "device": job.about["device"],
        "batch_size": job.about["batch_size"],
        "num_workers": job.workers,
    }


def _align_only(device: str) -> AlignOnly:
    """Nothing of `align` runs on a device; several CPU processes still share the photos."""
    return AlignOnly()


def _batcher(
    named: tuple[str, ...], planned: ChainPlan, store: WeightStore, settings: ChainSettings, device: str
) -> Batcher:
    """Called in the process that computes: a cluster's worker may have another device than the parent."""
    plugins.load(named)
    here = resolve_device(device)
    settings = replace(settings, batch_size=settings.batch_size or default_batch(here))
    watch = FaceWatch(store.path(YUNET)) if beyond_range(settings.edits) else None
    return Batcher(partial(build_chain, planned, store, here), here, settings, watch)


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
    return 1 if devices[0] == "cpu" else min(8, max(1, (cores() - 1) // len(devices)))


def _folders(spec: InvertSpec, listing: Listing) -> tuple[Path, ...]:
    """Where codes may lie: the output itself, the folder that the user names, the run that is the input."""
    folders = [] if spec.overwrite else [spec.output / LATENTS]
    if isinstance(spec, EditSpec) and spec.latents is not None:
        inner = spec.latents / LATENTS
        folders.append(inner if inner.is_dir() else spec.latents)
    if listing.latents is not None:
        folders.append(listing.latents)
    return tuple(folders)


def _about(device: str, batch_size: int | None, weights: tuple[str, ...], store: WeightStore) -> dict[str, Any]:
    try:
        own = version("ganinv")
    except PackageNotFoundError:  # used from a source folder
        own = "unknown"
    return {
        "versions": {"ganinv": own, "torch": torch.__version__, "python": platform.python_version()},
        "device": device,
        "batch_size": batch_size,
        "weights": {name: store.sha256(name) for name in weights},
    }
