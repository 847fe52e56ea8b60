"""What a run writes, as one table: each kind of output with the fingerprint of all that decides it."""

from __future__ import annotations

from pipelines.records.edit_plan import EditPlan
from pipelines.records.manifest import fingerprint
from pipelines.records.names import NameTemplate, parse_name
from pipelines.records.outputs import (
    ANIMATION,
    CODES,
    FACE,
    INVERSION,
    LATENTS,
    Output,
    mask_of,
    photo_of,
    planned_photo,
)
from pipelines.specs import AlignSpec, EditSpec, InvertSpec
from pipelines.stages.align.crops import faces_identity, search_identity
from pipelines.stages.before import is_made_anew, pictures_before
from pipelines.stages.build import ChainPlan
from pipelines.stages.paste import PASTE_VERSION
from pipelines.weights.store import WeightStore


def align_outputs(spec: AlignSpec, store: WeightStore) -> tuple[Output, ...]:
    """What `align` writes."""
    identity = fingerprint("align", spec.format, search_identity(spec, store))
    return (Output(FACE, "face", f".{spec.format}", identity, before=identity),)


def chain_outputs(
    spec: InvertSpec, planned: ChainPlan, store: WeightStore, plan: EditPlan | None = None
) -> tuple[Output, ...]:
    """What `invert` and `edit` write; each kind with what decides it, and nothing else."""
    faces = faces_identity(spec, store)
    old = fingerprint("chain", pictures_before(spec, planned, store), spec.seed, spec.format, faces)
    suffix = f".{spec.format}"
    outputs = [
        Output(INVERSION, "face", suffix, fingerprint(planned.inversion, spec.seed, spec.format, faces), old),
        Output(LATENTS, "face", CODES, fingerprint(planned.codes, spec.seed, faces), old),
    ]
    if not isinstance(spec, EditSpec):
        return tuple(outputs)
    names = [edit.name for edit in spec.edits]
    called = None if spec.name is None else parse_name(spec.name, names, spec.align and spec.faces == "all")
    style = [] if called is None else [called.text]
    plain = old if planned.method.compose == "none" and called is None else ""
    for name, edit in zip(names, spec.edits, strict=True):
        decides = planned.edits[name]
        own = fingerprint(decides, spec.seed, spec.format, faces, *style)
        outputs.append(Output(name, "face", suffix, own, "" if is_made_anew(edit) else plain, name=called))
        if spec.masks:
            own = fingerprint("mask", decides, spec.seed, faces, *style)
            outputs.append(Output(mask_of(name), "face", ".png", own, name=called))
        if spec.paste and (plan is None or name in plan.always):
            outputs.append(_photo(photo_of(name), spec, [decides, spec.seed, faces], called))
    rounds = range(plan.most if plan is not None and spec.paste else 0)
    outputs += [_photo(planned_photo(number), spec, ["plan", spec.seed, faces], called) for number in rounds]
    if spec.animate:
        frames = [planned.edits[name] for name in names] if plan is None else []
        own = fingerprint("animation", frames, spec.seed, faces, *([] if spec.animate_format == "webp" else ["mp4"]))
        outputs.append(Output(ANIMATION, "face", f".{spec.animate_format}", own, shows=tuple(names)))
    return tuple(outputs)


def _photo(kind: str, spec: EditSpec, decides: list[object], called: NameTemplate | None) -> Output:
    """A whole photo's output; the suffix is the photo's own."""
    style = [spec.paste_format, spec.keep_gps, spec.provenance, *([] if called is None else [called.text])]
    return Output(kind, "photo", "", fingerprint("photo", PASTE_VERSION, *decides, style), name=called)
