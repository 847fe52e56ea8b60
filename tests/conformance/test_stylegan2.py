"""StyleGAN2 against the official code of e4e, LSAP, Diff-CAM, PTI and SDIC: filled weights, drawn inputs, their goldens."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from pipelines.models.generators.stylegan2 import StyleGAN2
from pipelines.models.generators.stylegan2_state import build_stylegan2
from tests.conformance.conftest import Filled
from tests.conformance.helpers import Golden, check, drawn

Goldens = Callable[[str], Golden]
NETWORK = "StyleGAN2"
ADA_NAMES = (  # MMGeneration's names (specs/diffcam.md 5) -> rosinality's
    ("style_mapping.", "style."),
    ("constant_input.", "input."),
    ("linear.weight_orig", "weight"),
    (".style_modulation.linear", ".modulation"),
    (".style_modulation.", ".modulation."),
    ("conv.weight_orig", "conv.weight"),
    (".noise_injector.", ".noise."),
    ("injected_noise_", "noises.noise_"),
)


@pytest.fixture(scope="module")
def small(filled: Filled) -> StyleGAN2:
    return build_stylegan2(filled("e4e/stylegan2_64", "decoder."), samples=2000)


@pytest.fixture(scope="module")
def diffcam(filled: Filled) -> StyleGAN2:
    state: dict[str, Tensor] = {}
    for key, tensor in filled("diffcam/manifest_deghosting_16_64", "generator.").items():
        for theirs, ours in ADA_NAMES:
            key = key.replace(theirs, ours)
        state[key.replace(".linear.weight", ".weight").replace(".modulation.weight_orig", ".modulation.weight")] = (
            tensor
        )
    return build_stylegan2(state, samples=2000)


@pytest.fixture(scope="module")
def large(filled: Filled) -> StyleGAN2:
    return build_stylegan2(filled("sdic/manifest_decoder", "decoder."), samples=2000)


@pytest.fixture(scope="module")
def mapped(small: StyleGAN2) -> Tensor:
    return small.map(drawn("sncd.z", (1024, 512)))


def test_mapping(small: StyleGAN2, mapped: Tensor, goldens: Goldens) -> None:
    check(f"{NETWORK} mapping", goldens("e4e/sncd"), "w", mapped[:4])


def test_style_space(small: StyleGAN2, mapped: Tensor, goldens: Goldens) -> None:
    golden = goldens("e4e/sncd")
    codes = mapped[:1, None] + drawn("sncd.delta", (2, 10, 512))[:1]
    rows = small.row_layers()
    check(f"{NETWORK} styles", golden, "styles", torch.stack([small.styles(codes)[i][0] for i in rows]))
    styles = torch.stack([small.styles(mapped)[i] for i in rows])  # 10 x 1024 x 512
    check(f"{NETWORK} styles", golden, "style_mean", styles.mean(dim=1))
    check(f"{NETWORK} styles", golden, "style_std", styles.std(dim=1))
    anchor = F.normalize(styles, dim=2).mean(dim=1)
    check(f"{NETWORK} styles", golden, "anchor", anchor)
    check(f"{NETWORK} styles", golden, "anchor_norm", anchor.norm(dim=1))


def test_gradient_of_style_space(small: StyleGAN2, mapped: Tensor, goldens: Goldens) -> None:
    golden = goldens("e4e/sncd")
    rows = small.row_layers()
    styles = torch.stack([small.styles(mapped)[i] for i in rows])
    anchor = F.normalize(styles, dim=2).mean(dim=1)
    codes = (mapped[:2, None] + drawn("sncd.delta", (2, 10, 512))).requires_grad_()
    own = F.normalize(torch.stack([small.styles(codes)[i] for i in rows], dim=1), dim=2)
    loss = -0.5 * (own * anchor).sum(dim=2).mean(dim=0).sum()
    loss.backward()
    check(f"{NETWORK} styles", golden, "loss_stage9", loss[None])
    assert codes.grad is not None
    check(f"{NETWORK} styles", golden, "grad_stage9", codes.grad)


def test_edited_picture_of_lec(small: StyleGAN2, goldens: Goldens) -> None:
    golden = goldens("e4e/lec")
    direction = F.normalize(drawn("lec.direction", (1, 512)), dim=1)
    edited = torch.from_numpy(golden["codes"]) + 3 * direction
    check(NETWORK, golden, "edited_image", small.synthesize(edited).image)


@pytest.mark.parametrize("mode", ["auto", "activations", "weights"])
def test_both_ways_of_modulation(small: StyleGAN2, goldens: Goldens, mode: str) -> None:
    golden = goldens("e4e/lec")
    edited = torch.from_numpy(golden["codes"]) + 3 * F.normalize(drawn("lec.direction", (1, 512)), dim=1)
    small.modulate(mode)  # type: ignore[arg-type]
    try:
        made = torch.cat([small.synthesize(code).image for code in edited.split(1)])
    finally:
        small.modulate("auto")
    check(f"{NETWORK} one by one, {mode}", golden, "edited_image", made)


def test_w_and_w_plus(diffcam: StyleGAN2, goldens: Goldens) -> None:
    golden = goldens("diffcam/generator")
    w = diffcam.map(drawn("diffcam.gen.z", (2, 512)))
    check(f"{NETWORK} mapping", golden, "w", w)
    for key, codes in (("image_w", w), ("image_wplus", drawn("diffcam.gen.wplus", (2, 10, 512)))):
        image = diffcam.synthesize(codes).image
        check(NETWORK, golden, key, image)
        from_styles = diffcam.synthesize_styles(diffcam.styles(codes)).image
        check(f"{NETWORK} from styles", golden, key, from_styles)
        check(NETWORK, golden, f"{key}_stats", torch.stack([image.mean(), image.std()]))


def test_tuning_step_of_pti(small: StyleGAN2, mapped: Tensor, goldens: Goldens) -> None:
    golden = goldens("e4e/pti_steps")
    pivot = mapped.mean(dim=0, keepdim=True) + 0.5 * drawn("pti.offset", (512,))
    image = small.synthesize(pivot).image
    check(NETWORK, golden, "first_image", image)
    error = F.mse_loss(image, drawn("pti.target", (1, 3, 64, 64), "image"))
    assert float(error) == pytest.approx(float(golden["mse"][0]), rel=1e-4)


def test_four_tuning_steps_of_pti(filled: Filled, small: StyleGAN2, mapped: Tensor, goldens: Goldens) -> None:
    """Gradients of every weight: Adam 3e-4 on MSE + 0.1 locality (specs/pti.md 2 and 3), noise off in the second."""
    golden = goldens("e4e/pti_steps")
    centre = mapped.mean(dim=0, keepdim=True)
    pivot = (centre + 0.5 * drawn("pti.offset", (512,)))[:, None].repeat(1, small.num_ws, 1)
    target = drawn("pti.target", (1, 3, 64, 64), "image")
    tuned = build_stylegan2(small.state_dict(), samples=2000).requires_grad_()
    optimizer = torch.optim.Adam(tuned.parameters(), lr=3e-4)
    errors, local = [], []
    for step in range(4):
        error = F.mse_loss(tuned.synthesize(pivot).image, target)
        z = small.map(drawn(f"pti.z.{step}", (1, 512)))
        away = (centre + 0.5 * (z - centre))[:, None] - pivot
        around = pivot + 30 * away / away.norm()
        kept = small.synthesize(around, noise="none").image
        term = 0.1 * F.mse_loss(tuned.synthesize(around, noise="none").image, kept)
        optimizer.zero_grad()
        (error + term).backward()
        optimizer.step()
        errors.append(error.detach())
        local.append(term.detach())
    with torch.no_grad():
        final = tuned.synthesize(pivot).image
    errors.append(F.mse_loss(final, target))
    check(f"{NETWORK} tuned", golden, "final_image", final, 1e-3)
    check(f"{NETWORK} tuned", golden, "mse", torch.stack(errors), 1e-3)
    check(f"{NETWORK} tuned", golden, "regulariser", torch.stack(local), 1e-3)
    check(f"{NETWORK} tuned", golden, "rgb_bias", tuned.get_submodule("to_rgbs.3").bias.flatten(), 1e-3)
    strengths = [tuned.get_submodule(layer.module).noise.weight for layer in tuned.layers if not layer.rgb]
    check(f"{NETWORK} tuned", golden, "noise_weights", torch.cat(strengths), 1e-3)


# Buys: the official numbers at the size that people use; the quick tests compare the same layers at 64 px.
@pytest.mark.slow
def test_1024_px_with_and_without_injection(large: StyleGAN2, goldens: Goldens) -> None:
    golden = goldens("sdic/decoder")
    w = drawn("sdic/w", (2, 18, 512))[:1]
    check("StyleGAN2 mapping 1024", golden, "mapped", large.map(drawn("sdic/z", (2, 512))))
    made = large.synthesize(w, collect=(64,))
    check("StyleGAN2 1024", golden, "image", made.image[:, :, ::16, ::16])
    check("StyleGAN2 1024", golden, "feature_64", made.features[64][:, ::8, ::8, ::8])
    _check_stat(golden, "image_stat", made.image)
    injected = large.synthesize(w, inject={64: drawn("sdic/feature", (2, 512, 64, 64))[:1]}).image
    check("StyleGAN2 1024, injected", golden, "image_injected", injected[:, :, ::16, ::16])
    _check_stat(golden, "image_injected_stat", injected)


def test_256_px_generator_of_the_same_checkpoint(filled: Filled, goldens: Goldens) -> None:
    golden = goldens("sdic/pipeline_256")
    sizes = {f"convs.{i}." for i in range(12)} | {f"to_rgbs.{i}." for i in range(6)}
    noises = {f"noises.noise_{i}" for i in range(13)}

    def kept(key: str) -> bool:
        top = key.split(".")[0]
        return key in noises or (
            f"{top}.{key.split('.')[1]}." in sizes if top in ("convs", "to_rgbs") else top != "noises"
        )

    generator = build_stylegan2(filled("sdic/manifest_decoder", "decoder.", kept), samples=2000)
    assert generator.resolution == 256
    w = drawn("sdic/w", (2, 18, 512))[:1, : generator.num_ws]
    check("StyleGAN2 256", golden, "initial", generator.synthesize(w).image[:, :, ::8, ::8])


def _check_stat(golden: Golden, key: str, whole: Tensor) -> None:
    check(
        "StyleGAN2 1024", golden, key, np.array([float(whole.double().mean()), float(whole.double().std(correction=0))])
    )
