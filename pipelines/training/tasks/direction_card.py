"""`ganinv train directions --measure FILE`: what directions do to composed pictures, as a card.

A direction is measured as it will be used: faces are inverted, moved, rendered through the generator's cheap head and composed
at 256 px by the default method; then every attribute is measured in the result, and how far the person went away.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipelines.edits import make_edit
from pipelines.errors import UsageError
from pipelines.images.decode import IMAGE_SUFFIXES, decode, read_photo
from pipelines.images.pixels import resize_area, resize_u8, to_tensor
from pipelines.metrics.attributes import METER
from pipelines.metrics.identity import SAME_PERSON
from pipelines.specs import EditSpec
from pipelines.stages.align.aligner import locate
from pipelines.stages.align.detectors import build_locator
from pipelines.stages.build import build_chain, plan_chain
from pipelines.stages.chain import Chain, Sitting
from pipelines.stages.edit.amounts import Amounts
from pipelines.stages.edit.direction_files import read_directions
from pipelines.stages.edit.direction_set import Direction, DirectionEditor, DirectionSet
from pipelines.stages.edit.directions import attribute_scales
from pipelines.stages.entry import LIKENESS, Parts
from pipelines.training.run import Report, write_asset
from pipelines.training.specs import DirectionsSpec
from pipelines.training.tasks.direction_fit import useful_range
from pipelines.types import FaceBatch, Inversion, U8Image
from pipelines.weights.store import WeightStore

STRENGTHS = (-3.0, -2.0, -1.0, 1.0, 2.0, 3.0)
LEAST = 0.1  # deviations: what moves less at +-1 is not listed
UNSEEN = (-2.0, 2.0)  # the range of what no meter sees move
PERSON = 0.55  # likeness; a direction that was made for composed pictures ends above dlib's limit of .5
SIDE = 256  # px

Describe = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Seen:
    """One direction at one strength, n faces: change of every attribute (deviations), likeness to the photo (as `id-dlib`)."""

    moved: Mapping[str, np.ndarray[Any, Any]]
    identity: np.ndarray[Any, Any]

    def mean(self, name: str) -> float:
        values = self.moved[name]
        return float(np.mean(values[np.isfinite(values)])) if np.isfinite(values).any() else float("nan")


class Bench:
    """Faces, ready to be edited and measured.

    Args:
        sittings: one face each, at 256 px.
        amounts: measures a picture.
        describe: 1 x 3 x 256 x 256 -> 128 numbers of identity, NaN where no face is found.
        stds: attribute -> one deviation in the meter's raw units.
    """

    def __init__(
        self, sittings: Sequence[Sitting], amounts: Amounts, describe: Describe, stds: Mapping[str, float]
    ) -> None:
        self._sittings, self._amounts, self._describe, self.stds = sittings, amounts, describe, dict(stds)
        self._before = [(amounts.look(each.faces.images), describe(each.faces.images)) for each in sittings]

    @property
    def codes(self) -> Tensor:
        """Of all faces, n x L x 512."""
        return torch.cat([each.inversion.latents for each in self._sittings])

    def at(self, name: str, strength: float) -> Seen:
        """The direction called `name` at a strength, on every face."""
        return self._seen(sitting.draw(make_edit([(name, strength)])).image for sitting in self._sittings)

    def each(self, directions: Sequence[Direction], strength: float) -> Seen:
        """One direction, known by its name, that is another vector for every face."""
        return self._seen(map(partial(_drawn_by, strength=strength), self._sittings, directions))

    def _seen(self, pictures: Iterable[Tensor]) -> Seen:
        rows, identity = [], []
        for picture, (before, person) in zip(pictures, self._before, strict=True):
            after = self._amounts.look(picture)
            rows.append([(after[each] - before[each]) / std for each, std in self.stds.items()])
            identity.append(1 - float((self._describe(picture) - person).norm()) / (2 * SAME_PERSON))
        return Seen(dict(zip(self.stds, np.array(rows).T, strict=True)), np.array(identity))


def _drawn_by(sitting: Sitting, direction: Direction, strength: float) -> Tensor:
    """A sitting's picture by a direction that its chain may not know."""
    chain = sitting.chain
    usual = chain.editor
    try:
        chain.editor = DirectionEditor(DirectionSet([direction]))
        return sitting.draw(make_edit([(direction.name, strength)])).image
    finally:
        chain.editor = usual


def facts(bench: Bench, direction: Direction, unit: float = 1.0, moves: str = "") -> dict[str, Any]:
    """What the card says of one direction: what it moves, how far, what comes along, and what is left of the person.

    Args:
        unit: how much of the vector is to be called 1.
        moves: the attribute that it is for; "": the one of its own name, or what moves most.
    """
    strengths = STRENGTHS
    seen = {strength: bench.at(direction.name, strength * unit) for strength in strengths}
    slopes = {name: (seen[1.0].mean(name) - seen[-1.0].mean(name)) / 2 for name in bench.stds}
    most = max(slopes, key=lambda name: abs(np.nan_to_num(slopes[name])))
    own = moves or (direction.name if direction.name in slopes else most)
    curve = {f"{strength:+g}": _short(seen[strength].mean(own)) for strength in strengths}
    sign = 1 if slopes[own] >= 0 else -1
    rows = direction.vector.abs().sum(1).nonzero().flatten()
    identity = {strength: float(np.nanmean(seen[strength].identity)) for strength in strengths}
    span = useful_range({strength: sign * moved for strength, moved in curve.items()})
    return {
        "moves": own,
        "layers": [int(rows[0]), int(rows[-1])],
        "curve": curve,
        "range": list(person_range(span, identity) if direction.way else span if any(span) else UNSEEN),
        "leakage": {name: _short(slope) for name, slope in slopes.items() if name != own and abs(slope) >= LEAST},
        "identity": {f"{strength:+g}": _short(likeness) for strength, likeness in identity.items()},
    }


def person_range(span: tuple[float, float], identity: Mapping[float, float]) -> tuple[float, float]:
    """A range, cut where the likeness (straight lines between the measured strengths, 1 at 0) falls to `PERSON`."""
    ends = []
    for sign, end in ((-1, span[0]), (1, span[1])):
        last, before = 0.0, 1.0
        for strength in sorted((s for s in identity if 0 < s * sign <= abs(end)), key=abs):
            if identity[strength] < PERSON:
                share = (before - PERSON) / (before - identity[strength])
                end = round(last + share * (strength - last), 1)
                break
            last, before = strength, identity[strength]
        ends.append(end)
    return ends[0], ends[1]


def measure(spec: DirectionsSpec, store: WeightStore, report: Report) -> Path:
    """The cards of all files of `spec.measure`, as one `measured.json` beside their vectors.

    Raises:
        UsageError: a file or the folder of photos cannot be used.
    """
    store.pull([*METER, *LIKENESS])
    chain = measuring_chain(store, spec.measure)
    directions = [each for path in spec.measure for each in read_directions(path, chain.generator.num_ws)]
    bench = bench_of(chain, store, spec)
    cards = {}
    for direction in directions:
        cards[direction.name] = facts(bench, direction) | manner_of(chain, direction.name)
        report({"direction": direction.name, **cards[direction.name]})
    card = {
        "name": "measured",
        "what": "directions of a file, measured on composed pictures; 1 = the file's own unit, moved in standard deviations",
        "data": f"{spec.photos or 'generated faces'}, {spec.bench}",
        "directions": cards,
    }
    return write_asset(spec.output, "measured", {each.name: each.vector for each in directions}, card)


def measuring_chain(store: WeightStore, files: tuple[Path, ...] = (), directions: DirectionSet | None = None) -> Chain:
    """The default method with a meter; of the user's files, or of other directions than the shipped ones."""
    plan = plan_chain(EditSpec(inputs=(Path("-"),), direction_files=files), store)
    return build_chain(replace(plan, measured=True), store, torch.device("cpu"), directions)


def manner_of(chain: Chain, name: str) -> dict[str, str]:
    """The composer's way with a direction."""
    found = chain.composer.manner(name)  # type: ignore[attr-defined]
    return {"way": found.way, "region": found.region}


def bench_of(chain: Chain, store: WeightStore, spec: DirectionsSpec, stds: Mapping[str, float] | None = None) -> Bench:
    """The bench of a spec's photos, or of generated faces; `stds`: as of `Bench`, else the shipped card's."""
    if chain.sketch is None:
        raise ValueError("a bench needs a chain with a meter")
    sketch, amounts = chain.sketch
    finder = build_locator(store)

    def points(picture: U8Image) -> Tensor:
        return torch.from_numpy(locate(picture, finder)).float()[None]

    sittings = []
    if spec.photos is not None:
        for picture in _pictures(spec.photos, spec.bench):
            full = resize_u8(picture, chain.resolution, chain.resolution)
            faces = FaceBatch(to_tensor([full]), points(full))
            inversion = chain.invert(faces).stored()
            sittings.append(Sitting(sketch, FaceBatch(resize_area(faces.images, SIDE), faces.landmarks), inversion))
    else:
        rng = torch.Generator().manual_seed(spec.seed)
        codes = chain.generator.map(torch.randn(spec.bench, 512, generator=rng))
        for code in codes[:, None].expand(-1, chain.generator.num_ws, -1).split(1):
            image = chain.generator.preview(code).image.clamp(-1, 1)
            sittings.append(Sitting(sketch, FaceBatch(image, _points_of(image, points)), Inversion(code)))
    return Bench(sittings, amounts, _describer(store, points), stds or attribute_scales())


def _points_of(image: Tensor, points: Callable[[U8Image], Tensor]) -> Tensor:
    levels = ((image[0].permute(1, 2, 0) + 1) * 127.5).round().clamp(0, 255)
    return points(levels.to(torch.uint8).numpy())


def _describer(store: WeightStore, points: Callable[[U8Image], Tensor]) -> Describe:
    likeness = Parts(store, torch.device("cpu")).likeness()

    @torch.no_grad()
    def describe(image: Tensor) -> Tensor:
        found = _points_of(image, points)
        if not bool(torch.isfinite(found).all()):
            return torch.full((128,), float("nan"))
        described: Tensor = likeness.identity(likeness.chips(image, found))[0]
        return described

    return describe


def _pictures(folder: Path, count: int) -> list[U8Image]:
    paths = sorted(path for path in folder.glob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
    if not paths:
        raise UsageError(f"the folder of photos '{folder}' holds no pictures; give aligned faces (ganinv align)")
    spread = np.linspace(0, len(paths) - 1, min(count, len(paths))).round().astype(int)
    return [decode(read_photo(paths[i])) for i in spread]


def _short(value: float) -> float:
    return round(float(value), 3)
