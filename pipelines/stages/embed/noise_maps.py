"""`--noise-maps`: a face's own noise maps, fitted around codes that stay.

StyleGAN2's projector (Karras et al., CVPR 2020, appendix D) moves the generator's noise maps with the code, brings each back to
zero mean and unit variance after every step, and holds it white by a penalty on its correlations with itself, pixel by
pixel at several scales, as maps that may be anything become a picture of the photo that no edit moves. Here they come
after the codes: those are the same with and without them, and the maps get only what no code can say.

What is found is kept as the face's own change of the generator's maps (`Inversion.deltas`), so that every edit has them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from pipelines.errors import UsageError
from pipelines.models.perceptual.likeness import Likeness, Target, Weights
from pipelines.stages.lending import Lent
from pipelines.stages.pace import paced
from pipelines.stages.refine.projection import learning_rate, noise_penalty, normalised_noise
from pipelines.types import Generator, NoiseGenerator

Look = Callable[[Generator], Tensor]


@dataclass(frozen=True)
class NoiseSettings:
    """Defaults are what `docs/refinement.md` measured; raise `fitting.NOISE_VERSION` with them.

    Attributes:
        steps: gradient steps.
        lr: peak step size, in a map's standard deviations.
        white: weight of `noise_penalty` against the likeness.
        share: of a face's seconds, where it has only so many; the codes have the rest.
    """

    steps: int = 40
    lr: float = 0.1
    white: float = 1.0
    share: float = 0.4


class NoiseFitter:
    """Fits the maps of faces whose codes are known.

    Args:
        generator: is never written to.
        settings: None: the defaults.

    Raises:
        UsageError: the generator has no noise maps that its pictures show.
    """

    def __init__(self, generator: Generator, likeness: Likeness, settings: NoiseSettings | None = None) -> None:
        self.settings = settings or NoiseSettings()
        self._likeness = likeness
        self._lent = Lent(generator)
        names = generator.noise_maps() if isinstance(generator, NoiseGenerator) else ()
        if not names:
            raise UsageError(
                f"--noise-maps: the generator '{generator.name}' shows no noise maps; leave the option away"
            )
        state: Mapping[str, Tensor] = generator.state_dict()  # type: ignore[attr-defined]
        self._own = {name: state[name] for name in names}

    def fit(
        self, look: Look, target: Target, weights: Weights, faces: int, seconds: float | None = None
    ) -> dict[str, Tensor]:
        """The maps of n faces, each by itself: no face's maps depend on the others.

        Args:
            look: a generator -> the faces' pictures n x 3 x 256 x 256 from their codes, which is called with other maps.
            target: what the pictures are compared with, by `weights`.
            faces: n.
            seconds: for all steps; None: as long as they take.

        Returns:
            Name -> n x 1 x 1 x s x s, what is added to the generator's map, as `Inversion.deltas` keeps it.
        """
        settings = self.settings
        sizes = {name: own.std() for name, own in self._own.items()}
        maps = {name: normalised_noise(own).repeat(faces, 1, 1, 1) for name, own in self._own.items()}
        variables = [each.requires_grad_() for each in maps.values()]
        optimiser = torch.optim.Adam(variables)
        for _, step in paced(settings.steps, seconds, variables[0].device):
            optimiser.param_groups[0]["lr"] = learning_rate(step + 1, settings.steps + 1, settings.lr)
            image = self._lent.run({name: each * sizes[name] for name, each in maps.items()}, look)
            terms = self._likeness(image, target, weights)
            total = torch.stack([*terms.values()]).sum(dim=0) + settings.white * noise_penalty(variables)
            optimiser.zero_grad()
            total.sum().backward()
            optimiser.step()
            _renormalise(variables)
        return {name: (each.detach() * sizes[name] - self._own[name])[:, None] for name, each in maps.items()}


@torch.no_grad()
def _renormalise(maps: list[Tensor]) -> None:
    for each in maps:
        each.copy_(normalised_noise(each))
