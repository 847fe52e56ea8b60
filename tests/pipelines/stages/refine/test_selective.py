"""Only what is poor is refined."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from pipelines.models.generators.mobile import MobileStyleGAN
from pipelines.stages.refine.selective import SelectiveRefiner
from pipelines.types import FaceBatch, Inversion
from tests.tiny import tiny_generator, tiny_likeness


class Towards:
    """Moves codes to given ones, or away from them."""

    version = "1"

    def __init__(self, known: dict[float, torch.Tensor]) -> None:
        self.known, self.asked = known, 0

    def refine(self, faces: FaceBatch, start: Inversion) -> Inversion:
        self.asked += len(faces)
        found = [self.known[float(image.sum())] for image in faces.images]
        return replace(start, latents=torch.stack(found))


@pytest.fixture(scope="module")
def generator() -> MobileStyleGAN:
    return tiny_generator()


def test_poor_faces_are_refined_and_only_better_results_are_taken(generator: MobileStyleGAN) -> None:
    true = torch.randn(3, 18, 16, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        faces = FaceBatch(generator.synthesize(true).image.clamp(-1, 1))
    codes = true.clone()
    codes[1:] += 0.5 * torch.randn(2, 18, 16, generator=torch.Generator().manual_seed(3))  # the first is good already
    start = Inversion(codes, {64: torch.zeros(3, 8, 64, 64)}, scores={"refine_loss": torch.zeros(3)})
    sums = [float(image.sum()) for image in faces.images]
    inner = Towards({sums[1]: true[1], sums[2]: true[2] + 50.0})
    found = SelectiveRefiner(generator, tiny_likeness(), inner, poor=1e-3).refine(faces, start)
    assert inner.asked == 2
    assert torch.equal(found.latents[0], codes[0])
    assert torch.equal(found.latents[1], true[1])
    assert torch.equal(found.latents[2], codes[2])  # what was tried is worse
    assert found.scores["refined"].tolist() == [0.0, 1.0, 0.0]
    assert set(found.scores) == {"refine_loss", "distance", "refined"}
