"""Steps whose singular values are alike."""

from __future__ import annotations

import torch

from pipelines.stages.refine.orthogonal import OrthogonalSteps, orthogonal


def test_singular_values_become_alike() -> None:
    matrix = torch.randn(12, 40, generator=torch.Generator().manual_seed(0)) * torch.logspace(-1, 1, 12)[:, None]
    for each in (matrix, matrix.T):
        values = torch.linalg.svdvals(orthogonal(each))
        assert values.min() > 0.5
        assert values.max() < 1.3
    assert torch.equal(orthogonal(torch.zeros(3, 4)), torch.zeros(3, 4))


def test_a_first_step_has_the_size_that_was_asked() -> None:
    """By hand: the gradient of a sum of squares with equal singular values is its own direction."""
    moved, still = torch.eye(6, requires_grad=True), torch.ones(2, 2, requires_grad=True)
    steps = OrthogonalSteps([moved, still])
    moved.square().sum().backward()
    steps.step(0.1)
    change = torch.eye(6) - moved.detach()
    assert torch.allclose(change, change[0, 0] * torch.eye(6), atol=1e-6)
    assert 0.7 < float(change.square().mean().sqrt()) / 0.1 < 1.2
    assert torch.equal(still.detach(), torch.ones(2, 2))
    assert moved.grad is None
