"""SDIC against numbers of the official code (arXiv 2312.07079): both networks, and the whole chain with edits."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipelines.models.encoders.e4e import Encoder4Editing, build_pyramid_encoder
from pipelines.models.generators.stylegan2 import StyleGAN2
from pipelines.models.generators.stylegan2_state import build_stylegan2
from pipelines.models.sdic.official import SDIC, load_sdic
from pipelines.stages.compensate.sdic import SDICCompensator
from pipelines.training.losses.sdic import compensation_loss
from pipelines.types import FaceBatch, Injection, Inversion, Point, Synthesis
from tests.conformance.conftest import Filled
from tests.conformance.helpers import TOLERANCE, Golden, check, drawn

Goldens = Callable[[str], Golden]


@pytest.fixture(scope="module")
def network(filled: Filled) -> SDIC:
    return load_sdic(filled("sdic/manifest_DIP") | filled("sdic/manifest_SAF"))


class Taps:
    """Keeps what sub-modules gave, in order of their calls."""

    def __init__(self) -> None:
        self.seen: dict[str, list[Any]] = {}
        self._handles: list[Any] = []

    def on(self, module: nn.Module, name: str) -> None:
        keep = self.seen.setdefault(name, [])
        self._handles.append(module.register_forward_hook(lambda _module, _inputs, output: keep.append(output)))

    def close(self) -> None:
        for handle in self._handles:
            handle.remove()


@pytest.fixture
def taps() -> Iterator[Taps]:
    made = Taps()
    yield made
    made.close()


def strided(x: Tensor, *steps: int) -> Tensor:
    return x[tuple(slice(None, None, step) for step in steps)]


def compare(part: str, golden: Golden, key: str, found: Tensor, *steps: int) -> None:
    """The strided values, and mean and deviation of all of them (to the same share of the array's size)."""
    check(part, golden, key, strided(found, *steps))
    if f"{key}_stat" in golden:
        stat = torch.stack((found.mean(), found.std(correction=0)))
        size = float(abs(golden[key]).max())
        check(part, golden, f"{key}_stat", stat, atol=TOLERANCE * size)


# -- the networks ------------------------------------------------------------------------------------------------------


@torch.no_grad()
def test_dipn(network: SDIC, goldens: Goldens, taps: Taps) -> None:
    golden = goldens("sdic/dip")
    net = network.DIP
    taps.on(net.feature_up, "pyramid")
    taps.on(net.corr_stem, "volume")
    for name in ("CGF_32", "CGF_16", "CGF_8"):
        taps.on(getattr(net.hourglass_fusion, name), name)
    taps.on(net.hourglass_fusion.conv1_up["conv"], "cost")
    made = net(drawn("sdic/image", (1, 3, 256, 256), "image"), drawn("sdic/recon", (1, 3, 256, 256), "image"))
    left, right = taps.seen["pyramid"]
    for level, step in enumerate((16, 16, 16, 8)):
        compare("DIPN", golden, f"left_{level}", left[level], 1, 1, step, step)
    compare("DIPN", golden, "right_0", right[0], 1, 1, 16, 16)
    compare("DIPN", golden, "volume", taps.seen["volume"][0], 1, 1, 8, 16, 16)
    for key, name, steps in (
        ("fused_32", "CGF_32", (1, 1, 1, 8, 8)),
        ("fused_64", "CGF_16", (1, 1, 2, 16, 16)),
        ("fused_128", "CGF_8", (1, 1, 4, 32, 32)),
    ):
        compare("DIPN", golden, key, taps.seen[name][0], *steps)
    compare("DIPN", golden, "cost", taps.seen["cost"][0].squeeze(1), 1, 1, 16, 16)
    compare("DIPN", golden, "map", made, 1, 1, 4, 4)


@torch.no_grad()
def test_dicn_and_its_loss(network: SDIC, goldens: Goldens, taps: Taps) -> None:
    golden = goldens("sdic/saf")
    net = network.SAF
    for name, module in (("content", net.semantic), ("gate", net.att), ("scale", net.aff1d.att)):
        taps.on(module, name)
    taps.on(net.aff1d.att2, "offset")
    rows: list[Tensor] = []
    handle = net.aff1d.register_forward_pre_hook(lambda _module, inputs: rows.append(inputs[0]))
    feature, w = drawn("sdic/feature", (2, 512, 64, 64)), drawn("sdic/w", (2, 18, 512))
    made, codes = net(0.5 * drawn("sdic/res", (2, 3, 256, 256), "image"), feature, w)
    handle.remove()
    compare("DICN", golden, "content", taps.seen["content"][0], 1, 8, 8, 8)
    compare("DICN", golden, "gate_logits", taps.seen["gate"][0], 1, 8, 8, 8)
    compare("DICN", golden, "feature_out", made, 1, 8, 8, 8)
    compare("DICN", golden, "rows", rows[0], 1, 4, 8)
    compare("DICN", golden, "scale", taps.seen["scale"][0], 1, 1, 8)
    compare("DICN", golden, "offset", taps.seen["offset"][0], 1, 1, 8)
    compare("DICN", golden, "w_out", codes)
    check("DICN", golden, "loss_feature", compensation_loss(made, feature, codes, w))


# -- the chain ---------------------------------------------------------------------------------------------------------


class EighteenRows:
    """A smaller generator that is given 18 rows and leaves the last ones alone, as the official one does."""

    def __init__(self, generator: StyleGAN2) -> None:
        self.generator = generator

    def features(self, w: Tensor, points: tuple[Point, ...]) -> dict[Point, Tensor]:
        return self.generator.features(w[:, : self.generator.num_ws], points)

    def synthesize(
        self, w: Tensor, inject: Mapping[Point, Injection] | None = None, collect: tuple[Point, ...] = ()
    ) -> Synthesis:
        return self.generator.synthesize(w[:, : self.generator.num_ws], inject, collect)


def official(generator: StyleGAN2, network: SDIC) -> SDICCompensator:
    return SDICCompensator(EighteenRows(generator), network, official=True)  # type: ignore[arg-type]


def direction(name: str, rows: int) -> Tensor:
    drawn_rows = drawn(name, (1, rows, 512) if rows > 1 else (1, 512))
    return drawn_rows / drawn_rows.norm(dim=-1, keepdim=True)


def kept_at_256(key: str) -> bool:
    """Whether a 1024 px checkpoint's tensor belongs to its 256 px part, too."""
    kind, _, rest = key.partition(".")
    limits = {"convs": 12, "to_rgbs": 6}
    if kind in limits:
        return int(rest.split(".")[0]) < limits[kind]
    return kind != "noises" or int(rest.removeprefix("noise_")) < 13


@torch.no_grad()
def test_chain_with_a_small_generator(network: SDIC, filled: Filled, goldens: Goldens) -> None:
    golden = goldens("sdic/pipeline_256")
    generator = build_stylegan2(filled("sdic/manifest_decoder", prefix="decoder.", keep=kept_at_256), samples=64)
    compensator = official(generator, network)
    inversion = Inversion(drawn("sdic/w", (2, 18, 512))[:1])
    image = drawn("sdic/image", (1, 3, 256, 256), "image")
    base = generator.synthesize(inversion.latents[:, : generator.num_ws])
    compare("SDIC chain", golden, "initial", base.image, 1, 1, 8, 8)
    prepared = compensator.prepare(FaceBatch(image), inversion)
    compare("SDIC chain", golden, "map", prepared.discrepancy, 1, 1, 8, 8)
    compare("SDIC chain", golden, "w_out", prepared.inversion.latents + prepared.change)
    compare("SDIC chain", golden, "feature_out", prepared.features[64] + prepared.residuals[64], 1, 8, 8, 8)
    compare("SDIC chain", golden, "final", compensator.render(prepared, inversion.latents).image, 1, 1, 8, 8)
    edited = compensator.render(prepared, inversion.latents + 2 * direction("sdic/direction", 1)).image
    compare("SDIC chain", golden, "edit_2", edited, 1, 1, 8, 8)


PRESETS = {"eyes": (54, 7, 8, 20.0), "beard": (58, 7, 9, -20.0), "lip": (34, 10, 11, 20.0)}


def ganspace(codes: Tensor, preset: str) -> Tensor:
    """The change n x 18 x 512 that brings row 0's coordinate along a component to the preset's strength."""
    index, start, end, strength = PRESETS[preset]
    mean = drawn("sdic/pca_mean", (1, 512))
    component = drawn("sdic/pca_comp", (80, 1, 512))[index] / 512**0.5
    std = drawn("sdic/pca_std", (80,)).abs()[index] + 0.5
    coordinate = ((codes[:, 0] - mean) * component).sum(dim=1, keepdim=True) / std
    change = torch.zeros_like(codes)
    change[:, start:end] = ((strength - coordinate) * std * component).unsqueeze(1)
    return change


# Buys: the official numbers of encoder, SDIC and generator as one chain; the quick tests compare each network alone.
@pytest.mark.slow
@torch.no_grad()
def test_whole_chain_at_1024(network: SDIC, filled: Filled, goldens: Goldens) -> None:
    golden = goldens("sdic/pipeline")
    image = drawn("sdic/image", (1, 3, 256, 256), "image")
    encoder = build_pyramid_encoder(Encoder4Editing, filled("sdic/manifest_encoder"))
    inversion = Inversion(encoder(image))
    del encoder
    generator = build_stylegan2(filled("sdic/manifest_decoder", prefix="decoder."), samples=64)
    compensator = official(generator, network)
    compare("SDIC 1024", golden, "w", inversion.latents)
    base = generator.synthesize(inversion.latents)
    compare("SDIC 1024", golden, "initial", base.image, 1, 1, 32, 32)
    prepared = compensator.prepare(FaceBatch(image), inversion)
    compare("SDIC 1024", golden, "map", prepared.discrepancy, 1, 1, 8, 8)
    codes = prepared.inversion.latents + prepared.change
    compare("SDIC 1024", golden, "w_out", codes)
    compare("SDIC 1024", golden, "feature_out", prepared.features[64] + prepared.residuals[64], 1, 8, 8, 8)
    final = compensator.render(prepared, inversion.latents).image
    compare("SDIC 1024", golden, "final", final, 1, 1, 32, 32)
    compare("SDIC 1024", golden, "final_256", F.adaptive_avg_pool2d(final, 256), 1, 1, 8, 8)
    for name, (_, start, end, _) in PRESETS.items():
        compare("GANSpace", golden, f"ganspace_{name}_rows", ganspace(codes, name)[:, start:end])
    edits = {
        "edit_0": torch.zeros_like(codes),
        "edit_2": 2 * direction("sdic/direction", 1),
        "edit18": -3 * direction("sdic/direction18", 18),
        "edit_beard": ganspace(codes, "beard"),
    }
    for name, change in edits.items():
        feature = generator.features(codes + change, (64,))[64] + prepared.residuals[64]
        compare("SDIC 1024", golden, f"{name}_feature", feature, 1, 16, 16, 16)
        compare("SDIC 1024", golden, name, compensator.edited(prepared, inversion.latents + change).image, 1, 1, 32, 32)


@torch.no_grad()
def test_the_default_arithmetic_gives_the_inversion_at_strength_zero_with_the_official_network_too(
    network: SDIC, filled: Filled
) -> None:
    generator = build_stylegan2(filled("sdic/manifest_decoder", prefix="decoder.", keep=kept_at_256), samples=64)
    compensator = SDICCompensator(EighteenRows(generator), network)  # type: ignore[arg-type]
    inversion = Inversion(drawn("sdic/w", (2, 18, 512))[:1])
    image = drawn("sdic/image", (1, 3, 256, 256), "image")
    prepared = official(generator, network).prepare(FaceBatch(image), inversion)
    picture = compensator.render(prepared, inversion.latents).image
    assert torch.equal(compensator.edited(prepared, inversion.latents).image, picture)
    other = replace(prepared, residuals={64: torch.zeros_like(prepared.residuals[64])})
    assert not torch.allclose(compensator.render(other, inversion.latents).image, picture, atol=1e-2)
