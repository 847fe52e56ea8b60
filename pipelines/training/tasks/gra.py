"""What gradual residuals learn: photos come back through their codes, and residuals follow edits.

Photos train the reconstruction stream, as `pipelines.training.tasks.sdic` does; feature pairs and artificial misalignment
train the aligners (Li et al., arXiv 2402.14398, name the latter; the former are ours). No weight belongs to both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from pipelines.errors import UsageError
from pipelines.images.pixels import resize_area
from pipelines.models.gra.align import Source
from pipelines.models.gra.network import POINTS, GRANetwork, gra_for, take_sdic
from pipelines.models.perceptual.likeness import Likeness, Weights
from pipelines.stages.compensate import sdic
from pipelines.stages.compensate.gra import reconstruct
from pipelines.stages.compensate.sdic import base_view
from pipelines.stages.edit.direction_set import DirectionSet
from pipelines.stages.edit.directions import own_directions
from pipelines.stages.embed.encoder import EncoderEmbedder, EncoderNetwork
from pipelines.stages.entry import embedders
from pipelines.stages.render import PREVIEW
from pipelines.training.bf16 import HalfGenerator
from pipelines.training.data.edit_pairs import draw_pair
from pipelines.training.data.feature_pairs import SETTINGS, FeaturePairs, draw_feature_pairs
from pipelines.training.data.photos import FacePhotos
from pipelines.training.edit_specs import GRASpec
from pipelines.training.loop import Loop, chances
from pipelines.training.losses.gra import align_errors, aligned_pairs, misaligned_terms
from pipelines.training.losses.sdic import picture
from pipelines.training.run import Report
from pipelines.training.workplace import CHOSEN, Workplace, start_from
from pipelines.types import Generator, Inversion, Point
from pipelines.weights.store import WeightStore

VALIDATION = Weights(perceptual=0.8, pixel=1.0, identity=0.1, size=256)
HELD_OUT_PAIRS = 24
TOP = POINTS[-1]
APART = 1 << 40  # seeds of held-out pairs
# What of the reconstruction each choice trains, by the beginnings of names.
LEARN = {"all": ("",), "heads": ("residual.",), "coarse": ("residual.16.", "residual.32.")}


def train(spec: GRASpec, store: WeightStore, report: Report) -> Path:
    """Train a GRA for an encoder's codes; goes on where it stopped."""
    place = Workplace(spec, store)
    if place.ranks[1] > 1:
        raise UsageError("ganinv train gra runs on one device: start it without accelerate launch")
    generator = place.generator
    encoder = embedders.get(spec.encoder).build(place.parts, generator)
    if not isinstance(encoder, EncoderEmbedder):
        raise UsageError(f"'{spec.encoder}' is no trained encoder; a compensator is trained on an encoder's codes")
    directions = DirectionSet(own_directions(generator.num_ws))
    task = GRATask(
        spec,
        generator,
        encoder.network,
        place.parts.likeness(),
        directions,
        place.photos,
        place.mean_landmarks(),
        place.device,
    )
    Loop(spec, beginning(spec, generator, store), task, place.accelerator, report, place.digest).run()
    what = f"gradual residuals and their alignment for {spec.generator} and the codes of '{spec.encoder}'"
    data = f"{len(place.photos.train)} real aligned faces, and generated pairs in feature space"
    pairs = "of the aligners' errors on held-out feature pairs"
    chosen = {0: CHOSEN, 1: f"least sum {pairs}"}.get(spec.pairs_every, f"{CHOSEN}, and {pairs}")
    return place.write_best(f"gra-{spec.generator}", what, data, chosen)


def beginning(spec: GRASpec, generator: Generator, store: WeightStore) -> GRANetwork:
    """The network that a run of `spec` begins with, and what of it learns."""
    network = gra_for(generator, spec.seed, spec.confident, spec.attentive)
    if spec.sdic:
        take_sdic(network, store.tensors(sdic.ASSET))
    start_from(network, spec.init)
    if spec.aligners:
        other = gra_for(generator, spec.seed)
        start_from(other, spec.aligners)
        network.align.load_state_dict(other.align.state_dict())
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name.startswith((*LEARN[spec.learn], "align.")))
    return network.train()


class GRATask:
    """See `pipelines.training.loop.Task`; the network is a `GRANetwork`.

    Args:
        generator: frozen; `directions` belong to it.
        encoder: frozen: n x 3 x 256 x 256 -> codes.
        landmarks: 68 x 2 mean landmarks of aligned faces, in shares of the side.
        held_out: photos of a validation.
    """

    def __init__(
        self,
        spec: GRASpec,
        generator: Generator,
        encoder: EncoderNetwork,
        likeness: Likeness,
        directions: DirectionSet,
        photos: FacePhotos,
        landmarks: Tensor,
        device: torch.device,
        held_out: int = 32,
    ) -> None:
        self.spec, self.generator, self.encoder, self.likeness = spec, generator, encoder, likeness
        self.seen = cast(Generator, HalfGenerator(generator)) if spec.half else generator
        self.directions, self.photos, self.device = directions, photos, device
        self.landmarks = landmarks.to(device)
        self.held_out = held_out

    def state(self) -> dict[str, Any]:
        return {}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Nothing outside the network changes."""

    def terms(self, network: nn.Module, step: int) -> dict[str, Tensor]:
        """The losses of one batch: feature pairs every `pairs_every`-th time, photos else."""
        spec = self.spec
        network = cast(GRANetwork, network)
        network.active = self._active(step)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=spec.half):
            if spec.pairs_every and step % spec.pairs_every == spec.pairs_every - 1:
                first = spec.seed * 1_000_003 + step * spec.pairs
                return self._pair_terms(network, self._pairs(first, spec.pairs))
            if spec.exact_every and step % spec.exact_every == 0:
                first = spec.seed * 1_000_003 + step * spec.batch
                return self._exact_terms(network, range(first, first + spec.batch))
            return self._photo_terms(network, step)

    def _active(self, step: int) -> tuple[Point, ...]:
        if self.spec.stages == "last":
            return POINTS[-1:]
        if not self.spec.staged:
            return POINTS
        done = step / self.spec.steps
        return POINTS[: 1 if done < 0.1 else 2 if done < 0.25 else 3]

    def _pairs(self, first: int, count: int) -> FeaturePairs:
        with torch.autocast(self.device.type, enabled=False):
            points = POINTS[-1:] if self.spec.stages == "last" else POINTS
            return draw_feature_pairs(self.generator, self.directions, range(first, first + count), points)

    def _pair_terms(self, network: GRANetwork, pairs: FeaturePairs) -> dict[str, Tensor]:
        """Errors of the aligned residuals, and where asked for what the last one does to the picture."""
        found, targets = aligned_pairs(network, pairs)
        terms = align_errors(found, targets)
        if self.spec.pictures:
            evening, feature = network.evening(TOP), pairs.after[TOP]
            made = picture(self.seen, pairs.edited, feature + evening.back(found[TOP].residual), "head")
            with torch.no_grad():
                wanted = picture(self.seen, pairs.edited, feature + evening.back(targets[TOP]), "head").clamp(-1, 1)
            weights = Weights(self.spec.perceptual, self.spec.pixel, 0.0, 256)
            seen = self._image_terms(made, wanted, weights)
            terms |= {name: self.spec.pictures * values.mean() for name, values in seen.items()}
        return terms

    def _photo_terms(self, network: GRANetwork, step: int) -> dict[str, Tensor]:
        spec = self.spec
        faces = self.photos.batch(step, spec.batch, spec.seed).to(self.device)
        sources, codes, fused = self._reconstructed(network, self.seen, faces)
        corrected = spec.corrected_every and step % spec.corrected_every == 0
        made = picture(self.seen, codes, fused, "corrected" if corrected else "head")
        terms = self._image_terms(made, faces, Weights(spec.perceptual, spec.pixel, spec.identity, 256))
        terms = {name: values.mean() for name, values in terms.items()}
        size = torch.stack([source.residual.square().mean() for source in sources.values()]).sum()
        terms["small"] = spec.small * size
        if spec.misaligned_every and step % spec.misaligned_every == 0:
            terms |= misaligned_terms(network, sources, chances(spec.seed, step, -2))
        return terms

    def _exact_terms(self, network: GRANetwork, seeds: Sequence[int]) -> dict[str, Tensor]:
        """Mean absolute error of each stage's residual for generated faces, in deviations."""
        with torch.no_grad(), torch.autocast(self.device.type, enabled=False):
            codes = torch.stack([draw_pair(self.generator, seed, SETTINGS).w for seed in seeds])
            faces = resize_area(self.generator.preview(codes).image, PREVIEW).clamp(-1, 1)
            wanted = self.generator.features(codes, POINTS)
        sources, _, _ = self._reconstructed(network, self.generator, faces)
        return {
            f"exact{point}": (source.feature + source.residual - network.evening(point)(wanted[point])).abs().mean()
            for point, source in sources.items()
        }

    def _reconstructed(
        self, network: GRANetwork, generator: Generator, faces: Tensor
    ) -> tuple[dict[Point, Source], Tensor, Tensor]:
        """Sources, changed codes and the corrected feature of faces n x 3 x 256 x 256."""
        with torch.no_grad(), torch.autocast(self.device.type, enabled=False):
            codes = self.encoder(faces)
            base, _ = base_view(generator, Inversion(codes))
        pyramid = network.look(faces, base)
        sources, fused = reconstruct(network, generator, codes, pyramid, {})
        return sources, codes + network.change(pyramid, codes), fused

    def _image_terms(self, made: Tensor, faces: Tensor, weights: Weights) -> Mapping[str, Tensor]:
        with torch.autocast(self.device.type, enabled=False):
            landmarks = self.landmarks.expand(len(faces), -1, -1)
            target = self.likeness.target(faces, landmarks, weights)
            terms: Mapping[str, Tensor] = self.likeness(made.float(), target, weights)
        return terms

    def validate(self, network: nn.Module) -> tuple[dict[str, float], tuple[Tensor, ...]]:
        """Image terms of held-out photos in the full picture, and errors of held-out pairs; each where it is trained."""
        network = cast(GRANetwork, network)
        sums: dict[str, float] = {}
        rows: tuple[Tensor, ...] = ()
        if self.spec.pairs_every != 1:
            sums, rows = self._validate_photos(network)
        if self.spec.pairs_every:
            for first in range(APART, APART + HELD_OUT_PAIRS, 4):
                for name, value in self._pair_terms(network, self._pairs(first, 4)).items():
                    sums[name] = sums.get(name, 0.0) + float(value) * 4 / HELD_OUT_PAIRS
        return sums, rows or (self.photos.validation(1),)

    def _validate_photos(self, network: GRANetwork) -> tuple[dict[str, float], tuple[Tensor, ...]]:
        sums: dict[str, float] = {}
        rows: tuple[Tensor, ...] = ()
        photos = self.photos.validation(self.held_out).to(self.device)
        for start in range(0, len(photos), 4):
            faces = photos[start : start + 4]
            _, codes, fused = self._reconstructed(network, self.generator, faces)
            made = picture(self.generator, codes, fused, "full")
            rows = rows or (faces, made)
            for name, value in self._image_terms(made, faces, VALIDATION).items():
                sums[name] = sums.get(name, 0.0) + float(value.sum()) / len(photos)
        return sums, rows
