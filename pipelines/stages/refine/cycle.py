"""`--refine cycle`: the encoder is fitted to one photo, and kept good on other faces meanwhile.

Cycle Encoding's regularised refinement (Xu et al., ACM MM 2022, arXiv 2207.09367): a fresh copy of the encoder takes a few
steps on the photo and M other faces, which pull the copy away from codes that only this picture likes. No code is a
variable; the result is what the fitted encoder says. Loss and ratio are the published ones (pixel 1, perceptual 0.8,
identity 0.1; every face counts alike, so the photo is one of M + 1); the photo is seen through the generator's 256 px
head, the others through the 128 px one, which costs a third.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from pipelines.errors import UsageError
from pipelines.images.decode import decode, read_photo
from pipelines.images.pixels import resize_area, resize_u8, to_tensor
from pipelines.models.encoders.compact import INPUT
from pipelines.models.perceptual.likeness import Likeness, Weights
from pipelines.stages.embed.encoder import ASSETS, load_compact
from pipelines.stages.entry import LIKENESS, Parts, refiners
from pipelines.stages.fitting import TIME, faces_in
from pipelines.stages.pace import paced
from pipelines.stages.refine.pti import SKETCH, sketch
from pipelines.types import FaceBatch, Generator, Inversion, Refiner

VERSION = "1"
_TRUNCATION = 0.7  # of generated faces
_POOL = 64  # of generated faces; each step draws from them

Others = Callable[[Tensor], Tensor]  # k indices -> k x 3 x 256 x 256 in [-1, 1]


@dataclass(frozen=True)
class CycleSettings:
    """The published settings, but for the optimiser (Adam for Ranger).

    Attributes:
        steps: updates; the code is that of the encoder after the last of them.
        lr: Adam's.
        faces: M, how many others each step sees.
    """

    steps: int = 16
    lr: float = 1e-4
    faces: int = 7
    weights: Weights = field(default=Weights(perceptual=0.8, pixel=1.0, identity=0.1, size=256))


class CycleRefiner:
    """See the module and `pipelines.types.Refiner`. Face by face, each from a fresh copy and with the same others.

    Args:
        network: the trained encoder, n x 3 x 256 x 256 -> n x L x 512, which stays as it is (a `CompactEncoder`, whose
            `stage` decides between W and W+).
        others: aligned faces.
        count: how many there are.
        seed: of their choice.
        seconds: what a face may take; None: as long as its steps take.
    """

    version = VERSION

    def __init__(
        self,
        generator: Generator,
        network: nn.Module,
        likeness: Likeness,
        others: Others,
        count: int,
        settings: CycleSettings | None = None,
        seed: int = 0,
        seconds: float | None = None,
    ) -> None:
        self.generator, self.network, self.likeness = generator, network, likeness
        self.others, self.count = others, count
        self.settings = settings or CycleSettings()
        self.seed, self.seconds = seed, seconds

    def refine(self, faces: FaceBatch, start: Inversion) -> Inversion:
        """Other codes than those of `start`, whose residuals and deltas belonged to its own and are dropped.

        The score ``rows`` is the mean length of the rows' offsets from row 0: 0 in W.
        """
        return Inversion.cat([self._fit(faces[i : i + 1], start[i : i + 1]) for i in range(len(faces))])

    def _fit(self, face: FaceBatch, start: Inversion) -> Inversion:
        settings, small = self.settings, resize_area(face.images, INPUT)
        network = copy.deepcopy(self.network).requires_grad_(True).train()
        optimiser = torch.optim.Adam(network.parameters(), lr=settings.lr)
        random = torch.Generator().manual_seed(self.seed)
        target = self.likeness.target(face.images, face.landmarks, settings.weights)
        for _ in paced(settings.steps, self.seconds, small.device):
            chosen = torch.randperm(self.count, generator=random)[: settings.faces]
            others = self.others(chosen).to(small)
            codes = network(torch.cat([small, others]))
            own = self.likeness(self.generator.preview(codes[:1]).image, target, settings.weights)
            total = torch.stack([*own.values()]).sum() + self._regular(codes[1:], others)
            optimiser.zero_grad()
            total.backward()
            optimiser.step()
        with torch.no_grad():
            codes = network.eval()(small)
        rows = (codes[:, 1:] - codes[:, :1]).norm(dim=2).mean(dim=1)
        return Inversion(codes, scores={**start.scores, "rows": rows})

    def _regular(self, codes: Tensor, others: Tensor) -> Tensor:
        """The same loss of the other faces, whose landmarks nobody has looked for: without the identity term."""
        weights = replace(self.settings.weights, identity=0.0, size=SKETCH)
        terms = self.likeness(sketch(self.generator, codes), self.likeness.target(others, None, weights), weights)
        return torch.stack([*terms.values()]).sum()


def generated_faces(generator: Generator, seed: int) -> Others:
    """Faces of the generator's own, made when they are asked for; index k is always the same face."""
    z = torch.randn(_POOL, generator.w_avg.numel(), generator=torch.Generator().manual_seed(seed))

    @torch.no_grad()
    def faces(chosen: Tensor) -> Tensor:
        codes = generator.w_avg.lerp(generator.map(z[chosen].to(generator.w_avg)), _TRUNCATION)
        return generator.preview(codes).image.clamp(-1, 1)

    return faces


def folder_faces(parts: Parts) -> tuple[Others, int]:
    """The faces of `--regularize-with`, and how many. Raises UsageError for a picture that is not square."""
    assert parts.fitting.regularize_with is not None
    files = faces_in(parts.fitting.regularize_with)

    def faces(chosen: Tensor) -> Tensor:
        pictures = [decode(read_photo(files[index])) for index in chosen.tolist()]
        for index, picture in zip(chosen.tolist(), pictures, strict=True):
            if picture.shape[0] != picture.shape[1]:
                raise UsageError(f"--regularize-with: {files[index]} is not square; give aligned faces (ganinv align)")
        return to_tensor([resize_u8(picture, INPUT, INPUT) for picture in pictures])

    return faces, len(files)


_DEFAULT = CycleSettings()


@refiners.register(
    "cycle", (ASSETS["cycle"], *LIKENESS), f"{VERSION} {_DEFAULT}", True, ("space", "regularize_with", *TIME)
)
def build_cycle(parts: Parts, generator: Generator) -> Refiner:
    """Fits the chain's own encoder where that is one of ours, else the one of recipe ``cycle``."""
    fitting = parts.fitting
    asset = ASSETS.get(fitting.embed, ASSETS["cycle"])
    in_w = fitting.space == "w" or (fitting.space is None and fitting.embed == "cycle-w")
    network = load_compact(asset, parts, generator, stage=0 if in_w else None)
    others, count = (
        (generated_faces(generator, fitting.seed), _POOL) if fitting.regularize_with is None else folder_faces(parts)
    )
    return CycleRefiner(
        generator, network, parts.likeness(), others, count, seed=fitting.seed, seconds=fitting.seconds_per_face
    )
