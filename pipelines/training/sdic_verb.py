"""What `ganinv train sdic` does: assemble networks and data, run the loop, write the asset with its card."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

from accelerate import Accelerator

from pipelines.devices import keep_freed_memory
from pipelines.errors import UsageError
from pipelines.models.sdic.lean import LeanSDIC, lean_for
from pipelines.stages.edit.direction_set import DirectionSet
from pipelines.stages.edit.directions import own_directions
from pipelines.stages.embed.encoder import EncoderEmbedder
from pipelines.stages.entry import Parts, embedders, generators
from pipelines.training.bf16 import HalfGenerator
from pipelines.training.data.photos import FacePhotos
from pipelines.training.encoder_verb import averaged, mean_landmarks, write_best
from pipelines.training.loop import Loop, Report
from pipelines.training.sdic_settings import SDICSettings
from pipelines.training.tasks.sdic import SDICTask
from pipelines.types import Generator
from pipelines.weights.store import WeightStore


def train_sdic(
    store: WeightStore,
    out: Path,
    report: Report,
    settings: SDICSettings,
    data: Sequence[Path],
    device: str = "auto",
    every: int = 200,
    until: int | None = None,
) -> Path:
    """Train a lean compensator for an encoder's codes; goes on where it stopped. Arguments as `train_encoder`.

    Raises:
        UsageError: unusable data, other options than the run in `out` began with, an embedder that is no encoder.
        GanInvError: the loss is no number any more.
    """
    keep_freed_memory()
    photos = FacePhotos(data)
    settings = replace(settings, data=photos.digest())
    out.mkdir(parents=True, exist_ok=True)
    accelerator = Accelerator(cpu=device == "cpu")
    parts = Parts(store, accelerator.device)
    if settings.carry and accelerator.num_processes > 1:
        raise UsageError("--carry is trained outside the network's forward pass, which one process alone can do")
    generator = generators.get(settings.generator).build(parts)
    encoder = embedders.get(settings.encoder).build(parts, generator)
    if not isinstance(encoder, EncoderEmbedder):
        raise UsageError(f"'{settings.encoder}' is no trained encoder; a compensator is trained on an encoder's codes")
    network = _network(settings, generator)
    seen = cast(Generator, HalfGenerator(generator)) if settings.half else generator
    ranks = (accelerator.process_index, accelerator.num_processes)
    landmarks = mean_landmarks(photos, store, out)
    directions = DirectionSet(own_directions(generator.num_ws))
    task = SDICTask(
        settings, seen, encoder.network, parts.likeness(), directions, photos, landmarks, accelerator.device, ranks
    )
    Loop(settings, network, task, out, accelerator, report, every).run(until)
    what = f"lean SDIC compensator of {settings.generator} for the codes of '{settings.encoder}'"
    data_said = f"{len(photos.train)} real aligned faces, and generated pairs with pasted detail"
    return write_best(out, f"sdic-{settings.generator}", what, data_said, settings)


def _network(settings: SDICSettings, generator: Generator) -> LeanSDIC:
    network = lean_for(
        generator,
        seed=settings.seed,
        discrepancy=settings.discrepancy,
        latent=settings.latent,
        feature=settings.feature,
        carry=settings.carry,
    )
    if settings.init:
        start_from(network, Path(settings.init))
    return network


def start_from(network: LeanSDIC, best: Path) -> None:
    """Load another run's best weights; a carry may be learned on top of a network that had none.

    Raises:
        UsageError: there is no such checkpoint.
    """
    fresh = {key: value for key, value in network.state_dict().items() if key.startswith("carry.")}
    network.load_state_dict(fresh | averaged(best))
