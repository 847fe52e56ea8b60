"""The opposite of every edit that a run wrote, made by the run's own chain: runs of their own below the run's folder."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pipelines.edits import Edit, make_edit, read_name
from pipelines.engine.destination import run_to_destination
from pipelines.engine.events import OnEvent, ProgressEvent
from pipelines.engine.plan import plan_run
from pipelines.errors import UsageError
from pipelines.evaluation.pairing import Pairing
from pipelines.evaluation.run_latents import read_run
from pipelines.evaluation.written import RETURNS
from pipelines.records.manifest import read_manifest
from pipelines.records.outputs import INVERSION
from pipelines.specs import EditSpec
from pipelines.weights.store import WeightStore

# What of a run's options decides an edit of an aligned face.
_DECIDING = (
    *("generator", "method", "embed", "encoder", "refine", "compensate", "quality", "seconds_per_face", "seed"),
    *("regularize", "space", "regularize_with", "noise_maps"),
    *("direction_files", "compose", "region", "deghost", "plugins"),
)


def opposite(edit: Edit) -> Edit | None:
    """The edit of the opposite strengths; None where there is none, because amounts were measured on each face."""
    return None if edit.aims else make_edit([(attribute, -strength) for attribute, strength in edit.terms])


def with_returns(
    pairing: Pairing, run: Path, device: str, store: WeightStore, on_progress: OnEvent | None = None
) -> tuple[Pairing, list[str]]:
    """Edit every edited picture back, or find that done, and add what came out to the rows.

    Args:
        run: a folder that `edit` wrote; `round-trip/EDIT` in it are the runs, which go on where they stopped.
        device: as `--device` names it.

    Returns:
        (the pairing, sentences on what could not be edited back).

    Raises:
        UsageError: the folder does not say how its edits were made; and all that `edit` raises.
    """
    about, names = (
        read_run(run)["spec"],
        {edit: None for row in pairing.rows for edit in row.results if edit != INVERSION},
    )
    notes = [] if names else ["there are no edits, so no round trip"]
    found: dict[str, Mapping[str, str]] = {}
    for name in names:
        edit = read_name(name)
        back = opposite(edit) if edit else None
        if back is None:
            notes.append(f"'{name}' has no opposite edit, so no round trip")
        elif not (run / name).is_dir():
            notes.append(f"'{name}' lies in archives: round trips need pictures in folders")
        else:
            _tell(on_progress, f"round trip: every picture of '{name}' is inverted again and edited by '{back.name}'")
            spec = _spec(about, run, name, back, device)
            failed = run_to_destination(spec, partial(plan_run, store=store), None).failed
            notes += [f"{failed} of the pictures of '{name}' could not be edited back"] if failed else []
            found[name] = _pictures(spec.output, back.name)
    rows = [
        replace(row, returned={edit: places[row.key] for edit, places in found.items() if row.key in places})
        for row in pairing.rows
    ]
    return replace(pairing, rows=rows), notes


def _spec(about: Mapping[str, Any], run: Path, name: str, back: Edit, device: str) -> EditSpec:
    given = {field: about[field] for field in _DECIDING if field in about}
    folders = {"inputs": [run / name], "output": run / RETURNS / name}
    try:
        return EditSpec.model_validate({**given, **folders, "edits": (back,), "aligned": True, "device": device})
    except ValidationError as error:
        reason = error.errors(include_url=False)[0]["msg"]
        raise UsageError(f"the run.json of '{run}' is of another version ({reason}): run edit again") from None


def _pictures(folder: Path, edit: str) -> dict[str, str]:
    """key -> file."""
    records: Iterable[Any] = read_manifest(folder).values()
    return {
        record.key: str(folder / record.outputs[edit])
        for record in records
        if record.status == "ok" and edit in record.outputs
    }


def _tell(on_progress: OnEvent | None, sentence: str) -> None:
    if on_progress is not None:
        on_progress(ProgressEvent("warning", 0, 0, 0, 0, message=sentence))
