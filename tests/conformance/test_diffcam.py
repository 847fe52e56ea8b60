"""Diff-CAM against numbers of the official code (arXiv 2207.08134): masks, composition, deghosting, losses, the whole chain."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pipelines.images.pixels import resize_area, to_uint8
from pipelines.models.diffcam.classifier import DiffCAM, load_diffcam
from pipelines.models.diffcam.glean import Deghosting, load_deghosting
from pipelines.models.diffcam.masks import class_maps, composed, folded, official_masks
from pipelines.models.generators.discriminator import Discriminator
from pipelines.models.perceptual.vgg import VGGFeature
from pipelines.training.losses import ghost
from pipelines.weights.formats.diffcam import deghosting, diffcam
from tests.conformance.conftest import Filled
from tests.conformance.helpers import Golden, check, drawn

Goldens = Callable[[str], Golden]
TIGHT, USUAL, WIDE = 1e-5, 1e-4, 1e-3  # of masks and losses, of networks, of networks at full size
BEARD, GLASSES = 12, 7


@pytest.fixture(scope="module")
def classifier(filled: Filled) -> DiffCAM:
    """By way of what `ganinv weights convert` keeps of the official file."""
    found = diffcam(filled("diffcam/manifest_diffcam"))
    assert found is not None
    return load_diffcam(found.parts[0].tensors)


def converted(filled: Filled, manifest: str) -> Deghosting:
    found = deghosting(filled(manifest))
    assert found is not None
    return load_deghosting(found.parts[0].tensors)


class Taps:
    """What sub-modules gave in the last pass."""

    def __init__(self) -> None:
        self.seen: dict[str, Tensor] = {}
        self.handles: list[torch.utils.hooks.RemovableHandle] = []

    def on(self, name: str, module: nn.Module) -> None:
        def keep(_module: nn.Module, _inputs: object, output: Tensor) -> None:
            self.seen[name] = output.clone()  # the generator goes on in place

        self.handles.append(module.register_forward_hook(keep))


@pytest.fixture
def taps() -> Iterator[Taps]:
    made = Taps()
    yield made
    for handle in made.handles:
        handle.remove()


def stats(part: str, golden: Golden, key: str, found: Tensor, tolerance: float) -> None:
    """Mean and deviation of the whole tensor; a mean near 0 counts in units of the deviation."""
    check(part, golden, f"{key}_stats", torch.stack((found.mean(), found.std())), tolerance)


# -- masks and pictures ------------------------------------------------------------------------------------------------


@torch.no_grad()
def test_classifier(classifier: DiffCAM, goldens: Goldens) -> None:
    golden, part = goldens("diffcam/diffcam_net"), "Diff-CAM classifier"
    inverted, edited = (drawn(f"diffcam.{name}", (2, 3, 256, 256), "image") for name in ("inverted", "manipulated"))
    before = classifier.shared(inverted)
    delta = classifier.shared(edited) - before
    check(part, golden, "feat_inverted_s", before[:, ::32, ::2, ::2])
    check(part, golden, "delta_s", delta[:, ::32, ::2, ::2])
    stats(part, golden, "delta", delta, USUAL)
    activation = classifier.activation(inverted, edited)
    check(part, golden, "act_s", activation[:, ::32])
    stats(part, golden, "act", activation, USUAL)
    maps = classifier.maps(inverted, edited)
    check(part, golden, "cam_raw", maps)
    check(part, golden, "logits", classifier(inverted, edited))
    masks = official_masks(maps)
    for index in (GLASSES, BEARD):
        check(part, golden, f"mask_c{index}_s", masks[:, index, 1::4, 1::4])


@torch.no_grad()
def test_maps_are_grad_cam(classifier: DiffCAM) -> None:
    activation = drawn("diffcam.mask.A", (1, 2048, 8, 8)).clamp(min=0)
    with torch.enable_grad():
        activation.requires_grad_()
        score = classifier.fc(activation.mean(dim=(2, 3)))[0, BEARD]
        (gradient,) = torch.autograd.grad(score, activation)
    weights = gradient.mean(dim=(2, 3), keepdim=True)
    by_gradient = (weights * activation).sum(dim=1)
    assert torch.allclose(class_maps(activation, classifier.fc.weight)[:, BEARD], by_gradient, atol=1e-6)


def test_masks(goldens: Goldens) -> None:
    golden, part = goldens("diffcam/mask_from_features"), "Diff-CAM mask"
    activation, weight = drawn("diffcam.mask.A", (2, 2048, 8, 8)).clamp(min=0), drawn("diffcam.mask.W", (17, 2048))
    maps = class_maps(activation, weight)
    chosen = torch.stack((maps[0, BEARD], maps[1, GLASSES]))
    check(part, golden, "cam_raw", chosen, TIGHT)
    masks = official_masks(chosen[:, None])
    check(part, golden, "mask256_s", masks[:, 0, ::2, ::2], TIGHT)
    large = masks.repeat_interleave(4, dim=2).repeat_interleave(4, dim=3)
    check(part, golden, "mask1024_s", large[:, :, 3::16, 3::16], TIGHT)
    stats(part, golden, "mask1024", large, TIGHT)
    check(part, golden, "folded1024_s", folded(large)[:, :, 3::16, 3::16], TIGHT)
    stats(part, golden, "folded1024", folded(large), TIGHT)


def pictures() -> tuple[Tensor, Tensor]:
    original = drawn("diffcam.compose.original", (1, 3, 1024, 1024), "image")
    return original, drawn("diffcam.compose.manipulated", (1, 3, 1024, 1024), "image") * 1.1


def test_composition(goldens: Goldens) -> None:
    golden, part = goldens("diffcam/compose"), "Diff-CAM composition"
    original, edited = pictures()
    mask = (drawn("diffcam.compose.mask", (1, 1, 256, 256), "image") + 1) / 2
    fused = composed(original, edited, mask)
    check(part, golden, "fused1024_s", fused[:, :, ::16, ::16], TIGHT)
    check(part, golden, "fused128", resize_area(fused, 128), TIGHT)
    ghosted = composed(original, edited, folded(mask))
    check(part, golden, "ghost1024_s", ghosted[:, :, ::32, ::32], TIGHT)
    levels = to_uint8(ghosted)[0]
    assert np.abs(levels[::16, ::16].astype(int) - golden["ghost_rgb8_s"].astype(int)).max() <= 1
    check(part, golden, "origin256_s", resize_area(original, 256)[:, :, ::8, ::8], TIGHT)
    check(part, golden, "manipulated256_s", resize_area(edited, 256)[:, :, ::8, ::8], TIGHT)


# -- deghosting --------------------------------------------------------------------------------------------------------


def tapped(network: Deghosting, taps: Taps) -> None:
    groups = {"enc": network.FCN.encoder, "fuse": network.FCN.fusion_out, "gen": network.generator.convs}
    for name, modules in groups.items():
        for index, module in enumerate(modules):
            taps.on(f"{name}{index}", module)


def compare_steps(part: str, golden: Golden, seen: Mapping[str, Tensor], tolerance: float) -> None:
    for key, value in seen.items():
        if f"{key}_stats" not in golden:
            continue
        # The official trunk's activation is one of its parts, ours follows it.
        value = torch.nn.functional.leaky_relu(value, 0.2) if key == "enc0" else value
        stats(part, golden, key, value, tolerance)


@torch.no_grad()
def test_small_deghosting(filled: Filled, goldens: Goldens, taps: Taps) -> None:
    golden, part = goldens("diffcam/deghost_small"), "Diff-CAM deghosting 16 to 64"
    network = converted(filled, "diffcam/manifest_deghosting_16_64")
    tapped(network, taps)
    out = network(drawn("diffcam.deghost16", (2, 3, 16, 16), "image"))
    compare_steps(part, golden, taps.seen, USUAL)
    check(part, golden, "latent_s", taps.seen["enc3"][:, :, ::4])
    check(part, golden, "fuse2_s", taps.seen["fuse2"][:, ::32, ::2, ::2])
    check(part, golden, "gen7_s", taps.seen["gen7"][:, ::32, ::8, ::8])
    check(part, golden, "out", out)


@pytest.fixture(scope="module")
def full(filled: Filled) -> Deghosting:
    return converted(filled, "diffcam/manifest_deghosting_128_1024")


# Buys: the official numbers at full width; the quick tests compare a narrow network.
@pytest.mark.slow
@torch.no_grad()
def test_full_deghosting(full: Deghosting, goldens: Goldens, taps: Taps) -> None:
    golden, part = goldens("diffcam/deghost_full"), "Diff-CAM deghosting 128 to 1024"
    tapped(full, taps)
    out = full(drawn("diffcam.deghost128", (1, 3, 128, 128), "image"))
    compare_steps(part, golden, taps.seen, WIDE)
    check(part, golden, "latent", taps.seen["enc6"], WIDE)
    check(part, golden, "gen11_s", taps.seen["gen11"][:, ::32, ::16, ::16], WIDE)
    check(part, golden, "gen15_s", taps.seen["gen15"][:, ::8, ::32, ::32], WIDE)
    check(part, golden, "out_s", out[:, :, ::16, ::16], WIDE)
    check(part, golden, "out_crop", out[:, :, 496:528, 496:528], WIDE)


# Buys: the official numbers of mask and deghosting as one chain; the quick tests compare each network alone.
@pytest.mark.slow
@torch.no_grad()
def test_whole_chain(classifier: DiffCAM, full: Deghosting, goldens: Goldens) -> None:
    golden, part = goldens("diffcam/pipeline_full"), "Diff-CAM 1024"
    original, edited = pictures()
    inverted = drawn("diffcam.pipeline.inverted", (1, 3, 256, 256), "image")
    mask = official_masks(classifier.maps(inverted, resize_area(edited, 256))[:, BEARD : BEARD + 1])
    check(part, golden, "mask256_s", mask[:, 0, ::4, ::4], WIDE)
    small = resize_area(composed(original, edited, mask), 128)
    check(part, golden, "fused128_s", small[:, :, ::2, ::2], WIDE)
    out = full(small)
    check(part, golden, "out_s", out[:, :, ::16, ::16], WIDE)
    check(part, golden, "out_crop", out[:, :, 496:528, 496:528], WIDE)


# -- training ----------------------------------------------------------------------------------------------------------


@torch.no_grad()
def test_discriminator(filled: Filled, goldens: Goldens) -> None:
    golden, part = goldens("diffcam/discriminator"), "StyleGAN2 discriminator"
    network = Discriminator(64)
    network.load_state_dict(filled("diffcam/manifest_discriminator_64"))
    images = drawn("diffcam.disc", (4, 3, 64, 64), "image")
    check(part, golden, "convs_s", network.convs(images)[:, ::16])
    for count in (4, 2, 1):
        check(part, golden, f"logits_b{count}", network(images[:count]))


@torch.no_grad()
def test_losses(filled: Filled, goldens: Goldens) -> None:
    golden, part = goldens("diffcam/losses"), "Diff-CAM losses"
    features = VGGFeature(filled("diffcam/manifest_vgg16"))
    made, target = (drawn(f"diffcam.loss.{name}", (2, 3, 64, 64), "image") for name in ("x", "gt"))
    check(part, golden, "vgg_feat_s", features(made)[:, ::16], TIGHT)
    check(part, golden, "pixel", ghost.pixel_loss(made, target)[None], TIGHT)
    perceptual = ghost.PERCEPTUAL * ghost.perceptual_loss(made, target, features)
    check(part, golden, "perceptual", perceptual[None], TIGHT)
    fake, real = drawn("diffcam.loss.logits", (4, 1)), drawn("diffcam.loss.logits_real", (4, 1))
    check(part, golden, "gan_g", ghost.ADVERSARIAL * ghost.fooling_loss(fake)[None], TIGHT)
    for key, found in zip(("gan_d_real", "gan_d_fake"), ghost.judging_losses(real, fake), strict=True):
        check(part, golden, key, found[None], TIGHT)
