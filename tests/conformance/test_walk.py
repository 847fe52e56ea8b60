"""Edits by the field's rules on small cases; the official numbers are in tests/conformance."""

from __future__ import annotations

import pytest
import torch

from tests.conformance.walk import ComponentEdit, boundary_walk, set_components, sweep


def test_a_sweep_adds_each_factor_to_every_row() -> None:
    code, direction = torch.randn(1, 4, 8), torch.randn(1, 8)
    made = sweep(code, direction, range(-1, 2))
    assert made.shape == (3, 4, 8)
    assert torch.equal(made[1], code[0])
    torch.testing.assert_close(made[2] - made[0], (2 * direction).expand(4, 8))


def test_a_walk_reaches_its_distances_wherever_it_starts() -> None:
    normal = torch.nn.functional.normalize(torch.randn(1, 8), dim=1)
    code = 5 * torch.randn(1, 8)
    walked = boundary_walk(code, normal, -3, 1, 5)
    assert (walked @ normal.T).flatten().tolist() == pytest.approx([-3, -2, -1, 0, 1], abs=1e-4)
    across = walked - (walked @ normal.T) * normal
    torch.testing.assert_close(across, (code - (code @ normal.T) * normal).expand(5, 8))


def test_components_are_set_on_their_rows_from_row_0() -> None:
    components, deviations = torch.eye(6)[:3, None], torch.tensor([1.0, 2.0, 3.0])
    mean, codes = torch.full((1, 6), 0.5), torch.randn(2, 5, 6)
    edits = [ComponentEdit(1, 2, 4, 1.5), ComponentEdit(2, 0, 1, -1.0)]
    made = set_components(codes, mean, components, deviations, edits)
    shift = 1.5 * 2 - (codes[:, 0, 1] - 0.5)
    torch.testing.assert_close(made[:, 2:4, 1], codes[:, 2:4, 1] + shift[:, None])
    # On row 0 itself the coordinate becomes exactly what was asked for.
    torch.testing.assert_close(made[:, 0, 2], torch.full((2,), 0.5 - 3.0))
    untouched = torch.ones_like(codes, dtype=torch.bool)
    untouched[:, 2:4, 1] = untouched[:, 0, 2] = False
    assert torch.equal(made[untouched], codes[untouched])
