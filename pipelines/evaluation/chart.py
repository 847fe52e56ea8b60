"""`ganinv edit --chart FACE.jpg`: every attribute at -2 to +2 on one face, on one sheet."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch

from pipelines import plugins
from pipelines.devices import resolve_device
from pipelines.edits import Edit, make_edit
from pipelines.errors import PhotoError, UsageError
from pipelines.evaluation.contact_sheet import contact_sheet
from pipelines.files import write_atomic
from pipelines.images.pixels import decode, encode, read_photo, resize_area, to_uint8
from pipelines.records.photos import Photo
from pipelines.specs import EditSpec
from pipelines.stages.align.crops import LoadedFace, face_batch, invert_faces
from pipelines.stages.build import build_chain, direction_set, plan_chain
from pipelines.stages.chain import Chain, Sitting
from pipelines.stages.edit.directions import DirectionInfo, beyond_range, list_directions
from pipelines.types import FaceBatch, U8Image
from pipelines.weights.store import WeightStore

STRENGTHS = (-2.0, -1.0, 1.0, 2.0)
MOST = 60  # attributes of one sheet


def write_chart(spec: EditSpec, photo: Path, store: WeightStore) -> Path:
    """Draw the chart of a photo's first face into the spec's output folder, as ``chart-NAME.jpg``; gives its path.

    Raises:
        UsageError: the photo cannot be read or shows no face; the user's direction files as of `edit`.
        WeightsError, OutputError: as of `edit`.
    """
    plugins.load(spec.plugins)
    sheet = draw_chart(spec, photo, store)
    path = spec.output / f"chart-{photo.stem}.jpg"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, encode(sheet, "jpg", 88))
    return path


@torch.no_grad()
def draw_chart(spec: EditSpec, photo: Path, store: WeightStore) -> U8Image:
    """The sheet, uint8 H x W x 3: a row an attribute (our own, then those of the spec's files), the photo in the middle.

    The cells are the composed edits at 256 px, through the generator's cheap head; pale ones lie outside the range at which
    the attribute was measured, which stands beside its name.
    """
    about = {each.name: _about(each) for each in list_directions()}
    names = direction_set(spec, store).names()[:MOST]
    edits = tuple(make_edit([(name, strength)]) for name in names for strength in STRENGTHS)
    spec = spec.model_copy(update={"edits": edits, "align": True, "aligned": False, "faces": "largest"})
    face = _face(spec, photo, store)
    plan = plan_chain(spec, store)
    chain = build_chain(replace(plan, measured=True), store, resolve_device(spec.device))
    sitting = _sitting(chain, face)
    rows = [(f"{name}{about.get(name, ': of your file')}", list(_row(sitting, name))) for name in names]
    return contact_sheet(rows, [f"{s:+g}" for s in STRENGTHS[:2]] + ["photo"] + [f"{s:+g}" for s in STRENGTHS[2:]])


def _about(listed: DirectionInfo) -> str:
    low, high = listed.range
    return f" ({low:+g} to {high:+g}): {listed.description.partition(';')[0]}"


def _face(spec: EditSpec, photo: Path, store: WeightStore) -> LoadedFace:
    try:
        return invert_faces(spec, store, landmarks=True).faces(Photo("face", "face"), decode(read_photo(photo)))[0]
    except PhotoError as error:
        raise UsageError(f"no chart of '{photo}': {error.message}") from None


def _sitting(chain: Chain, face: LoadedFace) -> Sitting:
    assert chain.sketch is not None
    small = chain.sketch[0]
    faces = face_batch([face], chain.resolution).to(chain.generator.device)
    inversion = chain.invert(faces).stored()
    return Sitting(small, FaceBatch(resize_area(faces.images, small.resolution), faces.landmarks), inversion)


def _row(sitting: Sitting, name: str) -> Iterator[U8Image]:
    pictures = [_cell(sitting, make_edit([(name, strength)])) for strength in STRENGTHS]
    yield from pictures[:2]
    yield to_uint8(sitting.faces.images)[0]
    yield from pictures[2:]


def _cell(sitting: Sitting, edit: Edit) -> U8Image:
    picture = to_uint8(sitting.draw(edit).image.clamp(-1, 1))[0]
    return 128 + picture // 2 if beyond_range([edit]) else picture
