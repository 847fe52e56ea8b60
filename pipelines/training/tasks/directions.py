"""`ganinv train directions`: fit, calibrate and measure, and write the vectors with their card."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipelines.files import write_atomic
from pipelines.images.pixels import to_uint8
from pipelines.models.faces.agegender import DlibGender
from pipelines.models.faces.attributes import ATTRIBUTES, MEASURED, AttributeMeter
from pipelines.models.faces.finders import DlibFinder
from pipelines.models.faces.glasses import GLASSES_ASSET, load_glasses
from pipelines.models.faces.years import YEARS_ASSET, load_years
from pipelines.stages.align.aligner import locate
from pipelines.stages.edit.direction_set import Direction, DirectionSet
from pipelines.stages.edit.directions import ASSET, list_directions, reading, with_below, with_holds
from pipelines.stages.entry import Parts, generators
from pipelines.training.run import LICENCE, Report, write_asset
from pipelines.training.specs import DirectionsSpec
from pipelines.training.tasks import direction_fit as fitting
from pipelines.training.tasks.direction_card import Bench, bench_of, facts, manner_of, measure, measuring_chain
from pipelines.training.tasks.direction_recipes import RECIPES, recipe_vector
from pipelines.types import Generator
from pipelines.weights import assets
from pipelines.weights.store import WeightStore

NUM_WS = 18  # rows of mobile-ffhq
# Of mouth_open, that a smile takes along: on photos the mouth of one that is taken away would open (decision 0110).
LIPS = 0.24
# The same, where a smile is taken away: its mouth closes (decision 0122).
BELOW = {"smile": {"mouth_open": 0.7}}
# What is held for each face by itself where the other is taken away: who gets younger stays a man or a woman (decision 0135).
HOLDS = {"age": {"gender": 0.6}}
SURE = 2.0  # raw units of a held attribute's meter, at which a code says clearly which side a face is on
DESCRIPTIONS = {
    "smile": "mouth corners up and apart",
    "mouth_open": "inner lips apart",
    "eyes_open": "eyelids apart",
    "yaw": "head turns sideways",
    "pitch": "head tilts up or down",
    "age": "older, in years of the age network",
    "gender": "towards male, in logits of the gender network; a unit is about 0.7 of it",
}


UNITS = {"age": "years", "yaw": "degrees", "pitch": "degrees", "gender": "logits", "glasses": "logits"} | dict.fromkeys(
    ("smile", "mouth_open", "eyes_open", "brows_up", "face_width"), "eye distances"
)
COLOUR = "CIELAB"


@dataclass(frozen=True)
class Made:
    """A direction before it is calibrated: `vector` 512; `moves`: the attribute that it is for; `longest` 0: its unit is right
    already."""

    vector: Tensor
    rows: tuple[int, int]
    what: str
    unit: str
    way: str = ""
    region: str = ""
    moves: str = ""
    longest: float = 0.0

    def direction(self, name: str) -> Direction:
        """In its rows."""
        placed = torch.zeros(NUM_WS, 512)
        placed[self.rows[0] : self.rows[1] + 1] = self.vector
        return Direction(name, placed, self.unit, "ganinv", self.way, self.region)


def train(spec: DirectionsSpec, store: WeightStore, report: Report) -> Path:
    """Fit, calibrate and measure the directions of every attribute; goes on from the faces that were measured before. With
    `spec.measure` only those files' directions are measured."""
    if spec.measure:
        return measure(spec, store, report)
    parts = Parts(store, torch.device("cpu"))
    generator = generators.get("mobile-ffhq").build(parts)
    finder = DlibFinder(store.path("landmarks-68"))
    gender = DlibGender(store.path("gender-dlib"))
    years, glasses = load_years(store.tensors(YEARS_ASSET)), load_glasses(store.tensors(GLASSES_ASSET))
    meter = AttributeMeter(finder, gender, years, glasses)
    everything = _sample(generator, meter, spec, report)
    if spec.keep:
        made = _kept()
    else:
        sample = fitting.Sample(everything.w, everything.values[:, : len(ATTRIBUTES)])
        fits = _fit(generator, meter, _describer(parts, finder), sample, spec, report)
        made = {name: _made(name, torch.from_numpy(fit.vector).float(), fit.layers) for name, fit in fits.items()}
        smile = made["smile"]
        made["smile"] = replace(smile, vector=smile.vector + LIPS * made["mouth_open"].vector)
    made |= _recipes(generator, everything)
    tensors, card = _calibrated(made, everything, spec, store, report, _readings(generator, everything))
    return write_asset(spec.output, ASSET, tensors, card)


def _made(name: str, vector: Tensor, rows: tuple[int, int]) -> Made:
    return Made(vector, rows, DESCRIPTIONS[name], UNITS.get(name, ""))


def _kept() -> dict[str, Made]:
    """The shipped directions that no recipe makes."""
    tensors = assets.load_safetensors(assets.packed_path(f"{ASSET}.safetensors"))
    known = {each.name: each for each in list_directions() if each.name in DESCRIPTIONS}
    return {name: _made(name, tensors[name].float(), each.layers) for name, each in known.items()}


def _recipes(generator: Generator, sample: fitting.Sample) -> dict[str, Made]:
    whiten = generator.w_whiten.numpy()
    b, _ = fitting.gradients(sample, generator.w_avg.numpy(), whiten)
    made = {}
    for name, each in RECIPES.items():
        vector = torch.from_numpy(recipe_vector(each, b, MEASURED, whiten)).float()
        unit = UNITS.get(each.moves, COLOUR)
        made[name] = Made(vector, each.rows, each.what, unit, each.way, each.region, each.moves, each.longest)
    return made


def _readings(generator: Generator, sample: fitting.Sample) -> dict[str, tuple[Tensor, float]]:
    """How codes are read for what is held: attribute -> 512 numbers and an offset (`direction_set.Hold`)."""
    b, _ = fitting.gradients(sample, generator.w_avg.numpy(), generator.w_whiten.numpy())
    found = {}
    for name in {other for others in HOLDS.values() for other in others}:
        k = MEASURED.index(name)
        values = sample.values[:, k]
        look = generator.w_whiten.cpu().double() @ torch.from_numpy(b[k]) * (values.std() / SURE)
        offset = values.mean() / SURE - float(generator.w_avg.cpu().double() @ look)
        found[name] = look.float(), round(float(offset), 5)
    return found


def _calibrated(
    made: Mapping[str, Made],
    sample: fitting.Sample,
    spec: DirectionsSpec,
    store: WeightStore,
    report: Report,
    readings: Mapping[str, tuple[Tensor, float]],
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The vectors in their units, how codes are read, and the card: all measured on composed pictures."""
    means, stds = sample.values.mean(0), sample.values.std(0)
    scales = dict(zip(MEASURED, stds.tolist(), strict=True))
    placed = with_below([each.direction(name) for name, each in made.items()], BELOW)
    placed = with_holds(placed, HOLDS, readings)
    chain = measuring_chain(store, directions=DirectionSet(placed))
    bench = bench_of(chain, store, spec, scales)
    tensors, cards = {reading(name): look for name, (look, _) in readings.items()}, {}
    for direction in sorted(placed, key=lambda direction: not made[direction.name].longest):  # the uncertain ones first
        each = made[direction.name]
        unit, found = _measured(bench, direction, each, spec)
        tensors[direction.name] = each.vector * unit
        std = round(scales[found["moves"]], 5)
        about = {"description": each.what, "unit": each.unit, "std": std}
        cards[direction.name] = about | found | manner_of(chain, direction.name)
        if direction.name in BELOW:
            cards[direction.name]["below"] = BELOW[direction.name]
        if direction.name in HOLDS:
            cards[direction.name]["holds"] = HOLDS[direction.name]
        report({"attribute": direction.name, **cards[direction.name]})
    measures = {
        name: [round(float(m), 5), round(float(s), 5)] for name, m, s in zip(MEASURED, means, stds, strict=True)
    }
    offsets = {name: offset for name, (_, offset) in readings.items()}
    return tensors, _card({name: cards[name] for name in made}, measures, offsets, len(sample.w), spec)


def _measured(bench: Bench, direction: Direction, made: Made, spec: DirectionsSpec) -> tuple[float, dict[str, Any]]:
    """The unit and the facts of one direction; kept in the run's folder, so that a second run goes on from there."""
    kept = spec.output / f"card-{direction.name}.json"
    mark = f"{direction.digest} {spec.bench} {spec.photos}"
    if kept.exists() and (old := json.loads(kept.read_bytes()))["of"] == mark:
        return old["unit"], old["facts"]
    unit = _unit(bench, direction, made) if made.longest else 1.0
    found = facts(bench, direction, unit, made.moves)
    write_atomic(kept, json.dumps({"of": mark, "unit": unit, "facts": found}).encode())
    return unit, found


def _unit(bench: Bench, direction: Direction, made: Made) -> float:
    """How much of the plain step moves one deviation, as a mean over -2 to +2."""
    ends = [bench.at(direction.name, strength).mean(made.moves) for strength in (-2.0, 2.0)]
    slope = (ends[1] - ends[0]) / 4
    return min(made.longest, 1 / slope) if slope > 1 / made.longest else made.longest


def _sample(generator: Generator, meter: AttributeMeter, spec: DirectionsSpec, report: Report) -> fitting.Sample:
    kept = spec.output / f"faces-{spec.faces}-{spec.seed}.npz"
    if kept.exists():
        data = np.load(kept)
        return fitting.Sample(data["w"], data["values"])
    sample = fitting.draw(generator, meter, MEASURED, spec.faces, spec.seed, report)
    spec.output.mkdir(parents=True, exist_ok=True)
    np.savez(kept, w=sample.w, values=sample.values)
    return sample


def _describer(parts: Parts, finder: DlibFinder) -> fitting.Describe:
    likeness = parts.likeness()

    def describe(images: Tensor) -> Tensor:
        found = torch.from_numpy(np.stack([locate(image, finder) for image in to_uint8(images)])).float()
        seen = torch.isfinite(found).all(dim=2).all(dim=1)
        described = torch.full((len(images), 128), float("nan"))  # where an edit left no face to be found
        if seen.any():
            described[seen] = likeness.identity(likeness.chips(images[seen], found[seen]))
        return described

    return describe


def _fit(
    generator: Any,
    meter: AttributeMeter,
    describe: fitting.Describe,
    sample: fitting.Sample,
    spec: DirectionsSpec,
    report: Report,
) -> dict[str, fitting.Fit]:
    std = sample.values.std(0)
    whiten = generator.w_whiten.numpy()
    b, scores = fitting.gradients(sample, generator.w_avg.numpy(), whiten)
    report({"r2": dict(zip(ATTRIBUTES, np.round(scores, 3).tolist(), strict=True))})
    vectors = fitting.steps_from(b, whiten)
    rng = torch.Generator().manual_seed(spec.seed + 1000)
    codes = generator.map(torch.randn(spec.bench, 512, generator=rng))
    bench = fitting.Bench(generator, meter, describe, ATTRIBUTES, std, codes)
    spans = []
    for k, name in enumerate(ATTRIBUTES):
        spans.append(fitting.choose_layers(bench, vectors[k], k, max(8, spec.bench // 3)))
        report({"attribute": name, "layers": spans[-1]})
    for _ in range(2):
        vectors = fitting.calibrate(bench, vectors, spans, spec.bench)
    fits = {}
    for k, name in enumerate(ATTRIBUTES):
        fits[name] = fitting.describe_fit(bench, vectors[k], spans[k], k, spec.bench)
        report({"attribute": name, "curve": fits[name].curve, "leakage": fits[name].leakage, "id": fits[name].identity})
    return fits


def _card(
    cards: Mapping[str, Any],
    measures: Mapping[str, list[float]],
    readings: Mapping[str, float],
    faces: int,
    spec: DirectionsSpec,
) -> dict[str, Any]:
    photos, keep = " --photos FOLDER" if spec.photos else "", " --keep" if spec.keep else ""
    return {
        "name": ASSET,
        "what": "directions in W of mobile-ffhq, one attribute each; +1 = about one standard deviation of the attribute",
        "data": f"{faces} generated faces; measured, composed, on {spec.bench} {'photos' if spec.photos else 'others'}",
        "command": f"ganinv train directions --faces {spec.faces} --bench {spec.bench} --seed {spec.seed}{photos}{keep}",
        "licence": LICENCE,
        "measures": dict(measures),
        "readings": dict(readings),
        "directions": dict(cards),
    }
