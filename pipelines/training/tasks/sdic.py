"""What a compensator learns: photos come back through their codes, and pasted detail stays through an edit.

SDIC (Zhang et al., arXiv 2312.07079) trains on inversions alone; the pairs are ours (`pipelines.training.data.edit_pairs`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from pipelines.metrics.background import outside_face
from pipelines.models.perceptual.likeness import Likeness, Weights
from pipelines.stages.compensate.sdic import POINT, base_view
from pipelines.stages.edit.direction_set import DirectionSet
from pipelines.stages.embed.encoder import EncoderNetwork
from pipelines.training.data.edit_pairs import draw_edit_pairs
from pipelines.training.data.photos import FacePhotos
from pipelines.training.loop import chances
from pipelines.training.losses.sdic import EditTarget, MoveTarget, SDICBatch, SDICWeights, View, picture, sdic_step
from pipelines.training.sdic_settings import SDICSettings
from pipelines.types import Generator, Inversion

MOVES = ("smile", "age")  # edits of photos that `moves` looks at
VALIDATION = Weights(perceptual=0.8, pixel=1.0, identity=0.1, size=256)


class SDICTask:
    """See `pipelines.training.loop.Task`; the network is a `LeanSDIC`.

    Args:
        generator: frozen; `directions` belong to it.
        encoder: frozen: n x 3 x 256 x 256 -> codes.
        landmarks: 68 x 2 mean landmarks of aligned faces, in shares of the side.
    """

    def __init__(
        self,
        settings: SDICSettings,
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
        self.settings, self.generator, self.encoder, self.likeness = settings, generator, encoder, likeness
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
        settings = self.settings
        view = self._view(step)
        image = Weights(settings.perceptual, settings.pixel, settings.identity, 128 if view == "sketch" else 256)
        weights = SDICWeights(image=image, compensation=settings.compensation, moves=settings.moves)
        terms = sdic_step(network, self.generator, self.likeness, self._faces(step), weights, view, settings.half)
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
        settings = self.settings
        view = "head" if step >= settings.steps - settings.fine else settings.view
        corrected = view == "head" and settings.corrected_every and step % settings.corrected_every == 0
        return "corrected" if corrected else view

    @torch.no_grad()
    def _faces(self, step: int) -> SDICBatch:
        settings, (rank, ranks) = self.settings, self.ranks
        count, place = max(1, settings.batch // ranks), step * ranks + rank
        if settings.pairs_every and step % settings.pairs_every == settings.pairs_every - 1:
            seeds = [(settings.seed * 1_000_003 + place) * 64 + i for i in range(count)]
            pairs = draw_edit_pairs(self.generator, self.directions, seeds)
            return SDICBatch(pairs.source, pairs.codes, edit=EditTarget(pairs.edited, pairs.target))
        photos = self.photos.batch(place, count, settings.seed).to(self.device)
        codes = self.encoder(photos)
        return SDICBatch(photos, codes, self.landmarks.expand(count, -1, -1), move=self._move(codes, place))

    def _move(self, codes: Tensor, place: int) -> MoveTarget | None:
        """One edit for the whole batch, of a strength between 1 and 2, either way."""
        settings = self.settings
        if not settings.moves or place % settings.moves_every:
            return None
        kind, strength = torch.rand(2, generator=chances(settings.seed, place, -2)).tolist()
        name = MOVES[int(kind * len(MOVES))]
        signed = (1.0 + abs(2 * strength - 1)) * (1 if strength > 0.5 else -1)
        return MoveTarget(self.directions.apply(codes, [(name, signed)]), self.inside)
