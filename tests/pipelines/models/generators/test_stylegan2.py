"""The contract of `pipelines.types.Generator` and what StyleGAN2 adds to it, on tiny random generators of the real class.

The numbers themselves are held against the official code in tests/conformance/test_stylegan2.py.
"""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from pipelines.models.generators.stylegan2 import StyleGAN2, config_f
from pipelines.models.generators.stylegan2_state import set_statistics
from pipelines.types import Generator

SIZE, DIM = 64, 16


def tiny_stylegan2(seed: int = 0, size: int = SIZE) -> StyleGAN2:
    torch.manual_seed(seed)
    generator = StyleGAN2(size, {4 << k: 12 - k for k in range(size.bit_length() - 2)}, DIM)
    for name, parameter in generator.named_parameters():
        if name.endswith(("noise.weight", ".bias")):
            parameter.add_(torch.randn_like(parameter) * 0.2)
    set_statistics(generator, samples=500)
    return generator


@pytest.fixture(scope="module")
def tiny() -> StyleGAN2:
    return tiny_stylegan2()


@pytest.fixture
def codes() -> Tensor:
    return torch.randn(2, 10, DIM, generator=torch.Generator().manual_seed(1))


def test_it_is_a_generator(tiny: StyleGAN2) -> None:
    generator: Generator = tiny
    assert (generator.resolution, generator.num_ws) == (64, 10)
    assert generator.map(torch.randn(3, DIM)).shape == (3, DIM)
    assert generator.synthesize(torch.zeros(2, DIM)).image.shape == (2, 3, 64, 64)


def test_config_f_has_the_published_widths_and_rows() -> None:
    with torch.device("meta"):
        generator = StyleGAN2(1024)
    assert config_f(1024) == {4: 512, 8: 512, 16: 512, 32: 512, 64: 512, 128: 256, 256: 128, 512: 64, 1024: 32}
    assert generator.num_ws == 18
    assert generator.state_dict()["convs.15.conv.weight"].shape == (1, 32, 32, 3, 3)
    styles = [generator.get_submodule(layer.module).conv.modulation.weight.shape[0] for layer in generator.layers]
    assert sum(styles) == 9088  # all of StyleSpace (Wu et al. 2021)
    assert sum(styles[i] for i in generator.row_layers()) == 6080  # LSAP's part of it


def test_sizes_that_are_no_power_of_two_are_refused() -> None:
    for size in (4, 96, 0):
        with pytest.raises(ValueError, match="power of two"):
            StyleGAN2(size)


def test_rows_drive_what_their_number_says(tiny: StyleGAN2) -> None:
    w = torch.randn(1, 10, DIM)
    points = (4, "4rgb", 8, "8b", "8rgb", 16, "16b", "16rgb", 64, "64b", "64rgb")
    before = tiny.features(w, points)
    for row, changed in ((0, {4}), (1, {"4rgb", 8}), (2, {"8b"}), (3, {"8rgb", 16}), (9, {"64rgb"})):
        other = w.clone()
        other[:, row] += 1
        after = tiny.features(other, points)
        first = [point for point in points if not torch.equal(before[point], after[point])]
        assert first[0] in changed
        if len(changed) > 1:  # a toRGB and the next block's first convolution read one row
            assert changed <= set(first)


def test_collected_feature_injected_again_gives_the_same_picture(tiny: StyleGAN2, codes: Tensor) -> None:
    points = (16, "16b", "16rgb", "32rgb")
    with torch.no_grad():
        made = tiny.synthesize(codes, collect=points)
        for point in points:
            again = tiny.synthesize(codes, inject={point: made.features[point]})
            assert torch.equal(again.image, made.image)
        mapped = tiny.synthesize(codes, inject={16: lambda feature: feature + 1})
        replaced = tiny.synthesize(codes, inject={16: made.features[16] + 1})
    assert torch.allclose(mapped.image, replaced.image, atol=1e-5)
    assert not torch.allclose(mapped.image, made.image, atol=1e-2)


def test_last_skip_picture_is_the_picture(tiny: StyleGAN2, codes: Tensor) -> None:
    made = tiny.synthesize(codes, collect=("64rgb",))
    assert torch.equal(made.image, made.features["64rgb"])


def test_rows_below_an_injected_feature_act_through_the_skip_alone(tiny: StyleGAN2, codes: Tensor) -> None:
    feature = tiny.features(codes, (32,))[32]
    skip = tiny.features(codes, ("16rgb",))["16rgb"]
    other = codes.clone()
    other[:, :6] += 1  # up to the 32 px block's first convolution (row 5); its toRGB reads row 7
    plain = tiny.synthesize(codes, inject={32: feature, "16rgb": skip}).image
    assert torch.equal(tiny.synthesize(other, inject={32: feature, "16rgb": skip}).image, plain)
    assert not torch.allclose(tiny.synthesize(other, inject={32: feature}).image, plain, atol=1e-3)


def test_layers_below_an_injected_feature_are_left_out(tiny: StyleGAN2, monkeypatch: pytest.MonkeyPatch) -> None:
    w = torch.randn(1, DIM)
    features = tiny.features(w, (32, "16rgb"))
    monkeypatch.setattr(tiny.get_submodule("convs.4"), "forward", lambda *args: pytest.fail("ran for nothing"))
    tiny.synthesize(w, inject={32: features[32]})  # convs.0..3 run: the skip picture reads them
    monkeypatch.setattr(tiny.conv1, "forward", lambda *args: pytest.fail("ran for nothing"))
    tiny.synthesize(w, inject={32: features[32], "16rgb": features["16rgb"]})
    with pytest.raises(pytest.fail.Exception):
        tiny.synthesize(w, inject={32: features[32]})


def test_features_stop_at_the_highest_point(tiny: StyleGAN2, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiny.to_rgb1, "forward", lambda *args: pytest.fail("no picture was asked for"))
    monkeypatch.setattr(tiny.get_submodule("convs.3"), "forward", lambda *args: pytest.fail("too high"))
    assert set(tiny.features(torch.randn(1, DIM), (8, 16))) == {8, 16}


def test_unknown_points_rows_and_styles_are_refused(tiny: StyleGAN2) -> None:
    with pytest.raises(ValueError, match="no feature point 5"):
        tiny.synthesize(torch.randn(1, DIM), collect=(5,))
    with pytest.raises(ValueError, match="9 rows"):
        tiny.synthesize(torch.randn(1, 9, DIM))
    with pytest.raises(ValueError, match="2 style vectors"):
        tiny.synthesize_styles([torch.ones(1, 12)] * 2)


def test_style_space_gives_the_same_picture_and_takes_edits(tiny: StyleGAN2, codes: Tensor) -> None:
    styles = tiny.styles(codes)
    assert len(styles) == len(tiny.layers) == 14
    whole = tiny.synthesize(codes).image
    assert torch.equal(tiny.synthesize_styles(styles).image, whole)
    styles[6] = styles[6] + 1
    assert not torch.allclose(tiny.synthesize_styles(styles).image, whole, atol=1e-3)


def test_both_ways_of_modulation_agree(codes: Tensor) -> None:
    tiny = tiny_stylegan2()
    tiny.modulate("activations")
    expected = tiny.synthesize(codes).image
    tiny.modulate("weights")
    made = torch.cat([tiny.synthesize(code).image for code in codes.split(1)])
    assert torch.allclose(made, expected, atol=1e-4 * float(expected.abs().max()))


def test_batch_size_changes_no_bit_without_gradients(tiny: StyleGAN2, codes: Tensor) -> None:
    feature = torch.randn(2, 9, 32, 32)
    with torch.no_grad():
        together = tiny.synthesize(codes, inject={32: feature}, collect=(64,))
        for i in range(2):
            alone = tiny.synthesize(codes[i : i + 1], inject={32: feature[i : i + 1]}, collect=(64,))
            assert torch.equal(alone.image[0], together.image[i])
            assert torch.equal(alone.features[64][0], together.features[64][i])
    with_gradient = tiny.synthesize(codes, inject={32: feature}).image
    assert torch.allclose(with_gradient, together.image, atol=1e-4 * float(together.image.abs().max()))


def test_gradients_are_those_of_finite_differences() -> None:
    tiny = tiny_stylegan2(size=8).double()
    w = torch.randn(1, 4, DIM, dtype=torch.float64, requires_grad=True)
    feature = tiny.features(w.detach(), (8,))[8].detach()[:, :, :2, :2].contiguous().requires_grad_()

    def picture(w: Tensor, corner: Tensor) -> Tensor:
        whole = F.pad(corner, (0, 6, 0, 6))
        return tiny.synthesize(w, inject={8: whole}).image[:, :, ::4, ::4] + tiny.synthesize(w).image[:, :, ::4, ::4]

    assert torch.autograd.gradcheck(picture, (w, feature), fast_mode=True, atol=1e-4)


def test_gradients_reach_weights_once_they_are_switched_on(codes: Tensor) -> None:
    tiny = tiny_stylegan2()
    assert not any(parameter.requires_grad for parameter in tiny.parameters())
    tiny.requires_grad_(True).synthesize(codes).image.square().sum().backward()
    for name, parameter in tiny.named_parameters():
        if not name.startswith("style."):  # the mapping network is not in this pass
            assert parameter.grad is not None, name
            assert parameter.grad.abs().sum() > 0, name


def test_noise_stored_given_fresh_and_none(tiny: StyleGAN2, codes: Tensor) -> None:
    w = codes[:1]
    stored = tiny.synthesize(w).image
    assert torch.equal(stored, tiny.synthesize(w).image)
    maps = [tiny.get_buffer(f"noises.noise_{i}") for i in range(9)]
    assert torch.equal(tiny.synthesize(w, noise=maps).image, stored)
    silent = tiny.synthesize(w, noise="none").image
    assert torch.equal(tiny.synthesize(w, noise=[0 * m for m in maps]).image, silent)
    torch.manual_seed(3)
    fresh = tiny.synthesize(codes, noise="fresh").image
    again = tiny.synthesize(codes, noise="fresh").image
    torch.manual_seed(3)
    assert torch.equal(tiny.synthesize(codes, noise="fresh").image, fresh)
    assert not torch.allclose(fresh, again, atol=1e-3)
    same = tiny.synthesize(w.repeat(2, 1, 1), noise="fresh").image
    assert not torch.allclose(same[0], same[1], atol=1e-3)  # a map for each picture


def test_truncation_moves_towards_the_mean(tiny: StyleGAN2) -> None:
    w = tiny.map(torch.randn(2, DIM))
    assert torch.equal(tiny.truncate(w, 0.0)[:, 3], tiny.w_avg.expand(2, -1))
    some = tiny.truncate(w, 0.5, rows=4)
    assert torch.allclose(some[:, 0], (w + tiny.w_avg) / 2, atol=1e-6)
    assert torch.equal(some[:, 4], w)


def test_preview_is_the_area_downsampled_picture() -> None:
    tiny = tiny_stylegan2(size=512)
    w = torch.randn(1, DIM)
    made = tiny.preview(w, collect=(64,))
    assert torch.allclose(made.image, F.avg_pool2d(tiny.synthesize(w).image, 2), atol=1e-6)
    assert made.features[64].shape[2:] == (64, 64)


def test_half_precision_stays_close_and_the_picture_float32(tiny: StyleGAN2, codes: Tensor) -> None:
    exact = tiny.synthesize(codes).image
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = tiny.synthesize(codes).image
    assert rough.dtype == torch.float32
    assert not torch.equal(rough, exact)
    assert (rough - exact).abs().mean() < 0.02 * exact.abs().mean() + 0.01
