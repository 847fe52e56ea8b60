"""One picture in memory through the chain of `invert` and `edit`: no folder, no manifest, no processes."""

from __future__ import annotations

import threading
from dataclasses import replace

import torch

from pipelines.devices import resolve_device
from pipelines.images.fetch import fetch, levels, shares
from pipelines.images.pixels import resize_u8
from pipelines.records.photos import Photo
from pipelines.specs import EditSpec, InvertSpec
from pipelines.stages.align.crops import face_batch, invert_faces
from pipelines.stages.build import ChainPlan, build_chain, plan_chain
from pipelines.stages.chain import Chain
from pipelines.stages.edit.references import with_references
from pipelines.stages.paste import paste
from pipelines.types import U8Image
from pipelines.weights.store import WeightStore

_guard = threading.Lock()
_last: list[tuple[ChainPlan, torch.device, Chain]] = []  # of the call before: models take seconds to load


def render_one(spec: InvertSpec, store: WeightStore, picture: U8Image) -> dict[str, U8Image]:
    """The first face of a picture: "" -> its inversion, an edit's name -> the edited face (with `paste` and `align` the
    whole picture with that face in it).

    Args:
        spec: `input` and `output` are not looked at.
        store: where weights come from.
        picture: uint8 H x W x 3, RGB, upright: an aligned crop, or with `align` any photo.

    Raises:
        PhotoError: no face, or no aligned crop.
        UsageError, WeightsError: as of `edit`.
    """
    spec = with_references(spec, store) if isinstance(spec, EditSpec) else spec
    plan, device = plan_chain(spec, store), resolve_device(spec.device)
    face = invert_faces(spec, store, plan.landmarks).faces(Photo("picture", "picture"), picture)[0]
    edits = spec.edits if isinstance(spec, EditSpec) else ()
    with _guard:
        chain = _chain(plan, store, device)
        crop = resize_u8(face.crop, chain.resolution, chain.resolution)
        torch.manual_seed(spec.seed)
        faces = face_batch([face], chain.resolution).to(device)
        made = chain.edit(faces, chain.invert(faces).stored(), edits)
        images = [made.base, *(each.image for each in made.edits.values())]
        masks = [each.mask for each in made.edits.values()]
        found = [each[0].numpy() for each in fetch([*map(levels, images), *map(shares, masks)])]
    base, pictures, inside = found[0], found[1 : len(images)], found[len(images) :]
    if isinstance(spec, EditSpec) and spec.paste and face.quad is not None:
        composed = plan.method.compose != "none"
        original, quad = (crop if composed else base), face.quad
        pictures = [
            paste(picture, each, quad, original, mask=mask if composed else None)
            for each, mask in zip(pictures, inside, strict=True)
        ]
    return {"": base, **dict(zip(made.edits, pictures, strict=True))}


def _chain(plan: ChainPlan, store: WeightStore, device: torch.device) -> Chain:
    same = replace(plan, edits={}, codes="", inversion="")
    if not _last or _last[0][:2] != (same, device):
        _last[:] = [(same, device, build_chain(plan, store, device))]
    return _last[0][2]
