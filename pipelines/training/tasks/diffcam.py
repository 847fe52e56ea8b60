"""What the mask network learns: which attribute was edited, from how the generator's feature changed.

As Diff-CAM's (Song et al., arXiv 2207.08134; specification, 7A): photos, one direction each, cross-entropy, no masks to learn
from. Ours draws strengths of either sign and knows as many classes as there are directions. A change of person is mixed into
each edit: without it any place of the feature tells any class, and the maps lie anywhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipelines.errors import UsageError
from pipelines.models.diffcam.lean import POINT, LeanDiffCAM, lean_diffcam_for
from pipelines.stages.edit.direction_set import DirectionSet
from pipelines.stages.edit.directions import own_directions
from pipelines.stages.embed.encoder import EncoderEmbedder
from pipelines.stages.entry import embedders
from pipelines.training.data.photos import FacePhotos
from pipelines.training.edit_specs import DiffCAMSpec
from pipelines.training.loop import Loop, chances
from pipelines.training.run import Report
from pipelines.training.workplace import Workplace, start_from
from pipelines.types import FaceBatch, Generator
from pipelines.weights.store import WeightStore

HELD_OUT = 64
_VALIDATION = -1  # the step whose draws validation repeats


def train(spec: DiffCAMSpec, store: WeightStore, report: Report) -> Path:
    """Train the classifier for an encoder's codes; goes on where it stopped."""
    place = Workplace(spec, store)
    encoder = embedders.get(spec.encoder).build(place.parts, place.generator)
    if not isinstance(encoder, EncoderEmbedder):
        raise UsageError(f"'{spec.encoder}' is no trained encoder; masks are trained on an encoder's codes")
    directions = DirectionSet(own_directions(place.generator.num_ws))
    classes = spec.classes or tuple(directions.names())
    for name in classes:
        directions.get(name)  # an unknown name is found now
    network = lean_diffcam_for(place.generator, classes, spec.seed)
    start_from(network, spec.init)
    task = DiffCAMTask(spec, place.generator, encoder, directions, classes, place.photos, place.ranks)
    Loop(spec, network, task, place.accelerator, report, place.digest).run()
    what = f"masks of edits with {spec.generator}: which of {', '.join(classes)} changed its 64 px feature, and where"
    data = f"codes of {len(place.photos.train)} real aligned faces by '{spec.encoder}', one random edit each time"
    chosen = "least sum of cross-entropy and share of wrong classes on held-out real faces"
    return place.write_best(f"diffcam-{spec.generator}", what, data, chosen)


class DiffCAMTask:
    """See `pipelines.training.loop.Task`; the network is a `LeanDiffCAM`.

    Args:
        generator: frozen; `directions` belong to it.
        classes: names of directions, in the network's order.
    """

    def __init__(
        self,
        spec: DiffCAMSpec,
        generator: Generator,
        encoder: EncoderEmbedder,
        directions: DirectionSet,
        classes: tuple[str, ...],
        photos: FacePhotos,
        ranks: tuple[int, int] = (0, 1),
    ) -> None:
        self.spec, self.generator, self.encoder, self.directions = spec, generator, encoder, directions
        self.classes, self.photos, self.ranks = classes, photos, ranks
        self.held_out = photos.validation(HELD_OUT)

    def state(self) -> dict[str, Any]:
        return {}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Nothing outside the network changes."""

    def terms(self, network: nn.Module, step: int) -> dict[str, Tensor]:
        """Cross-entropy of one batch."""
        rank, ranks = self.ranks
        count, place = max(1, self.spec.batch // ranks), step * ranks + rank
        change, wanted = self._changes(self.photos.batch(place, count, self.spec.seed), place)
        with torch.autocast(change.device.type, torch.bfloat16, enabled=self.spec.half):
            scores = network(change).float()
        return {"cross_entropy": F.cross_entropy(scores, wanted)}

    def validate(self, network: nn.Module) -> tuple[dict[str, float], tuple[Tensor, ...]]:
        """Cross-entropy and share of wrong classes; rows of faces and of the masks of their edits."""
        assert isinstance(network, LeanDiffCAM)
        change, wanted = self._changes(self.held_out, _VALIDATION)
        scores = network(change)
        maps = network.maps(change)[torch.arange(len(wanted)), wanted][:8, None].relu()
        masks = maps / maps.amax(dim=(2, 3), keepdim=True).clamp_min(1e-6) * 2 - 1
        figures = {
            "cross_entropy": float(F.cross_entropy(scores, wanted)),
            "wrong": float((scores.argmax(dim=1) != wanted).float().mean()),
        }
        rows = self.held_out[:8], F.interpolate(masks, (256, 256), mode="bilinear").expand(-1, 3, -1, -1).cpu()
        return figures, rows

    def _strangers(self, count: int, chance: torch.Generator) -> Tensor:
        """Differences of two people's codes, n x 1 x 512, a random share of each."""
        z = torch.randn(2 * count, len(self.generator.w_avg), generator=chance)
        share = torch.rand(count, 1, generator=chance).to(self.generator.device)
        mapped = self.generator.map(z.to(self.generator.device))
        return (share * (mapped[:count] - mapped[count:])).unsqueeze(1)

    @torch.no_grad()
    def _changes(self, photos: Tensor, place: int) -> tuple[Tensor, Tensor]:
        """How one edit each changes the photos' features, n x C x 64 x 64, turned to a positive strength; its classes, n."""
        spec, chance = self.spec, chances(self.spec.seed, place, 0)
        codes = self.encoder.embed(FaceBatch(photos.to(self.generator.device))).latents
        wanted = torch.randint(len(self.classes), (len(codes),), generator=chance)
        strength = spec.least + (spec.most - spec.least) * torch.rand(len(codes), generator=chance)
        sign = torch.randint(2, (len(codes),), generator=chance) * 2 - 1
        moved = torch.cat(
            [
                self.directions.apply(code, [(self.classes[index], float(value))])
                for code, index, value in zip(codes.split(1), wanted.tolist(), strength * sign, strict=True)
            ]
        )
        moved = moved + spec.disturbance * self._strangers(len(codes), chance)
        before, after = (self.generator.features(rows, (POINT,))[POINT] for rows in (codes, moved))
        turned = (after - before) * sign.to(before)[:, None, None, None]
        return turned, wanted.to(before.device)
