"""The compact encoder's contract: sizes, stages, batches."""

from __future__ import annotations

import pytest
import torch
from torchvision.models.mobilenetv2 import MobileNetV2

from pipelines.models.encoders.compact import CompactEncoder
from pipelines.stages.embed.encoder import EncoderEmbedder
from pipelines.types import FaceBatch


@pytest.fixture(scope="module")
def encoder() -> CompactEncoder:
    torch.manual_seed(0)
    made = CompactEncoder(18)
    torch.nn.init.normal_(made.offsets.weight, std=0.05)
    torch.nn.init.normal_(made.code.weight, std=0.05)
    made.w_avg.normal_()
    return made.eval()


def faces(count: int) -> torch.Tensor:
    return torch.rand(count, 3, 256, 256, generator=torch.Generator().manual_seed(1)) * 2 - 1


def test_it_is_small_enough_to_ship(encoder: CompactEncoder) -> None:
    assert sum(p.numel() for p in encoder.parameters()) <= 8_000_000
    stored = sum(t.numel() for t in encoder.state_dict().values()) * 2
    assert stored <= 16 * 2**20


def test_zeroed_last_layers_give_the_mean() -> None:
    made = CompactEncoder(14).eval()
    for last in (made.code, made.offsets):
        torch.nn.init.zeros_(last.weight)
    made.w_avg.normal_()
    assert torch.equal(made(faces(1))[0], made.w_avg.expand(14, -1))


@pytest.mark.parametrize("stage", [0, 5, 17])
def test_rows_beyond_the_stage_equal_row_0(encoder: CompactEncoder, stage: int) -> None:
    encoder.stage = stage
    with torch.no_grad():
        codes = encoder(faces(1))[0]
    encoder.stage = 17
    assert codes.shape == (18, 512)
    assert torch.equal(codes[stage + 1 :], codes[:1].expand(17 - stage, -1))
    assert len({tuple(row.tolist()) for row in codes[: stage + 1]}) == stage + 1


def test_a_face_does_not_depend_on_its_batch(encoder: CompactEncoder) -> None:
    images = faces(3)
    with torch.no_grad():
        together = encoder(images)
        alone = torch.cat([encoder(images[i : i + 1]) for i in range(3)])
    assert torch.allclose(together, alone, atol=1e-4)
    embed = EncoderEmbedder(encoder).embed
    assert torch.equal(embed(FaceBatch(images)).latents[1:2], embed(FaceBatch(images[1:2])).latents)


def test_batch_norms_keep_their_statistics_in_training() -> None:
    made = CompactEncoder(18).train()
    before = {name: value.clone() for name, value in made.state_dict().items() if "running" in name}
    made(faces(2)).sum().backward()
    assert before
    assert all(torch.equal(made.state_dict()[name], value) for name, value in before.items())


def test_the_trunk_starts_from_the_published_checkpoint() -> None:
    made, published = CompactEncoder(18), MobileNetV2().state_dict()
    made.load_trunk(published)
    assert torch.equal(made.trunk.state_dict()["17.conv.2.weight"], published["features.17.conv.2.weight"])
