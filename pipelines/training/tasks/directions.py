"""`ganinv train directions`: fit, calibrate and measure, and write the vectors with their card."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipelines.images.pixels import to_uint8
from pipelines.models.faces.agegender import AgeGender
from pipelines.models.faces.attributes import ATTRIBUTES, AttributeMeter
from pipelines.models.faces.finders import DlibFinder
from pipelines.stages.align.aligner import locate
from pipelines.stages.edit.directions import ASSET
from pipelines.stages.entry import Parts, generators
from pipelines.training.run import LICENCE, Report, write_asset
from pipelines.training.specs import DirectionsSpec
from pipelines.training.tasks import direction_fit as fitting
from pipelines.training.tasks.direction_card import measure
from pipelines.types import Generator
from pipelines.weights.store import WeightStore

DESCRIPTIONS = {
    "smile": "mouth corners up and apart",
    "mouth_open": "inner lips apart",
    "eyes_open": "eyelids apart",
    "yaw": "head turns sideways",
    "pitch": "head tilts up or down",
    "age": "older, in years of the age network",
    "gender": "towards male, in logits of the gender network; a unit is about 0.7 of it",
}


def train(spec: DirectionsSpec, store: WeightStore, report: Report) -> Path:
    """Fit, calibrate and measure the directions of every attribute; goes on from the faces that were measured before. With
    `spec.measure` only those files' directions are measured."""
    if spec.measure:
        return measure(spec, store, report)
    parts = Parts(store, torch.device("cpu"))
    generator = generators.get("mobile-ffhq").build(parts)
    finder = DlibFinder(store.path("landmarks-68"))
    meter = AttributeMeter(finder, AgeGender(store.path("age-dlib"), store.path("gender-dlib")))
    sample = _sample(generator, meter, spec, report)
    fits, scores = _fit(generator, meter, _describer(parts, finder), sample, spec, report)
    tensors = {name: torch.from_numpy(fit.vector).float() for name, fit in fits.items()}
    return write_asset(spec.output, ASSET, tensors, _card(fits, scores, sample, spec))


def _sample(generator: Generator, meter: AttributeMeter, spec: DirectionsSpec, report: Report) -> fitting.Sample:
    kept = spec.output / f"faces-{spec.faces}-{spec.seed}.npz"
    if kept.exists():
        data = np.load(kept)
        return fitting.Sample(data["w"], data["values"])
    sample = fitting.draw(generator, meter, ATTRIBUTES, spec.faces, spec.seed, report)
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
) -> tuple[dict[str, fitting.Fit], np.ndarray]:
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
    return fits, scores


def _card(
    fits: dict[str, fitting.Fit], scores: np.ndarray, sample: fitting.Sample, spec: DirectionsSpec
) -> dict[str, Any]:
    std = sample.values.std(0)
    directions = {
        name: {
            "description": DESCRIPTIONS[name],
            "layers": list(fit.layers),
            "std": round(float(std[k]), 5),
            "r2": round(float(scores[k]), 3),
            "curve": fit.curve,
            "range": list(fitting.useful_range(fit.curve)),
            "leakage": fit.leakage,
            "identity_distance_at_2": fit.identity,
        }
        for k, (name, fit) in enumerate(fits.items())
    }
    return {
        "name": ASSET,
        "what": "directions in W of mobile-ffhq, one attribute each; +1 = one standard deviation of the measured attribute",
        "data": f"{len(sample.w)} generated faces (no photos); response measured on {spec.bench} others",
        "command": f"ganinv train directions --faces {spec.faces} --bench {spec.bench} --seed {spec.seed}",
        "licence": LICENCE,
        "directions": directions,
    }
