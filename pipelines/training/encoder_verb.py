"""What `ganinv train encoder` does: assemble networks and data, run the loop, write the asset with its card."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from pipelines.devices import keep_freed_memory
from pipelines.errors import UsageError
from pipelines.files import write_atomic
from pipelines.models.encoders.compact import CompactEncoder
from pipelines.models.encoders.e4e import Encoder4Editing
from pipelines.models.faces.finders import DlibFinder
from pipelines.stages.entry import Parts, generators
from pipelines.training.checkpoint import load_state
from pipelines.training.data.photos import FacePhotos, check_alignment
from pipelines.training.encoder_settings import EncoderSettings
from pipelines.training.loop import BEST, Loop, LoopSettings, Report
from pipelines.training.losses.encoder import Judges
from pipelines.training.losses.view import make_view
from pipelines.training.recipes import recipes
from pipelines.training.run import write_asset
from pipelines.training.tasks.encoder import EncoderTask
from pipelines.types import Generator
from pipelines.weights.store import WeightStore
from pipelines.weights.style_centres import cached_centre

LICENCE = "Apache-2.0; fitted to a generator that was distilled from NVIDIA's FFHQ StyleGAN2 (non-commercial)"


def _compact(store: WeightStore, generator: Generator) -> nn.Module:
    encoder = CompactEncoder(generator.num_ws)
    encoder.load_trunk(store.tensors("mobilenetv2-imagenet"))
    encoder.w_avg.copy_(generator.w_avg)
    encoder.w_std.copy_(generator.w_std)
    return encoder.to(memory_format=torch.channels_last)


def _e4e(store: WeightStore, generator: Generator) -> nn.Module:
    """The published network; its trunk starts from ArcFace's where that can be had."""
    encoder = Encoder4Editing(generator.num_ws)
    if store.have("arcface-irse50"):
        face = store.tensors("arcface-irse50")
        own = encoder.state_dict()
        encoder.load_state_dict({key: face.get(key, value) for key, value in own.items()})
    encoder.latent_avg.copy_(generator.w_avg.expand(generator.num_ws, -1))
    return encoder


NETWORKS: dict[str, Callable[[WeightStore, Generator], nn.Module]] = {"compact": _compact, "e4e": _e4e}


def train_encoder(
    store: WeightStore,
    out: Path,
    report: Report,
    settings: EncoderSettings,
    data: Sequence[Path],
    device: str = "auto",
    every: int = 200,
    until: int | None = None,
) -> Path:
    """Train an encoder on `data` (folders or tars of aligned faces) and on generated faces; goes on where it stopped.

    Args:
        settings: `settings.data` is filled in here; `settings.init` names a checkpoint or asset to start from.
        device: ``auto`` or ``cpu``; several GPUs through `accelerate launch`.
        until: stop at this step; the schedule stays that of `settings.steps`.

    Raises:
        UsageError: unusable data, other options than the run in `out` began with, an unknown name.
        GanInvError: the loss is no number any more.
    """
    recipes.get(settings.recipe)
    if settings.network not in NETWORKS:
        raise UsageError(f"unknown network '{settings.network}'; known: {', '.join(NETWORKS)}")
    keep_freed_memory()
    photos = FacePhotos(data)
    settings = replace(settings, data=photos.digest())
    out.mkdir(parents=True, exist_ok=True)
    accelerator = Accelerator(cpu=device == "cpu")
    parts = Parts(store, accelerator.device)
    generator = generators.get(settings.generator).build(parts)
    torch.manual_seed(settings.seed)
    network = NETWORKS[settings.network](store, generator).to(accelerator.device)
    if settings.init:
        network.load_state_dict(averaged(Path(settings.init)))
    judges = _judges(settings, parts, generator, photos, store, out)
    ranks = (accelerator.process_index, accelerator.num_processes)
    task = EncoderTask(settings, generator, judges, photos, accelerator.device, ranks)
    Loop(settings, network, task, out, accelerator, report, every).run(until)
    what = f"{settings.network} encoder of {settings.generator}, recipe {settings.recipe}: a 256 px face -> W+"
    data_said = f"{len(photos.train)} real aligned faces and generated ones"
    return write_best(out, f"encoder-{settings.generator}-{settings.recipe}", what, data_said, settings)


def averaged(path: Path) -> dict[str, Tensor]:
    """The averaged weights of another run's best checkpoint."""
    if not path.is_file():
        raise UsageError(f"the checkpoint '{path}' to start from does not exist; give another run's {BEST}")
    state = load_state(path)
    averaged: dict[str, Tensor] = state["averaged"] if "averaged" in state else state["network"]
    return averaged


def mean_landmarks(photos: FacePhotos, store: WeightStore, out: Path) -> Tensor:
    """Where aligned faces have their 68 points (68 x 2, shares of the side); looked at once and kept in `out`.

    Raises:
        UsageError: the photos hold no faces, or are not aligned.
    """
    kept = out / "landmarks.json"
    if not kept.exists():
        found = check_alignment(photos, DlibFinder(store.path("landmarks-68")))
        write_atomic(kept, json.dumps(found.tolist()).encode())
    return torch.tensor(json.loads(kept.read_text()))


def _judges(
    settings: EncoderSettings, parts: Parts, generator: Generator, photos: FacePhotos, store: WeightStore, out: Path
) -> Judges:
    weights = {**recipes.get(settings.recipe).weights, **settings.weights}
    centre = cached_centre(generator, store.config.home / "centres") if weights["aligned"] else None
    view = make_view(generator, settings.view, settings.half)
    return Judges(view, parts.likeness(), mean_landmarks(photos, store, out), centre)


def write_best(out: Path, name: str, what: str, data: str, settings: LoopSettings) -> Path:
    """The run's best averaged weights in half precision, as the asset `name` with its card."""
    best = load_state(out / BEST)
    card: dict[str, Any] = {
        "name": name,
        "what": what,
        "data": data,
        "settings": {key: value for key, value in vars(settings).items() if key != "init"},
        "chosen": "least sum of pixel, perceptual and identity terms on held-out real faces",
        "step": best["step"],
        "validation": best["figures"],
        "licence": LICENCE,
    }
    tensors = {key: value.half() if value.is_floating_point() else value for key, value in best["network"].items()}
    return write_asset(out, name, tensors, card)
