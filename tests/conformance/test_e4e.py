"""The e4e family's parts against numbers of the official modules (encoder4editing, GANInverter, PTI)."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipelines.metrics.lec import edit_consistency
from pipelines.metrics.summary import trimmed
from pipelines.models.encoders.e4e import Encoder4Editing, PSp, build_pyramid_encoder
from pipelines.models.encoders.latent_discriminator import LatentDiscriminator
from pipelines.models.faces.arcface import build_arcface, crop_112
from pipelines.models.generators.style_space import (
    StyleCentre,
    aligned_distance,
    centre_digest,
    mean_styles,
    nscd,
    style_layers,
)
from pipelines.models.generators.stylegan2 import StyleGAN2
from pipelines.models.generators.stylegan2_state import build_stylegan2
from pipelines.stages.refine.projection import code_noise, far_code, learning_rate, noise_penalty, normalised_noise
from pipelines.training.loop import ranger
from pipelines.training.losses.latent import adversarial_loss, delta_norm, discriminator_loss, r1
from tests.conformance.conftest import Filled
from tests.conformance.helpers import Golden, check, drawn
from tests.conformance.walk import ComponentEdit, boundary_walk, set_components, sweep

Goldens = Callable[[str], Golden]


def _scalar(value: Tensor) -> Tensor:
    return value.reshape(1)


# -- the latent discriminator and the losses on codes ------------------------------------------------------------------


@pytest.fixture(scope="module")
def judge(filled: Filled) -> LatentDiscriminator:
    net = LatentDiscriminator()
    net.load_state_dict(filled("e4e/latent_discriminator"))
    return net


def test_latent_discriminator(goldens: Goldens, judge: LatentDiscriminator) -> None:
    golden = goldens("e4e/latent_losses")
    real, fake = drawn("disc.real", (4, 512)).requires_grad_(), drawn("disc.fake", (4, 512))
    real_pred, fake_pred = judge(real), judge(fake)
    check("latent discriminator", golden, "real_pred", real_pred)
    check("latent discriminator", golden, "fake_pred", fake_pred)
    check("latent discriminator", golden, "d_loss", _scalar(discriminator_loss(real_pred, fake_pred)))
    check("latent discriminator", golden, "r1", _scalar(r1(real_pred, real)))


@pytest.mark.parametrize("stage", [0, 5, 17, 18])
def test_encoder_terms(goldens: Goldens, judge: LatentDiscriminator, stage: int) -> None:
    golden = goldens("e4e/latent_losses")
    codes = drawn("disc.wplus", (2, 18, 512))
    check("adversarial term", golden, f"adv_stage{stage}", _scalar(adversarial_loss(judge(codes[:, : stage + 1]))))
    if stage < 18:
        check("delta norm", golden, f"delta_stage{stage}", _scalar(delta_norm(codes, stage)))


# -- the optimiser -----------------------------------------------------------------------------------------------------


def test_ranger(goldens: Goldens) -> None:
    golden = goldens("e4e/ranger")
    shapes = {"conv": (4, 3, 3, 3), "linear": (5, 7), "bias": (5,)}
    weights = {name: nn.Parameter(drawn(f"ranger.{name}", shape)) for name, shape in shapes.items()}
    optimiser = ranger([{"params": list(weights.values())}], lr=0.1)
    for step in range(1, 21):
        for index, weight in enumerate(weights.values()):
            weight.grad = drawn(f"ranger.grad{index}.{step}", tuple(weight.shape))
        optimiser.step()
        if step in (1, 5, 6, 7, 12, 20):
            for name, weight in weights.items():
                check("Ranger", golden, f"{name}_{step}", weight, tolerance=2e-6, atol=2e-6)


# -- encoders ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def encoder_state(filled: Filled) -> dict[str, Tensor]:
    """A gigabyte: the 18-row encoder, shared by both readings of it."""
    return filled("e4e/e4e_encoder")


@pytest.fixture(scope="module")
def picture() -> Tensor:
    return drawn("e4e.image", (1, 3, 256, 256), "image")


@torch.no_grad()
def test_trunk_and_pyramid(goldens: Goldens, encoder_state: dict[str, Tensor], picture: Tensor) -> None:
    golden = goldens("e4e/wplus")
    net = build_pyramid_encoder(Encoder4Editing, encoder_state)
    c1, c2, c3 = net.taps(picture)
    c3_again, p2, p1 = net.pyramid(picture)
    assert torch.equal(c3, c3_again)
    check("IR-SE-50 trunk", golden, "c1", c1[:, ::16, ::8, ::8])
    check("IR-SE-50 trunk", golden, "c2", c2[:, ::32, ::4, ::4])
    check("IR-SE-50 trunk", golden, "c3", c3[:, ::32, ::2, ::2])
    check("feature pyramid", golden, "p2", p2[:, ::32, ::4, ::4])
    check("feature pyramid", golden, "p1", p1[:, ::32, ::8, ::8])


@torch.no_grad()
def test_e4e_at_every_stage(goldens: Goldens, encoder_state: dict[str, Tensor], picture: Tensor) -> None:
    golden = goldens("e4e/wplus")
    net = build_pyramid_encoder(Encoder4Editing, encoder_state)
    net.stage = 0
    codes = net(picture)
    assert torch.equal(codes, codes[:, :1].expand_as(codes))
    check("e4e", golden, "stage0", codes[:, :1])
    for stage in (1, 3, 7, 12):
        net.stage = stage
        check("e4e", golden, f"stage{stage}", net(picture))
    net.stage = None
    check("e4e", golden, "inference", net(picture))


@torch.no_grad()
def test_psp(goldens: Goldens, encoder_state: dict[str, Tensor], picture: Tensor) -> None:
    check("pSp", goldens("e4e/wplus_psp"), "codes", build_pyramid_encoder(PSp, encoder_state)(picture))


def test_identity(goldens: Goldens, filled: Filled) -> None:
    golden = goldens("e4e/identity")
    net = build_arcface(filled("e4e/ir_se50"))
    target = drawn("id.target", (2, 3, 256, 256), "image")
    output = 0.7 * target + 0.3 * drawn("id.output", (2, 3, 256, 256), "image")
    check("ArcFace crop", golden, "crop112", crop_112(target)[:, :, ::4, ::4])
    embeddings = net(target), net(output)
    check("ArcFace", golden, "target", embeddings[0])
    check("ArcFace", golden, "output", embeddings[1])
    cosine = (embeddings[0] * embeddings[1]).sum(1)
    check("ArcFace", golden, "cosine", cosine)
    check("identity loss", golden, "loss", _scalar((1 - cosine).mean()))


# -- normalised style space (LSAP) -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small(filled: Filled) -> StyleGAN2:
    return build_stylegan2(filled("e4e/stylegan2_64", "decoder."), samples=2000)


def test_style_space(goldens: Goldens, small: StyleGAN2) -> None:
    golden = goldens("e4e/sncd")
    layers = style_layers(small)
    assert [row for row, _ in layers] == list(range(small.num_ws))
    w = small.map(drawn("sncd.z", (1024, 512)))
    check("StyleGAN2 mapping", golden, "w", w[:4])
    styles = torch.stack([affine(w) for _, affine in layers])
    check("style space", golden, "style_mean", styles.mean(1))
    check("style space", golden, "style_std", styles.std(1))
    vectors = mean_styles(layers, w.split(100))
    check("LSAP centre", golden, "anchor", torch.stack(vectors))
    check("LSAP centre", golden, "anchor_norm", torch.stack([vector.norm() for vector in vectors]))

    centre = StyleCentre(layers, vectors, small.num_ws, len(w), 0, centre_digest(small))
    codes = (w[:2, None] + drawn("sncd.delta", (2, 10, 512))).requires_grad_()
    check("style space", golden, "styles", torch.cat([affine(codes[:1, row]) for row, affine in layers]))
    check("LSAP distance", golden, "similarity", centre.similarity(codes))
    check("LSAP distance", golden, "cosine", centre.cosine(codes))
    for stage in (0, 4, 9):
        check("LSAP distance", golden, f"total_stage{stage}", _scalar(aligned_distance(codes, centre, stage)))
    loss = 0.5 * aligned_distance(codes, centre, 9)
    check("LSAP distance", golden, "loss_stage9", _scalar(loss))
    loss.backward()
    assert codes.grad is not None
    check("LSAP distance", golden, "grad_stage9", codes.grad, atol=1e-8)


def test_nscd_is_the_mean_of_the_golden_cosines(goldens: Goldens, small: StyleGAN2) -> None:
    golden = goldens("e4e/sncd")
    w = small.map(drawn("sncd.z", (1024, 512)))
    layers = style_layers(small)
    centre = StyleCentre(layers, mean_styles(layers, [w]), small.num_ws, len(w), 0, "")
    codes = w[:2, None] + drawn("sncd.delta", (2, 10, 512))
    expected = torch.from_numpy(1 - golden["cosine"]).mean(1)
    torch.testing.assert_close(nscd(codes, centre), expected, rtol=1e-4, atol=1e-5)


# -- editing -----------------------------------------------------------------------------------------------------------


def test_latent_editing_consistency(goldens: Goldens, filled: Filled, small: StyleGAN2) -> None:
    """Codes -> +3 d -> picture -> 256 px -> codes again -> -3 d, with the encoder's first ten heads."""
    golden = goldens("e4e/lec")
    beyond = tuple(f"encoder.styles.{row}." for row in range(10, 18))
    state = filled("e4e/e4e_encoder", keep=lambda key: not key.startswith(beyond))
    encoder = build_pyramid_encoder(Encoder4Editing, state | {"latent_avg": drawn("lec.latent_avg", (10, 512))})
    direction = drawn("lec.direction", (1, 512))
    direction = direction / direction.norm()
    seen: list[Tensor] = []

    def embed(image: Tensor) -> Tensor:
        seen.append(image)
        with torch.no_grad():
            seen.append(F.adaptive_avg_pool2d(image, 256))
            seen.append(encoder(seen[-1]))
        return seen[-1]

    with torch.no_grad():
        codes = encoder(drawn("lec.images", (2, 3, 256, 256), "image"))
    check("e4e, 10 rows", golden, "codes", codes)
    distances = edit_consistency(codes, direction, lambda moved: small.synthesize(moved).image, embed)
    check("LEC", golden, "edited_image", seen[0])
    check("LEC", golden, "pooled_sample", seen[1][:, :, ::8, ::8])
    check("LEC", golden, "reencoded", seen[2], atol=5e-3)
    check("LEC", golden, "distance", distances, atol=5e-3)
    check("LEC", golden, "score", _scalar(torch.tensor(trimmed(distances.tolist())).mean()), atol=5e-3)


def test_outlier_filter_of_lec(goldens: Goldens) -> None:
    golden = goldens("e4e/lec")
    kept = torch.tensor(trimmed(drawn("lec.filter", (300,)).abs().tolist()))
    check("LEC", golden, "filter_mean", _scalar(kept.mean()))
    check("LEC", golden, "filter_count", torch.tensor([float(len(kept))]), tolerance=0)


def test_editing(goldens: Goldens) -> None:
    golden = goldens("e4e/editing")
    code = drawn("edit.wplus", (1, 18, 512))
    flat, rows = drawn("edit.direction", (1, 512)), drawn("edit.direction18", (1, 18, 512))
    flat, rows = flat / flat.norm(), rows / rows.norm(dim=2, keepdim=True)
    check("InterFaceGAN", golden, "factor_range", sweep(code, flat, range(-2, 2)), tolerance=2e-6)
    check("InterFaceGAN", golden, "factor_layers", sweep(code, rows, [2.5]), tolerance=2e-6)
    walked = boundary_walk(drawn("edit.w", (1, 512)), flat, -3, 3, 5)
    check("InterFaceGAN", golden, "boundary_walk", walked, tolerance=2e-6)
    components = drawn("edit.pca_comp", (4, 1, 512)) / 512**0.5
    deviations = drawn("edit.pca_std", (4,)).abs() + 1
    edited = set_components(
        code, drawn("edit.pca_mean", (1, 512)), components, deviations, [ComponentEdit(2, 7, 9, 4.0)]
    )
    check("GANSpace", golden, "ganspace", edited, tolerance=2e-6)


# -- projection --------------------------------------------------------------------------------------------------------


def test_projection(goldens: Goldens) -> None:
    golden = goldens("e4e/optim")
    check("projection", golden, "lr", torch.tensor([learning_rate(step, 450, 0.01) for step in range(450)]))
    check("projection", golden, "noise_strength", torch.tensor([code_noise(step, 450) for step in range(450)]))
    maps = drawn("optim.noise", (1, 1, 64, 64)), drawn("optim.noise4", (1, 1, 4, 4))
    check("projection", golden, "noise_regularize", _scalar(noise_penalty(maps)[0]), tolerance=2e-6, atol=2e-6)
    normal = normalised_noise(2 * drawn("optim.norm", (1, 1, 32, 32)) + 1)
    check("projection", golden, "noise_normalized", normal[:, :, ::4, ::4], tolerance=2e-6, atol=2e-6)
    moved = far_code(drawn("pti.pivot", (1, 18, 512)), drawn("pti.sample", (1, 512)))
    check("PTI", golden, "morphed", moved, tolerance=2e-6, atol=2e-6)
