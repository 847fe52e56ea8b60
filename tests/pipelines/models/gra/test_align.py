"""Aligners: a shift is undone, noise is not trusted, and what did not move stays to the bit."""

from __future__ import annotations

import torch
from torch import Tensor

from pipelines.models.gra.align import Aligner, departed

SIDE, CHANNELS = 16, 64


def aligner(side: int = SIDE, keep: int = 4, **ablations: bool) -> Aligner:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Aligner(CHANNELS, side, keep, **ablations).requires_grad_(False)


def noise(seed: int, side: int = SIDE) -> Tensor:
    return torch.randn(1, CHANNELS, side, side, generator=torch.Generator().manual_seed(seed))


def test_a_shift_by_whole_cells_is_undone() -> None:
    net, feature, residual = aligner(), noise(0), noise(1)
    moved = net.source(feature.roll((2, 1), (2, 3)), residual.roll((2, 1), (2, 3)))
    found = net(feature, moved)
    best = found.match.index.gather(2, found.match.weights.argmax(dim=2, keepdim=True))[0, :, 0].view(SIDE, SIDE)
    y, x = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    right = best == (y + 2) * SIDE + x + 1
    assert right[: SIDE - 2, : SIDE - 1].float().mean() > 0.95
    inner = (slice(None), slice(None), slice(0, SIDE - 2), slice(0, SIDE - 1))
    before = (moved.residual - residual)[inner].abs().mean()
    assert (found.residual - residual)[inner].abs().mean() < 0.3 * before


def test_noise_is_not_trusted_and_the_own_place_is() -> None:
    net, feature = aligner(), noise(0)
    assert net(feature, net.source(noise(5), noise(1))).confidence.mean() < 0.2
    assert net(feature, net.source(feature, noise(1))).confidence.mean() > 0.9


def test_what_did_not_move_stays_to_the_bit() -> None:
    net, feature, residual = aligner(), noise(0), noise(1)
    assert torch.equal(net(feature, net.source(feature, residual)).residual, residual)
    edited = feature.clone()
    edited[:, :, :4] += 1
    found = net(edited, net.source(feature, residual)).residual
    assert torch.equal(found[:, :, 6:], residual[:, :, 6:])
    assert not torch.equal(found[:, :, :4], residual[:, :, :4])
    assert departed(edited, feature)[:, :, :4].min() > 0.99


def test_without_attention_or_confidence_a_residual_is_pasted_where_it_was() -> None:
    net, residual = aligner(confident=False, attentive=False), noise(1)
    found = net(noise(0), net.source(noise(2), residual)).residual
    gate = torch.sigmoid(torch.tensor(2.0))  # as an untrained fusion has it
    assert torch.allclose(found, gate * residual, atol=1e-4)
    assert not torch.allclose(
        aligner(confident=False)(noise(0), net.source(noise(2), residual)).residual, found, atol=0.1
    )


def test_sparse_and_dense_agree_when_everything_is_kept() -> None:
    net, feature, residual = aligner(), noise(0), noise(1)
    source = net.source(feature.roll(1, 3), residual)
    every = torch.arange(SIDE**2 // 4).expand(1, SIDE**2 // 4, -1)
    sparse, dense = net(feature, source, every, SIDE**2), net(feature, source, None, SIDE**2)
    assert torch.allclose(sparse.residual, dense.residual, atol=1e-5)
    assert torch.allclose(sparse.confidence, dense.confidence, atol=1e-6)


def test_gradients_reach_all_that_is_trained() -> None:
    net = aligner().requires_grad_(True)
    rng = torch.Generator().manual_seed(1)
    for parameter in net.parameters():
        parameter.data += 0.02 * torch.randn(parameter.shape, generator=rng)
    source = net.source(noise(2), noise(1))
    net(noise(0), source).residual.square().sum().backward()
    idle = [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()]
    assert not idle
