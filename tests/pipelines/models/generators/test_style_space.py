"""Normalised style space: which layers, the centre against a plain computation, the loss and the metric."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from pipelines.models.generators.mobile import MobileStyleGAN
from pipelines.models.generators.style_space import (
    StyleCentre,
    aligned_distance,
    centre_digest,
    nscd,
    style_centre,
    style_layers,
)
from pipelines.stages.entry import Parts, generators
from pipelines.weights.store import WeightStore
from tests.tiny import tiny_generator


@pytest.fixture(scope="module")
def generator() -> MobileStyleGAN:
    return tiny_generator()


@pytest.fixture(scope="module")
def centre(generator: MobileStyleGAN) -> StyleCentre:
    return style_centre(generator, samples=2500, seed=4)


def _codes(generator: MobileStyleGAN, count: int) -> Tensor:
    w = generator.map(torch.randn(count, 16, generator=torch.Generator().manual_seed(7)))
    return w[:, None].repeat(1, generator.num_ws, 1)


def test_each_row_that_is_read_has_one_layer(generator: MobileStyleGAN) -> None:
    layers = style_layers(generator)
    assert [row for row, _ in layers] == list(range(16))
    first = generator.blocks[3]
    assert layers[7][1] is first.conv1.affine
    assert layers[8][1] is first.conv2.affine
    assert layers[15][1] is generator.head_affine
    with pytest.raises(TypeError, match="style space of Linear is not known"):
        style_layers(nn.Linear(1, 1))


def test_the_centre_is_the_mean_of_normalised_styles(generator: MobileStyleGAN, centre: StyleCentre) -> None:
    z = torch.cat([torch.randn(count, 16, generator=g) for g in [torch.Generator().manual_seed(4)] for count in CHUNKS])
    w = generator.map(z).double()
    for (_, affine), vector in zip(centre.layers, centre.vectors, strict=True):
        assert isinstance(affine, nn.Linear)
        styles = w @ affine.weight.double().T + affine.bias.double()
        plain = (styles / styles.norm(dim=1, keepdim=True)).mean(0)
        torch.testing.assert_close(vector, plain.float(), rtol=1e-4, atol=1e-6)
        assert 0 < vector.norm() < 1


CHUNKS = (1000, 1000, 500)  # z is drawn chunk by chunk


def test_a_style_cannot_be_longer_than_it_is(generator: MobileStyleGAN, centre: StyleCentre) -> None:
    codes = _codes(generator, 5)
    scaled = centre.similarity(codes)
    assert scaled.shape == (5, 16)
    lengths = torch.stack([vector.norm() for vector in centre.vectors])
    torch.testing.assert_close(centre.cosine(codes), scaled / lengths)
    assert centre.cosine(codes).abs().max() <= 1 + 1e-6


def test_the_loss_sums_rows_and_the_metric_averages_them(generator: MobileStyleGAN, centre: StyleCentre) -> None:
    codes = _codes(generator, 3)
    similarity = centre.similarity(codes)
    assert aligned_distance(codes, centre, 0).item() == pytest.approx(-similarity[:, 0].mean().item(), abs=1e-6)
    expected = -similarity[:, :8].mean(0).sum().item()
    assert aligned_distance(codes, centre, 7).item() == pytest.approx(expected, abs=1e-5)
    # Rows 16 and 17 drive nothing here, so the last two stages add nothing.
    assert torch.equal(aligned_distance(codes, centre, 15), aligned_distance(codes, centre, 17))
    values = nscd(codes, centre)
    torch.testing.assert_close(values, 1 - centre.cosine(codes).mean(1))
    torch.testing.assert_close(values[1:2], nscd(codes[1:2], centre))


def test_sampled_codes_are_closer_than_mixed_up_ones(generator: MobileStyleGAN, centre: StyleCentre) -> None:
    codes = _codes(generator, 40)
    assert nscd(codes, centre).mean() < nscd(codes + 3 * torch.randn_like(codes), centre).mean()


def test_gradients_reach_the_codes_and_nothing_else(generator: MobileStyleGAN, centre: StyleCentre) -> None:
    codes = _codes(generator, 2).requires_grad_()
    aligned_distance(codes, centre, 3).backward()
    assert codes.grad is not None
    moved = codes.grad.abs().amax(dim=(0, 2)) > 0
    assert moved.tolist() == [True] * 4 + [False] * 14
    assert all(parameter.grad is None for parameter in generator.parameters())


def test_a_draw_is_repeatable_and_belongs_to_its_weights(generator: MobileStyleGAN, centre: StyleCentre) -> None:
    again = style_centre(generator, samples=2500, seed=4)
    assert all(torch.equal(a, b) for a, b in zip(centre.vectors, again.vectors, strict=True))
    other = tiny_generator(seed=1)
    assert centre_digest(other) != centre_digest(generator)
    same = tiny_generator()
    same.head.weight.add_(1)  # colours: no style depends on them
    assert centre_digest(same) == centre.digest


@pytest.mark.weights
def test_the_default_generator_orders_codes_as_the_metric_says(store: WeightStore) -> None:
    """The middle of W first, then truncated codes, then sampled ones, then rows that no face shares."""
    generator = generators.get("mobile-ffhq").build(Parts(store, torch.device("cpu")))
    centre = style_centre(generator, samples=3000)
    assert all(0.2 < vector.norm() < 1 for vector in centre.vectors)
    rng = torch.Generator().manual_seed(9)
    w = generator.map(torch.randn(200, 512, generator=rng))
    noisy = w[:, None] + generator.w_std * torch.randn(200, 18, 512, generator=rng)
    middle = generator.w_avg + 0.5 * (w - generator.w_avg)
    values = [nscd(codes, centre).mean().item() for codes in (generator.w_avg[None], middle, w, noisy)]
    assert values == sorted(values)
    assert values[0] < 0.001
    assert values[2] == pytest.approx(0.076, abs=0.01)
