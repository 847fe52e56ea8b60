"""What deghosting learns: of composites whose right picture is known, which layer is to be seen where.

Diff-CAM (Song et al., arXiv 2207.08134) trains on folded ghosts of photos alone, with pixels, features and a discriminator;
generated pairs, and a term for contours, of which ghosts consist, are ours (`pipelines.training.data.ghosts`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pipelines.edits import Edit, make_edit
from pipelines.images.pixels import resize_area
from pipelines.models.diffcam.deghost import ONSET, Decision, DeghostNet, decided
from pipelines.models.diffcam.lean import POINT
from pipelines.models.generators.discriminator import Discriminator
from pipelines.models.perceptual.likeness import Likeness, Weights
from pipelines.stages.compose.activation import edit_masks, evidence
from pipelines.stages.edit.direction_set import DirectionSet
from pipelines.stages.edit.directions import own_directions
from pipelines.stages.entry import compensators, embedders
from pipelines.training.data.edit_pairs import PairSettings, draw_edit_pairs
from pipelines.training.data.ghosts import GhostBank, Ghosts
from pipelines.training.edit_specs import DeghostSpec
from pipelines.training.loop import Loop, chances
from pipelines.training.losses.ghost import contour_loss, fooling_loss, judging_losses
from pipelines.training.run import Report
from pipelines.training.workplace import Workplace, start_from
from pipelines.types import Compensator, Embedder, FaceBatch, Inversion
from pipelines.weights.store import WeightStore

HELD_OUT = 32
ADVERSARY = {4: 128, 8: 128, 16: 128, 32: 96, 64: 64, 128: 32, 256: 16}  # channels of the discriminator by size


def train(spec: DeghostSpec, store: WeightStore, report: Report) -> Path:
    """Draw the composites, then train on them; goes on where it stopped in either."""
    place = Workplace(spec, store)
    embedder = embedders.get(spec.encoder).build(place.parts, place.generator)
    compensator = compensators.get(spec.compensator).build(place.parts, place.generator)
    painter = Painter(spec, place, embedder, compensator)
    bank = GhostBank(spec.output / "pairs", spec.pairs)
    bank.fill(painter.draw, report)
    torch.manual_seed(spec.seed)
    network = DeghostNet().to(place.device)
    start_from(network, spec.init)
    task = DeghostTask(spec, bank, place.parts.likeness(), place.device, place.ranks)
    Loop(spec, network, task, place.accelerator, report, place.digest).run()
    what = f"deghosting of composites with renders of {spec.generator} by '{spec.encoder}' and '{spec.compensator}'"
    data = f"{spec.pairs} composites: of {len(place.photos.train)} real aligned faces, and of generated ones, in turn"
    chosen = "least sum of pixel, perceptual and contour terms on held-out composites"
    return place.write_best(f"deghost-{spec.generator}", what, data, chosen)


class Painter:
    """Draws composites through the very chain that edits photos."""

    def __init__(self, spec: DeghostSpec, place: Workplace, embedder: Embedder, compensator: Compensator) -> None:
        self.spec, self.generator, self.photos = spec, place.generator, place.photos
        self.embedder, self.compensator = embedder, compensator
        self.directions = DirectionSet(own_directions(place.generator.num_ws))
        for name in spec.edits:
            self.directions.get(name)  # an unknown name is found now

    @torch.no_grad()
    def draw(self, place: int) -> Ghosts:
        """The composite of this place: of a photo at even ones, else of a generated face; decided by it and the seed."""
        if place % 2:
            return self._generated(place)
        photo = self.photos.batch(place // 2, 1, self.spec.seed).to(self.generator.device)
        inversion = self.embedder.embed(FaceBatch(photo))
        name, kind, size = self._chance(place)
        edit = make_edit([(name, kind * size)])
        return self._made(photo, inversion, self.directions.apply(inversion.latents, edit.terms), photo, edit)

    def _generated(self, place: int) -> Ghosts:
        settings = PairSettings(edits=self.spec.edits, strength=self.spec.most)
        pair = draw_edit_pairs(self.generator, self.directions, [self.spec.seed * 1_000_003 + place], settings)
        return self._made(pair.source, Inversion(pair.codes), pair.edited, pair.target, make_edit(pair.terms))

    def _chance(self, place: int) -> tuple[str, int, float]:
        kind, sign, size = torch.rand(3, generator=chances(self.spec.seed, place, 1)).tolist()
        strength = self.spec.least + size * (self.spec.most - self.spec.least)
        return self.spec.edits[int(kind * len(self.spec.edits))], 1 if sign < 0.5 else -1, strength

    def _made(self, photo: Tensor, inversion: Inversion, moved: Tensor, target: Tensor, edit: Edit) -> Ghosts:
        prepared = self.compensator.prepare(FaceBatch(photo), inversion)
        base = self.compensator.render(prepared, inversion.latents, (POINT,))
        edited = self.compensator.render(prepared, moved, (POINT,))
        mask = edit_masks(evidence(None, edited.features[POINT] - base.features[POINT], edit))
        return Ghosts(photo, resize_area(base.image, 256), resize_area(edited.image, 256), target, mask)


class DeghostTask:
    """See `pipelines.training.loop.Task`; the network is a `DeghostNet`."""

    def __init__(
        self,
        spec: DeghostSpec,
        bank: GhostBank,
        likeness: Likeness,
        device: torch.device,
        ranks: tuple[int, int] = (0, 1),
    ) -> None:
        self.spec, self.bank, self.likeness, self.device, self.ranks = spec, bank, likeness, device, ranks
        self.training = bank.count - min(HELD_OUT, bank.count // 4)
        torch.manual_seed(spec.seed)
        self.adversary = Discriminator(256, ADVERSARY).to(device) if spec.adversarial else None
        self.optimiser = torch.optim.Adam(self.adversary.parameters(), 1e-4, (0.9, 0.99)) if self.adversary else None

    def state(self) -> dict[str, Any]:
        if self.adversary is None or self.optimiser is None:
            return {}
        return {"adversary": dict(self.adversary.state_dict()), "optimiser": self.optimiser.state_dict()}

    def load_state(self, state: Mapping[str, Any]) -> None:
        if self.adversary is not None and self.optimiser is not None:
            self.adversary.load_state_dict(state["adversary"])
            self.optimiser.load_state_dict(state["optimiser"])

    def terms(self, network: nn.Module, step: int) -> dict[str, Tensor]:
        """The weighted terms of one batch."""
        (rank, ranks), spec = self.ranks, self.spec
        count, place = max(1, spec.batch // ranks), step * ranks + rank
        random = np.random.default_rng((spec.seed, 3, place))
        ghosts = self.bank.batch(random.integers(0, self.training, count).tolist(), random)
        made, wanted = self._pictures(network, ghosts)
        terms = self._compared(made, wanted)
        if self.adversary is not None:
            self._teach(self.adversary, wanted, made.detach())
            terms["adversarial"] = spec.adversarial * fooling_loss(self.adversary(made))
        return terms

    def validate(self, network: nn.Module) -> tuple[dict[str, float], tuple[Tensor, ...]]:
        """Terms on held-out generated faces, whose edits are known; rows: photo, composite, result, how it ought to be."""
        places = [place for place in range(self.training, self.bank.count) if place % 2]
        sums: dict[str, float] = {}
        rows: tuple[Tensor, ...] = ()
        for start in range(0, len(places), 8):
            ghosts = self.bank.at(places[start : start + 8])
            made, wanted = self._pictures(network, ghosts)
            composite = ghosts.photo + ghosts.mask * (ghosts.edited - ghosts.photo)
            rows = rows or (ghosts.photo, composite, made.cpu(), wanted.cpu())
            for name, value in self._compared(made, wanted).items():
                sums[name] = sums.get(name, 0.0) + float(value) * len(made) / len(places)
        return sums, rows

    def _pictures(self, network: nn.Module, ghosts: Ghosts) -> tuple[Tensor, Tensor]:
        """What the network makes, and what it ought to: the target as far as the mask lets it through."""
        photo, base, edited = (x.to(self.device) for x in (ghosts.photo, ghosts.base, ghosts.edited))
        mask = ghosts.mask.to(self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.spec.half):
            found = network(photo, base, edited, mask)
        made = decided(photo, base, edited, Decision(*(x.float() for x in found)))
        gate = (mask / ONSET).clamp(max=1)
        return made, photo + gate * (ghosts.target.to(self.device) - photo)

    def _compared(self, made: Tensor, wanted: Tensor) -> dict[str, Tensor]:
        weights = Weights(self.spec.perceptual, self.spec.pixel)
        terms = self.likeness(made, self.likeness.target(wanted, None, weights), weights)
        means = {name: value.mean() for name, value in terms.items()}
        return means | {"contour": self.spec.contour * contour_loss(made, wanted)}

    def _teach(self, adversary: Discriminator, real: Tensor, fake: Tensor) -> None:
        """One step of the discriminator."""
        assert self.optimiser is not None
        loss = torch.stack(judging_losses(adversary(real), adversary(fake))).sum()
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
