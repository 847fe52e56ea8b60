"""What an encoder learns: photos judged by their pictures, generated faces also by their codes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pipelines.errors import UsageError
from pipelines.models.encoders.compact import CompactEncoder
from pipelines.models.encoders.e4e import Encoder4Editing
from pipelines.models.encoders.latent_discriminator import LatentDiscriminator
from pipelines.training.data.augment import degrade
from pipelines.training.data.edit_pairs import draw_codes
from pipelines.training.data.photos import FacePhotos
from pipelines.training.loop import Loop, chances
from pipelines.training.losses.encoder import LossNetworks, code_terms, image_terms, supervised_term
from pipelines.training.losses.latent import discriminator_loss, r1
from pipelines.training.losses.latent_pool import LatentPool
from pipelines.training.losses.view import make_view
from pipelines.training.recipes import Moment, recipes
from pipelines.training.run import Report
from pipelines.training.specs import EncoderSpec
from pipelines.training.workplace import Workplace, start_from
from pipelines.types import Generator
from pipelines.weights.store import WeightStore
from pipelines.weights.style_centres import cached_centre

R1_GAMMA, R1_EVERY = 10.0, 16
POOL = 50
VALIDATION = {"pixel": 1.0, "perceptual": 0.8, "identity": 0.1}


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


def train(spec: EncoderSpec, store: WeightStore, report: Report) -> Path:
    """Train an encoder on photos of aligned faces and on generated faces; goes on where it stopped."""
    recipes.get(spec.recipe)
    if spec.network not in NETWORKS:
        raise UsageError(f"unknown network '{spec.network}'; known: {', '.join(NETWORKS)}")
    place = Workplace(spec, store)
    torch.manual_seed(spec.seed)
    network = NETWORKS[spec.network](store, place.generator).to(place.device)
    start_from(network, spec.init)
    task = EncoderTask(spec, place.generator, _networks(spec, place), place.photos, place.device, place.ranks)
    Loop(spec, network, task, place.accelerator, report, place.digest).run()
    what = f"{spec.network} encoder of {spec.generator}, recipe {spec.recipe}: a 256 px face -> W+"
    data = f"{len(place.photos.train)} real aligned faces and generated ones"
    return place.write_best(f"encoder-{spec.generator}-{spec.recipe}", what, data)


def _networks(spec: EncoderSpec, place: Workplace) -> LossNetworks:
    weights = {**recipes.get(spec.recipe).weights, **spec.weights}
    centres = place.parts.store.config.home / "centres"
    centre = cached_centre(place.generator, centres) if weights["aligned"] else None
    view = make_view(place.generator, spec.view, spec.half)
    return LossNetworks(view, place.parts.likeness(), place.mean_landmarks(), centre)


class EncoderTask:
    """See `pipelines.training.loop.Task`; the network has an attribute `stage`.

    Args:
        networks: frozen networks, on the device.
        ranks: (this process, number of processes).
        held_out: photos in a validation.
    """

    def __init__(
        self,
        spec: EncoderSpec,
        generator: Generator,
        networks: LossNetworks,
        photos: FacePhotos,
        device: torch.device,
        ranks: tuple[int, int] = (0, 1),
        held_out: int = 48,
    ) -> None:
        self.spec, self.generator, self.networks, self.photos = spec, generator, networks, photos
        self.device, self.ranks = device, ranks
        self.recipe = recipes.get(spec.recipe)
        torch.manual_seed(spec.seed)
        self.discriminator = LatentDiscriminator(generator.w_avg.numel()).to(device)
        self.optimiser = torch.optim.Adam(self.discriminator.parameters(), lr=2e-5)
        self.pools = {name: LatentPool(POOL, spec.seed + i) for i, name in enumerate(("real", "fake"))}
        self.validation = photos.validation(held_out).to(device)

    def state(self) -> dict[str, Any]:
        return {
            "discriminator": dict(self.discriminator.state_dict()),
            "optimiser": self.optimiser.state_dict(),
            "pools": {name: pool.state_dict() for name, pool in self.pools.items()},
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        self.discriminator.load_state_dict(state["discriminator"])
        self.optimiser.load_state_dict(state["optimiser"])
        for name, pool in self.pools.items():
            pool.load_state_dict(state["pools"][name])

    def terms(self, network: nn.Module, step: int) -> dict[str, Tensor]:
        """The recipe's terms at this step; while teaching, the error of known codes alone."""
        spec, moment = self.spec, self._moment(step)
        getattr(network, "module", network).stage = moment.stage
        images, targets, true = self._faces(step)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=spec.half):
            codes = network(images).float()
        terms: dict[str, Tensor] = {}
        if step >= spec.teach:
            if moment.weights["adversarial"]:
                self._teach_discriminator(codes[:, : moment.stage + 1].detach(), step)
            terms |= image_terms(self.networks, codes, targets, moment.weights)
            terms |= code_terms(self.networks, codes, moment, self.discriminator)
        if len(true):
            error = supervised_term(codes[: len(true)], true, self.generator.w_std, moment.stage)
            terms["codes"] = spec.code_weight * error
        return terms

    def validate(self, network: nn.Module) -> tuple[dict[str, float], tuple[Tensor, ...]]:
        """Pixel, perceptual and identity terms on held-out photos, weighted alike for every recipe."""
        sums = dict.fromkeys(VALIDATION, 0.0)
        codes = []
        for start in range(0, len(self.validation), 4):
            faces = self.validation[start : start + 4]
            codes.append(network(faces))
            for name, value in image_terms(self.networks, codes[-1], faces, VALIDATION).items():
                sums[name] += float(value) * len(faces) / len(self.validation)
        return sums, (self.validation[:8], self.networks.view(torch.cat(codes)[:8]))

    def _moment(self, step: int) -> Moment:
        spec, rows = self.spec, self.generator.num_ws
        steps = spec.steps - spec.teach
        place = spec.start * steps + (1 - spec.start) * max(0, step - spec.teach)
        moment = self.recipe.at(place, steps, rows)
        stage = rows - 1 if step < spec.teach else moment.stage
        return Moment(stage, {**moment.weights, **spec.weights})

    def _faces(self, step: int) -> tuple[Tensor, Tensor, Tensor]:
        """What the network sees, what its pictures should be, and the true codes of the first (generated) faces."""
        spec, (rank, ranks) = self.spec, self.ranks
        made = spec.batch if step < spec.teach else spec.synthetic
        images, targets, true = [], [], torch.zeros(0, device=self.device)
        if made:
            rng = chances(spec.seed, step, rank)
            true = torch.cat([draw_codes(self.generator, rng) for _ in range(max(1, made // ranks))])
            with torch.no_grad(), torch.autocast(self.device.type, torch.bfloat16, enabled=spec.half):
                clean = self.generator.preview(true).image.float().clamp(-1, 1)
            images, targets = [degrade(clean, rng)], [clean]
        if real := (spec.batch - made) // ranks:
            photos = self.photos.batch(step * ranks + rank, real, spec.seed).to(self.device)
            images, targets = [*images, photos], [*targets, photos]
        return torch.cat(images), torch.cat(targets), true

    def _teach_discriminator(self, rows: Tensor, step: int) -> None:
        """One step of the latent discriminator, before the encoder's (Tov et al., SIGGRAPH 2021)."""
        z = torch.randn(len(rows), rows.shape[-1], generator=chances(self.spec.seed, step, -1)).to(rows.device)
        real, fake = self.pools["real"].query(self.generator.map(z)), self.pools["fake"].query(rows)
        loss = discriminator_loss(self.discriminator(real), self.discriminator(fake))
        if step % R1_EVERY == 0:
            real = real.detach().requires_grad_()
            loss = loss + R1_GAMMA / 2 * R1_EVERY * r1(self.discriminator(real), real)
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
