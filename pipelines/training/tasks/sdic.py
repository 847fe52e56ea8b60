"""What a compensator learns: photos come back through their codes, and pasted detail stays through an edit.

SDIC (Zhang et al., arXiv 2312.07079) trains on inversions alone; the pairs are ours (`pipelines.training.data.edit_pairs`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from pipelines.errors import UsageError
from pipelines.metrics.background import outside_face
from pipelines.models.perceptual.likeness import Likeness, Weights
from pipelines.models.sdic.lean import LeanSDIC, lean_for
from pipelines.stages.compensate.sdic import POINT, base_view
from pipelines.stages.edit.direction_set import DirectionSet
from pipelines.stages.edit.directions import own_directions
from pipelines.stages.embed.encoder import EncoderEmbedder, EncoderNetwork
from pipelines.stages.entry import embedders
from pipelines.training.bf16 import HalfGenerator
from pipelines.training.data.edit_pairs import draw_edit_pairs
from pipelines.training.data.photos import FacePhotos
from pipelines.training.loop import Loop, chances
from pipelines.training.losses.sdic import EditTarget, MoveTarget, SDICBatch, SDICWeights, View, picture, sdic_step
from pipelines.training.run import Report
from pipelines.training.specs import SDICSpec
from pipelines.training.workplace import Workplace, start_from
from pipelines.types import Generator, Inversion
from pipelines.weights.store import WeightStore

MOVES = ("smile", "age")  # edits of photos that `moves` looks at
VALIDATION = Weights(perceptual=0.8, pixel=1.0, identity=0.1, size=256)


def train(spec: SDICSpec, store: WeightStore, report: Report) -> Path:
    """Train a lean compensator for an encoder's codes; goes on where it stopped."""
    place = Workplace(spec, store)
    generator = place.generator
    encoder = embedders.get(spec.encoder).build(place.parts, generator)
    if not isinstance(encoder, EncoderEmbedder):
        raise UsageError(f"'{spec.encoder}' is no trained encoder; a compensator is trained on an encoder's codes")
    seen = cast(Generator, HalfGenerator(generator)) if spec.half else generator
    directions = DirectionSet(own_directions(generator.num_ws))
    likeness, landmarks = place.parts.likeness(), place.mean_landmarks()
    task = SDICTask(
        spec, seen, encoder.network, likeness, directions, place.photos, landmarks, place.device, place.ranks
    )
    Loop(spec, _network(spec, generator), task, place.accelerator, report, place.digest).run()
    what = f"lean SDIC compensator of {spec.generator} for the codes of '{spec.encoder}'"
    data = f"{len(place.photos.train)} real aligned faces, and generated pairs with pasted detail"
    return place.write_best(f"sdic-{spec.generator}", what, data)


def _network(spec: SDICSpec, generator: Generator) -> LeanSDIC:
    network = lean_for(
        generator, seed=spec.seed, discrepancy=spec.discrepancy, latent=spec.latent, feature=spec.feature
    )
    start_from(network, spec.init)
    return network


class SDICTask:
    """See `pipelines.training.loop.Task`; the network is a `LeanSDIC`.

    Args:
        generator: frozen; `directions` belong to it.
        encoder: frozen: n x 3 x 256 x 256 -> codes.
        landmarks: 68 x 2 mean landmarks of aligned faces, in shares of the side.
    """

    def __init__(
        self,
        spec: SDICSpec,
        generator: Generator,
        encoder: EncoderNetwork,
        likeness: Likeness,
        directions: DirectionSet,
        photos: FacePhotos,
        landmarks: Tensor,
        device: torch.device,
        ranks: tuple[int, int] = (0, 1),
        held_out: int = 32,
    ) -> None:
        self.spec, self.generator, self.encoder, self.likeness = spec, generator, encoder, likeness
        self.directions, self.photos, self.device, self.ranks = directions, photos, device, ranks
        self.landmarks = landmarks.to(device)
        self.inside = torch.from_numpy(~outside_face(landmarks.cpu().numpy(), 64)).float()[None, None].to(device)
        self.validation = photos.validation(held_out).to(device)

    def state(self) -> dict[str, Any]:
        return {}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Nothing outside the network changes."""

    def terms(self, network: nn.Module, step: int) -> dict[str, Tensor]:
        """The losses of one batch: photos, or every `pairs_every`-th time generated pairs."""
        spec = self.spec
        view = self._view(step)
        image = Weights(spec.perceptual, spec.pixel, spec.identity, 128 if view == "sketch" else 256)
        weights = SDICWeights(image=image, compensation=spec.compensation, moves=spec.moves)
        terms = sdic_step(network, self.generator, self.likeness, self._faces(step), weights, view, spec.half)
        terms.pop("total")
        return terms

    def validate(self, network: nn.Module) -> tuple[dict[str, float], tuple[Tensor, ...]]:
        """Pixel, perceptual and identity terms of held-out photos, in the full picture.

        Not through the cheap head: what training takes out of its error on half of the steps, the head still shows, and by it
        the longest trained weights look worst (docs/decisions/0013).
        """
        sums: dict[str, float] = {}
        rows: tuple[Tensor, ...] = ()
        for start in range(0, len(self.validation), 4):
            faces = self.validation[start : start + 4]
            base, made = self._compensated(network, faces)
            rows = rows or (faces, base, made)
            landmarks = self.landmarks.expand(len(faces), -1, -1)
            target = self.likeness.target(faces, landmarks, VALIDATION)
            for name, value in self.likeness(made, target, VALIDATION).items():
                sums[name] = sums.get(name, 0.0) + float(value.sum()) / len(self.validation)
        return sums, rows

    def _compensated(self, network: nn.Module, faces: Tensor) -> tuple[Tensor, Tensor]:
        codes = self.encoder(faces)
        base, features = base_view(self.generator, Inversion(codes))
        found = network(faces, base, features[POINT], codes)
        return base, picture(self.generator, found.latents, found.feature, "full")

    def _view(self, step: int) -> View:
        spec = self.spec
        view = "head" if step >= spec.steps - spec.fine else spec.view
        corrected = view == "head" and spec.corrected_every and step % spec.corrected_every == 0
        return "corrected" if corrected else view

    @torch.no_grad()
    def _faces(self, step: int) -> SDICBatch:
        spec, (rank, ranks) = self.spec, self.ranks
        count, place = max(1, spec.batch // ranks), step * ranks + rank
        if spec.pairs_every and step % spec.pairs_every == spec.pairs_every - 1:
            seeds = [(spec.seed * 1_000_003 + place) * 64 + i for i in range(count)]
            pairs = draw_edit_pairs(self.generator, self.directions, seeds)
            return SDICBatch(pairs.source, pairs.codes, edit=EditTarget(pairs.edited, pairs.target))
        photos = self.photos.batch(place, count, spec.seed).to(self.device)
        codes = self.encoder(photos)
        return SDICBatch(photos, codes, self.landmarks.expand(count, -1, -1), move=self._move(codes, place))

    def _move(self, codes: Tensor, place: int) -> MoveTarget | None:
        """One edit for the whole batch, of a strength between 1 and 2, either way."""
        spec = self.spec
        if not spec.moves or place % spec.moves_every:
            return None
        kind, strength = torch.rand(2, generator=chances(spec.seed, place, -2)).tolist()
        name = MOVES[int(kind * len(MOVES))]
        signed = (1.0 + abs(2 * strength - 1)) * (1 if strength > 0.5 else -1)
        return MoveTarget(self.directions.apply(codes, [(name, signed)]), self.inside)
