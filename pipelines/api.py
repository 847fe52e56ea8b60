"""The verbs as Python functions: `align`, `invert`, `edit`, `evaluate`, and `plan` for what the first three would do.

    from pipelines import edit
    edit("faces", "edits", attr=["smile=+2"])

Each takes a folder to read and one to write, and the fields of its spec (`pipelines.specs`) as keywords; or a spec. They
stream the input through the devices that the spec names, go on where an earlier run stopped, record a bad photo instead of
raising, and raise `pipelines.errors.GanInvError` for a user's mistake.

    from pipelines import edit_image
    older = edit_image(Image.open("me.jpg"), attr=["age=+2"], align=True, paste=True)

works on one picture in memory.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from PIL import Image, ImageOps
from pydantic import ValidationError

from pipelines import plugins
from pipelines.engine.destination import run_to_destination, staging_spec
from pipelines.engine.events import OnEvent, ProgressEvent, RunSummary
from pipelines.engine.plan import describe, plan_run
from pipelines.errors import UsageError
from pipelines.evaluation.evaluate import evaluate as _evaluate
from pipelines.evaluation.specs import EvaluateSpec
from pipelines.run_specs import Spec
from pipelines.specs import AlignSpec, EditSpec, InvertSpec
from pipelines.stages.align.detectors import build_aligner
from pipelines.stages.single import render_one
from pipelines.storage.remote import needs_network
from pipelines.weights.store import StoreConfig, WeightStore

__all__ = [
    "OnEvent",
    "ProgressEvent",
    "RunSummary",
    "align",
    "build_aligner",
    "edit",
    "edit_image",
    "evaluate",
    "invert",
    "invert_image",
    "plan",
]
SpecT = TypeVar("SpecT", bound=Spec)
Input = str | Path | Sequence[str | Path] | AlignSpec
Place = str | Path | WeightStore


def align(input: Input, output: Place = "faces", on_event: OnEvent | None = None, **options: Any) -> RunSummary:
    """Photos -> `KEY.png`, upright square crops (uint8 RGB, `size` px) placed as FFHQ places them.

    A photo's n-th further face is `KEY.n`.

    Args:
        input: what to read, one input or several, as `AlignSpec.inputs`; or a whole spec, followed by a store.
        output: where to write.
        on_event: called from this thread with every step.
        options: fields of `AlignSpec`; `store`: where weights come from (default: the user's cache).

    Raises:
        UsageError, NoInputError, WeightsError, OutputError: see `pipelines.errors`.
    """
    return _run(AlignSpec, input, output, on_event, options)


def invert(input: Input, output: Place = "inversions", on_event: OnEvent | None = None, **options: Any) -> RunSummary:
    """Faces -> `inversion/KEY.png` and `latents/KEY.safetensors`. Arguments and errors as for `align`, of `InvertSpec`.

    A picture that is not placed as FFHQ places faces is inverted all the same, with a warning and its distance in the
    record (`misalignment`); one in which no face is found likewise. One that is not square fails.
    """
    return _run(InvertSpec, input, output, on_event, options)


def edit(input: Input, output: Place = "edits", on_event: OnEvent | None = None, **options: Any) -> RunSummary:
    """As `invert`, and `EDIT/KEY.png` for every edit; codes on disk that are current are used again.

    A later run with other edits adds to the folder: what is there stays, and is not computed again.

    Args:
        options: fields of `EditSpec`; `attr`: edits as typed on the command line, for example ``["smile=+2"]``.
    """
    return _run(EditSpec, input, output, on_event, options)


def evaluate(run: str | Path | EvaluateSpec, store: WeightStore | None = None, **options: Any) -> dict[str, Any]:
    """Score a run's folder against its sources; see `pipelines.evaluation.evaluate.evaluate`.

    Args:
        run: a folder that `invert` or `edit` wrote; or a whole spec.
        store: where weights come from (default: the user's cache).
        options: fields of `EvaluateSpec`, and `on_progress`.
    """
    progress = options.pop("on_progress", None)
    spec = run if isinstance(run, EvaluateSpec) else _made(EvaluateSpec, {"run": Path(run), **options})
    plugins.load(spec.plugins)
    return _evaluate(spec, store or _own_store(), progress)


def invert_image(picture: Image.Image, store: WeightStore | None = None, **options: Any) -> Image.Image:
    """The inversion of one picture in memory; options as of `InvertSpec`. See `edit_image`."""
    return Image.fromarray(_one(InvertSpec, picture, store, options)[""])


def edit_image(
    picture: Image.Image, attr: Iterable[str] = (), store: WeightStore | None = None, **options: Any
) -> Image.Image:
    """One picture in memory -> the same with one edit.

    Args:
        picture: an aligned crop; with ``align=True`` any photo, of which the first face is edited.
        attr: one edit, for example ``["smile=+2"]`` or ``["smile=+1,age=-1"]``.
        store: where weights come from (default: the user's cache).
        options: fields of `EditSpec`.

    Returns:
        The face (the generator's size); with ``align=True, paste=True`` the whole photo.

    Raises:
        PhotoError: no face was found, or the picture is no square crop.
        UsageError, WeightsError: see `pipelines.errors`.
    """
    made = _one(EditSpec, picture, store, {"attr": list(attr), **options})
    if len(made) != 2:
        raise UsageError(f"one edit of a picture at a time, please, not {len(made) - 1}; for example attr=['smile=+2']")
    return Image.fromarray(made.popitem()[1])


def plan(spec: AlignSpec, store: WeightStore) -> dict[str, Any]:
    """What the verb of this spec's class would do (`--dry-run`): reads the manifest, loads no model, writes nothing.

    Returns:
        command, input, output, photos, to_do, done (items), notes, weights (name, cached), edits (names), device,
        batch_size, num_workers.
    """
    return describe(plan_run(staging_spec(spec), store), store) | {"output": str(spec.output)}


def _run(
    kind: type[AlignSpec], input: Input, output: Place, on_event: OnEvent | None, options: dict[str, Any]
) -> RunSummary:
    store = options.pop("store", None) or (output if isinstance(output, WeightStore) else None) or _own_store()
    given = {"input": input, "output": Path(str(output)), **options}
    spec = input if isinstance(input, AlignSpec) else _made(kind, given)
    if store.config.offline and needs_network(str(spec.output)) and not os.path.lexists(spec.output):
        staging_spec(spec)  # places that take nothing at all are told first
        raise UsageError(f"the output '{spec.output}' needs the network, which --offline forbids; choose a folder")
    return run_to_destination(spec, partial(plan_run, store=store), on_event)


def _one(kind: type[InvertSpec], picture: Image.Image, store: WeightStore | None, options: dict[str, Any]) -> Any:
    spec = _made(kind, {"input": Path("-"), "output": Path("-"), **options})
    plugins.load(spec.plugins)
    pixels = np.asarray(ImageOps.exif_transpose(picture).convert("RGB"))
    return render_one(spec, store or _own_store(), pixels)


def _own_store() -> WeightStore:
    return WeightStore(StoreConfig.from_env(os.environ))


def _made(kind: type[SpecT], given: dict[str, Any]) -> SpecT:
    """A spec; `attr` may stand for its edits. Raises UsageError where a field is unknown or has a wrong value."""
    if "attr" in given:
        given["edits"] = given.pop("attr")
    try:
        return kind(**given)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise UsageError(f"{'.'.join(map(str, first['loc'])) or 'options'}: {first['msg']}") from None
