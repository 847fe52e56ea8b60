"""`mobile-ffhq` against the OpenVINO runtime's own numbers, and the contract of `pipelines.types.Generator`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from pipelines.models.generators.mobile import MobileStyleGAN
from pipelines.stages.embed.optimize import head_error
from pipelines.stages.entry import Parts, generators
from pipelines.weights.store import WeightStore
from tests.golden.make_mobile_points import CORNERS

GOLDEN = Path(__file__).parents[3] / "golden" / "mobile_ffhq.npz"


@pytest.fixture(scope="module")
def tiny() -> MobileStyleGAN:
    """Random weights, 64 px: the real class, small."""
    torch.manual_seed(0)
    generator = MobileStyleGAN(channels=(16, 16, 16), dim=32)
    for parameter in generator.parameters():
        parameter.normal_(0, 0.2)
    return generator


@pytest.fixture(scope="module")
def real(store: WeightStore) -> MobileStyleGAN:
    generator = generators.get("mobile-ffhq").build(Parts(store, torch.device("cpu")))
    assert isinstance(generator, MobileStyleGAN)
    return generator


@pytest.mark.weights
@pytest.mark.parametrize("i", [0, 1, 2])
def test_agrees_with_openvino(real: MobileStyleGAN, i: int) -> None:
    golden = np.load(GOLDEN)
    w = real.map(torch.from_numpy(golden["z"][i : i + 1]))
    assert np.abs(w[0].numpy() - golden[f"w{i}"]).max() < 2e-5
    image = real.synthesize(w).image[0].numpy()
    assert np.abs(image[:, ::8, ::8] - golden[f"sparse{i}"]).max() <= 5e-4
    dense = np.stack([image[:, y : y + 48, x : x + 48] for y, x in CORNERS])
    assert np.abs(dense - golden[f"dense{i}"]).max() <= 5e-4
    assert np.abs(image.mean(axis=2) - golden[f"rows{i}"]).max() <= 1e-4


@pytest.mark.weights
def test_preview_head_is_close_on_unseen_faces_and_exact_once_corrected(real: MobileStyleGAN) -> None:
    z = torch.randn(6, 512, generator=torch.Generator().manual_seed(987654))
    found = []
    for code in (real.w_avg + 0.7 * (real.map(z) - real.w_avg)).split(1):
        small = F.avg_pool2d(real.synthesize(code).image, 4)
        preview = real.preview(code).image
        found.append(10 * torch.log10(4 / F.mse_loss(preview, small)))
        assert torch.allclose(preview + head_error(real, code, {}), small, atol=1e-5)
    assert torch.stack(found).mean() >= 30  # measured: see the card of the asset


def test_rows_drive_what_their_number_says(tiny: MobileStyleGAN) -> None:
    w = torch.randn(1, 18, 32)
    points = (4, 8, "8b", 16, "16b", 32)
    before = tiny.features(w, points)
    for row, changed in ((0, 4), (1, 8), (2, "8b"), (3, 16), (4, "16b"), (5, 32)):
        other = w.clone()
        other[:, row] += 1
        after = tiny.features(other, points)
        first = next(point for point in points if not torch.equal(before[point], after[point]))
        assert first == changed


def test_collected_feature_injected_again_gives_the_same_picture(tiny: MobileStyleGAN) -> None:
    w = torch.randn(2, 32)
    made = tiny.synthesize(w, collect=(16, "16b"))
    for point in (16, "16b"):
        again = tiny.synthesize(w, inject={point: made.features[point]})
        assert torch.equal(again.image, made.image)
    mapped = tiny.synthesize(w, inject={16: lambda feature: feature + 1})
    assert torch.allclose(mapped.image, tiny.synthesize(w, inject={16: made.features[16] + 1}).image, atol=1e-6)


def test_tensor_injection_skips_what_lies_below(tiny: MobileStyleGAN, monkeypatch: pytest.MonkeyPatch) -> None:
    w = torch.randn(1, 32)
    feature = tiny.features(w, (16,))[16]
    monkeypatch.setattr(tiny.conv0, "forward", lambda x: pytest.fail("the first convolution ran for nothing"))
    tiny.synthesize(w, inject={16: feature})
    with pytest.raises(pytest.fail.Exception):
        tiny.synthesize(w, inject={16: feature}, collect=(8,))


def test_gradients_reach_codes_and_features(tiny: MobileStyleGAN) -> None:
    w = torch.randn(1, 18, 32, requires_grad=True)
    feature = tiny.features(w.detach(), (16,))[16].requires_grad_()
    tiny.synthesize(w, inject={16: feature}).image.square().sum().backward()
    assert w.grad is not None
    assert feature.grad is not None
    assert feature.grad.abs().sum() > 0
    assert w.grad[:, :3].abs().sum() == 0  # rows below the injected feature
    assert w.grad[:, 4:6].abs().sum() > 0


def test_unknown_point_and_wrong_rows_are_refused(tiny: MobileStyleGAN) -> None:
    with pytest.raises(ValueError, match="no feature point 5"):
        tiny.synthesize(torch.randn(1, 32), collect=(5,))
    with pytest.raises(ValueError, match="17 rows"):
        tiny.synthesize(torch.randn(1, 17, 32))


def test_batch_size_does_not_matter(tiny: MobileStyleGAN) -> None:
    w = torch.randn(3, 32)
    together = tiny.synthesize(w).image
    for i in range(3):
        assert torch.allclose(tiny.synthesize(w[i : i + 1]).image[0], together[i], atol=1e-5)
