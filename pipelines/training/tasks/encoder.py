"""What an encoder learns: photos judged by their pictures, generated faces also by their codes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from pipelines.models.encoders.latent_discriminator import LatentDiscriminator
from pipelines.training.codes import draw_codes
from pipelines.training.data.augment import degrade
from pipelines.training.data.photos import FacePhotos
from pipelines.training.encoder_settings import EncoderSettings
from pipelines.training.loop import chances
from pipelines.training.losses.encoder import Judges, code_terms, image_terms, supervised_term
from pipelines.training.losses.latent import discriminator_loss, r1
from pipelines.training.losses.latent_pool import LatentPool
from pipelines.training.recipes import Moment, recipes
from pipelines.types import Generator

R1_GAMMA, R1_EVERY = 10.0, 16
POOL = 50
VALIDATION = {"pixel": 1.0, "perceptual": 0.8, "identity": 0.1}


class EncoderTask:
    """See `pipelines.training.loop.Task`; the network has an attribute `stage`.

    Args:
        judges: frozen networks, on the device.
        ranks: (this process, number of processes).
        held_out: photos in a validation.
    """

    def __init__(
        self,
        settings: EncoderSettings,
        generator: Generator,
        judges: Judges,
        photos: FacePhotos,
        device: torch.device,
        ranks: tuple[int, int] = (0, 1),
        held_out: int = 48,
    ) -> None:
        self.settings, self.generator, self.judges, self.photos = settings, generator, judges, photos
        self.device, self.ranks = device, ranks
        self.recipe = recipes.get(settings.recipe)
        torch.manual_seed(settings.seed)
        self.discriminator = LatentDiscriminator(generator.w_avg.numel()).to(device)
        self.optimiser = torch.optim.Adam(self.discriminator.parameters(), lr=2e-5)
        self.pools = {name: LatentPool(POOL, settings.seed + i) for i, name in enumerate(("real", "fake"))}
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
        settings, moment = self.settings, self._moment(step)
        getattr(network, "module", network).stage = moment.stage
        images, targets, true = self._faces(step)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=settings.half):
            codes = network(images).float()
        terms: dict[str, Tensor] = {}
        if step >= settings.teach:
            if moment.weights["adversarial"]:
                self._teach_discriminator(codes[:, : moment.stage + 1].detach(), step)
            terms |= image_terms(self.judges, codes, targets, moment.weights)
            terms |= code_terms(self.judges, codes, moment, self.discriminator)
        if len(true):
            error = supervised_term(codes[: len(true)], true, self.generator.w_std, moment.stage)
            terms["codes"] = settings.code_weight * error
        return terms

    def validate(self, network: nn.Module) -> tuple[dict[str, float], tuple[Tensor, ...]]:
        """Pixel, perceptual and identity terms on held-out photos, weighted alike for every recipe."""
        sums = dict.fromkeys(VALIDATION, 0.0)
        codes = []
        for start in range(0, len(self.validation), 4):
            faces = self.validation[start : start + 4]
            codes.append(network(faces))
            for name, value in image_terms(self.judges, codes[-1], faces, VALIDATION).items():
                sums[name] += float(value) * len(faces) / len(self.validation)
        return sums, (self.validation[:8], self.judges.view(torch.cat(codes)[:8]))

    def _moment(self, step: int) -> Moment:
        settings, rows = self.settings, self.generator.num_ws
        steps = settings.steps - settings.teach
        place = settings.start * steps + (1 - settings.start) * max(0, step - settings.teach)
        moment = self.recipe.at(place, steps, rows)
        stage = rows - 1 if step < settings.teach else moment.stage
        return Moment(stage, {**moment.weights, **settings.weights})

    def _faces(self, step: int) -> tuple[Tensor, Tensor, Tensor]:
        """What the network sees, what its pictures should be, and the true codes of the first (generated) faces."""
        settings, (rank, ranks) = self.settings, self.ranks
        made = settings.batch if step < settings.teach else settings.synthetic
        images, targets, true = [], [], torch.zeros(0, device=self.device)
        if made:
            rng = chances(settings.seed, step, rank)
            true = torch.cat([draw_codes(self.generator, rng) for _ in range(max(1, made // ranks))])
            with torch.no_grad(), torch.autocast(self.device.type, torch.bfloat16, enabled=settings.half):
                clean = self.generator.preview(true).image.float().clamp(-1, 1)
            images, targets = [degrade(clean, rng)], [clean]
        if real := (settings.batch - made) // ranks:
            photos = self.photos.batch(step * ranks + rank, real, settings.seed).to(self.device)
            images, targets = [*images, photos], [*targets, photos]
        return torch.cat(images), torch.cat(targets), true

    def _teach_discriminator(self, rows: Tensor, step: int) -> None:
        """One step of the latent discriminator, before the encoder's (Tov et al., SIGGRAPH 2021)."""
        z = torch.randn(len(rows), rows.shape[-1], generator=chances(self.settings.seed, step, -1)).to(rows.device)
        real, fake = self.pools["real"].query(self.generator.map(z)), self.pools["fake"].query(rows)
        loss = discriminator_loss(self.discriminator(real), self.discriminator(fake))
        if step % R1_EVERY == 0:
            real = real.detach().requires_grad_()
            loss = loss + R1_GAMMA / 2 * R1_EVERY * r1(self.discriminator(real), real)
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
