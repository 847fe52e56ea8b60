"""The field's encoders: stages, batches, files that do not fit. Their numbers: tests/conformance."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from pipelines.errors import WeightsError
from pipelines.models.encoders.e4e import Encoder4Editing, PSp, build_pyramid_encoder, load_trunk
from pipelines.models.faces.arcface import ArcFace

ROWS = 8  # some on each level


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    """A checkpoint as upstream files carry it: prefixed, with a generator beside the encoder."""
    torch.manual_seed(0)
    net = Encoder4Editing(ROWS)
    tensors = {f"encoder.{key}": value for key, value in net.state_dict().items() if key != "latent_avg"}
    return tensors | {"decoder.conv1.weight": torch.zeros(2), "latent_avg": torch.randn(ROWS, 512)}


@pytest.fixture(scope="module")
def e4e(state: dict[str, Tensor]) -> Encoder4Editing:
    return build_pyramid_encoder(Encoder4Editing, state)


@pytest.fixture(scope="module")
def small_faces() -> Tensor:
    """64 px do as well as 256: every head still ends at one pixel."""
    return torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(1)) * 2 - 1


@torch.no_grad()
def test_a_stage_adds_offsets_row_by_row(e4e: Encoder4Editing, small_faces: Tensor) -> None:
    e4e.stage = None
    full = e4e(small_faces) - e4e.latent_avg
    for stage in (0, 3, ROWS - 1, ROWS):
        e4e.stage = stage
        codes = e4e(small_faces) - e4e.latent_avg
        torch.testing.assert_close(codes[:, : stage + 1], full[:, : stage + 1], rtol=1e-4, atol=1e-5)
        rest = codes[:, stage + 1 :]
        torch.testing.assert_close(rest, full[:, :1].expand_as(rest), rtol=1e-4, atol=1e-5)
    e4e.stage = None


@torch.no_grad()
def test_psp_is_the_same_network_without_the_base(
    state: dict[str, Tensor], e4e: Encoder4Editing, small_faces: Tensor
) -> None:
    own = build_pyramid_encoder(PSp, state)(small_faces) - e4e.latent_avg
    offsets = e4e(small_faces) - e4e.latent_avg
    torch.testing.assert_close(own[:, 0], offsets[:, 0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(own[:, 1:] + own[:, :1], offsets[:, 1:], rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_a_face_does_not_depend_on_its_batch(e4e: Encoder4Editing, small_faces: Tensor) -> None:
    torch.testing.assert_close(e4e(small_faces)[1:2], e4e(small_faces[1:2]), rtol=1e-3, atol=1e-4)
    assert not any(parameter.requires_grad for parameter in e4e.parameters())
    assert not any(module.training for module in e4e.modules() if isinstance(module, nn.BatchNorm2d))


def test_heads_beyond_the_stage_get_no_gradient(small_faces: Tensor) -> None:
    net = Encoder4Editing(ROWS, stage=1)
    net(small_faces).square().sum().backward()
    trained = [head.linear.weight.grad is not None for head in net.styles]
    assert trained == [True, True] + [False] * 6


def test_the_average_may_have_any_of_the_usual_shapes(state: dict[str, Tensor]) -> None:
    average = state["latent_avg"]
    plain = {key: value for key, value in state.items() if key != "latent_avg"}
    assert not build_pyramid_encoder(PSp, plain).latent_avg.any()
    assert torch.equal(build_pyramid_encoder(PSp, plain | {"encoder.latent_avg": average}).latent_avg, average)
    assert torch.equal(build_pyramid_encoder(PSp, plain | {"latent_avg": average[None]}).latent_avg, average)
    repeated = build_pyramid_encoder(PSp, plain | {"latent_avg": average[0]}).latent_avg
    assert torch.equal(repeated, average[:1].expand(ROWS, 512))
    with pytest.raises(WeightsError, match="average latent"):
        build_pyramid_encoder(PSp, plain | {"latent_avg": torch.zeros(5, 512)})


def test_step_counters_may_be_absent(state: dict[str, Tensor]) -> None:
    without = {key: value for key, value in state.items() if not key.endswith("num_batches_tracked")}
    assert len(without) < len(state)
    assert build_pyramid_encoder(Encoder4Editing, without).num_ws == ROWS


def test_a_trunk_starts_from_arcface(small_faces: Tensor) -> None:
    torch.manual_seed(3)
    identity, net = ArcFace(), Encoder4Editing(1)
    before = net.styles[0].linear.weight.clone()
    state = {key: value for key, value in identity.state_dict().items() if not key.endswith("num_batches_tracked")}
    load_trunk(net, state)
    net.eval()
    with torch.no_grad():
        for ours, theirs in zip(net.taps(small_faces), identity.taps(small_faces), strict=True):
            assert torch.equal(ours, theirs)
    assert torch.equal(net.styles[0].linear.weight, before)
    with pytest.raises(WeightsError, match=r"body\.3\.res_layer\.1\.weight is missing"):
        load_trunk(net, state | {"body.3.res_layer.1.weight": torch.zeros(2)})


def test_files_that_do_not_fit_are_refused(state: dict[str, Tensor]) -> None:
    with pytest.raises(WeightsError, match=r"no tensors encoder\.styles"):
        build_pyramid_encoder(Encoder4Editing, {"decoder.a": torch.zeros(1)})
    lacking = {key: value for key, value in state.items() if key != "encoder.latlayer1.weight"}
    with pytest.raises(WeightsError, match="not an e4e checkpoint of 8 rows"):
        build_pyramid_encoder(Encoder4Editing, lacking)
    with pytest.raises(WeightsError, match="psp"):
        build_pyramid_encoder(PSp, state | {"encoder.surplus": torch.zeros(1)})
    with pytest.raises(WeightsError, match="not an e4e"):
        build_pyramid_encoder(Encoder4Editing, state | {"encoder.latlayer1.bias": torch.zeros(3)})
