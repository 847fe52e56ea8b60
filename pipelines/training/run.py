"""What `ganinv train head` and `ganinv train directions` do: assemble, fit, write an asset with its card."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor

from pipelines.errors import UsageError
from pipelines.files import write_atomic
from pipelines.images.pixels import to_uint8
from pipelines.models.faces.agegender import AgeGender
from pipelines.models.faces.attributes import ATTRIBUTES, AttributeMeter
from pipelines.models.faces.finders import DlibFinder
from pipelines.models.generators.mobile import MobileStyleGAN
from pipelines.stages.align.aligner import locate
from pipelines.stages.edit.directions import ASSET
from pipelines.stages.entry import Parts, generators
from pipelines.stages.published import PREVIEW_ASSET
from pipelines.training.tasks import directions as fitting
from pipelines.training.tasks.preview_head import PairBank, fit_head, heads, w_statistics
from pipelines.weights.formats.mobile_ir import mobile_state
from pipelines.weights.formats.openvino_ir import read_constants
from pipelines.weights.store import WeightStore

Report = Callable[[dict[str, Any]], None]

DESCRIPTIONS = {
    "smile": "mouth corners up and apart",
    "mouth_open": "inner lips apart",
    "eyes_open": "eyelids apart",
    "yaw": "head turns sideways",
    "pitch": "head tilts up or down",
    "age": "older, in years of the age network",
    "gender": "towards male, in logits of the gender network; a unit is about 0.7 of it",
}


def write_asset(folder: Path, name: str, tensors: dict[str, Tensor], card: dict[str, Any]) -> Path:
    """NAME.safetensors and NAME.json in `folder`, each written whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.safetensors"
    write_atomic(path, save({key: tensor.contiguous() for key, tensor in tensors.items()}))
    write_atomic(path.with_suffix(".json"), (json.dumps(card, indent=1) + "\n").encode())
    return path


def _bare_generator(store: WeightStore) -> MobileStyleGAN:
    """`mobile-ffhq` without its preview head and statistics of w: what the archive alone gives."""
    mapping = read_constants(store.path("mobile-ffhq-mapping-graph"), store.path("mobile-ffhq-mapping"))
    synthesis = read_constants(store.path("mobile-ffhq-graph"), store.path("mobile-ffhq"))
    generator = MobileStyleGAN()
    generator.load_state_dict(mobile_state(mapping, synthesis), strict=False)
    return generator


def train_head(
    store: WeightStore,
    out: Path,
    report: Report,
    pairs: int = 1000,
    steps: int = 2400,
    sketch_steps: int = 1400,
    seed: int = 0,
) -> Path:
    """Fit the 256 and 128 px heads of `mobile-ffhq` and the statistics of its w; resumes drawing pairs where it stopped."""
    generator = _bare_generator(store)
    statistics = w_statistics(generator, seed=seed)
    for name, value in statistics.items():
        getattr(generator, name).copy_(value)
    bank = PairBank(out / "pairs", pairs)
    bank.fill(generator, seed, report)
    figures: dict[str, dict[str, float]] = {}
    state: dict[str, Tensor] = {}
    for name, head, count in zip(("sketch", "preview"), heads(generator), (sketch_steps, steps), strict=True):
        torch.manual_seed(seed)
        figures[name] = fit_head(generator, head, bank, count, report, seed=seed)
        state |= {f"{name}_head.{k}": v.half() for k, v in head.net.state_dict().items()}
    card = {
        "name": PREVIEW_ASSET,
        "what": "256 px image head on the 128 px features of mobile-ffhq (preview), 128 px head on its 64 px features "
        "(sketch); mean, deviation and whitening matrix of its w",
        "data": f"{pairs} generated faces (no photos), half of them untruncated, 24 held out",
        "command": f"ganinv train head --pairs {pairs} --sketch-steps {sketch_steps} --steps {steps} --seed {seed}",
        "figures": figures,
        "licence": "Apache-2.0; fitted to a generator that was distilled from NVIDIA's FFHQ StyleGAN2 (non-commercial)",
    }
    return write_asset(out, PREVIEW_ASSET, state | statistics, card)


def train_directions(
    store: WeightStore, out: Path, report: Report, faces: int = 2400, bench_faces: int = 20, seed: int = 1
) -> Path:
    """Fit, calibrate and measure the directions of every attribute."""
    if faces < 600 or bench_faces < 8:
        raise UsageError("directions need --faces 600 and --bench 8 at the least")
    parts = Parts(store, torch.device("cpu"))
    generator = generators.get("mobile-ffhq").build(parts)
    finder = DlibFinder(store.path("landmarks-68"))
    meter = AttributeMeter(finder, AgeGender(store.path("age-dlib"), store.path("gender-dlib")))
    sample = _sample(generator, meter, faces, seed, out, report)
    fits, scores, std = _fit(generator, meter, _describer(parts, finder), sample, bench_faces, seed, report)
    card = _card(fits, scores, std, len(sample.w), bench_faces, faces, seed)
    tensors = {name: torch.from_numpy(fit.vector).float() for name, fit in fits.items()}
    return write_asset(out, ASSET, tensors, card)


def _sample(generator: Any, meter: Any, faces: int, seed: int, out: Path, report: Report) -> fitting.Sample:
    kept = out / f"faces-{faces}-{seed}.npz"
    if kept.exists():
        data = np.load(kept)
        return fitting.Sample(data["w"], data["values"])
    sample = fitting.draw(generator, meter, ATTRIBUTES, faces, seed, report)
    out.mkdir(parents=True, exist_ok=True)
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
    meter: Any,
    describe: fitting.Describe,
    sample: fitting.Sample,
    count: int,
    seed: int,
    report: Report,
) -> tuple[dict[str, fitting.Fit], np.ndarray, np.ndarray]:
    std = sample.values.std(0)
    whiten = generator.w_whiten.numpy()
    b, scores = fitting.gradients(sample, generator.w_avg.numpy(), whiten)
    report({"r2": dict(zip(ATTRIBUTES, np.round(scores, 3).tolist(), strict=True))})
    vectors = fitting.steps_from(b, whiten)
    rng = torch.Generator().manual_seed(seed + 1000)
    codes = generator.map(torch.randn(count, 512, generator=rng))
    bench = fitting.Bench(generator, meter, describe, ATTRIBUTES, std, codes)
    spans = []
    for k, name in enumerate(ATTRIBUTES):
        spans.append(fitting.choose_layers(bench, vectors[k], k, max(8, count // 3)))
        report({"attribute": name, "layers": spans[-1]})
    for _ in range(2):
        vectors = fitting.calibrate(bench, vectors, spans, count)
    fits = {}
    for k, name in enumerate(ATTRIBUTES):
        fits[name] = fitting.describe_fit(bench, vectors[k], spans[k], k, count)
        report({"attribute": name, "curve": fits[name].curve, "leakage": fits[name].leakage, "id": fits[name].identity})
    return fits, scores, std


def _card(
    fits: dict[str, fitting.Fit], scores: np.ndarray, std: np.ndarray, used: int, bench: int, faces: int, seed: int
) -> dict[str, Any]:
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
        "data": f"{used} generated faces (no photos); response measured on {bench} others",
        "command": f"ganinv train directions --faces {faces} --bench {bench} --seed {seed}",
        "licence": "Apache-2.0; fitted to a generator that was distilled from NVIDIA's FFHQ StyleGAN2 (non-commercial)",
        "directions": directions,
    }
