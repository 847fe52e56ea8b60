"""`--compose diffcam`: a jaw that gets narrower with the mouth leaves the photo's own cheek, and nothing else does."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from pipelines.stages.compose import activation, regions
from pipelines.stages.compose.activation import beside_jaw, bounds, cheeks_along, shaped_mouth
from pipelines.stages.compose.manners import known_manner
from pipelines.stages.compose.state import WORK, Prepared, prepared

PATCH = (slice(None), slice(None), slice(185, 205), slice(72, 84))  # within the average face's jaw, on the left


def _scene() -> tuple[Prepared, Tensor]:
    """A face of one colour, and what lies beside it dark."""
    photo = torch.full((1, 3, WORK, WORK), 0.3)
    edited = photo.clone()
    edited[PATCH] = -0.9
    return prepared(photo, None, photo.clone()), edited


def _shrinking(share: float) -> Tensor:
    """The flow of a picture that gets narrower about its middle: where a place was before."""
    across = (torch.arange(WORK) + 0.5 - WORK / 2) * (1 / share - 1)
    return torch.stack((across.expand(WORK, WORK), torch.zeros(WORK, WORK)))[None]


@pytest.mark.parametrize(("share", "kept"), [(0.75, True), (1.0, False), (1.2, False)])
def test_a_cheek_stays_where_the_face_gets_narrower(monkeypatch: pytest.MonkeyPatch, share: float, kept: bool) -> None:
    photo, edited = _scene()
    monkeypatch.setattr(activation, "edit_flow", lambda *_: _shrinking(share))
    mouth = shaped_mouth(photo, edited)
    assert bool(mouth.cheeks.any()) != kept
    held = beside_jaw(photo, mouth)
    if not kept:
        assert held.max() == 0
        return
    assert held[PATCH].mean() > 0.8
    assert held[..., 60:150, 100:156].max() == 0  # nose, brows
    assert held[..., 190:200, 120:136].max() == 0  # lips


def test_light_alone_is_no_background(monkeypatch: pytest.MonkeyPatch) -> None:
    photo, _ = _scene()
    monkeypatch.setattr(activation, "edit_flow", lambda *_: _shrinking(0.75))
    edited = photo.render - 0.25
    assert beside_jaw(photo, shaped_mouth(photo, edited)).max() == 0


def test_cheeks_go_along_but_not_when_a_mouth_gets_narrower() -> None:
    face = regions.face_of(regions.mean_landmarks(torch.zeros(1))[None])
    wide = bounds(face, known_manner("smile"))
    narrow, half = (bounds(face, known_manner("smile"), cheeks_along(face) * share) for share in (0.0, 0.5))
    cheek = (0, 0, 170, 75)
    assert wide[cheek] > 0.9 > 0.6 > narrow[cheek]
    assert bool(((narrow <= half) & (half <= wide)).all())
    rim = (0, 0, 190, 82)
    assert abs(wide[rim] - narrow[rim]) < 0.05  # beside the jaw all stays as it was
    beard = bounds(face, replace(known_manner("smile"), way="skin"))
    assert torch.equal(beard, narrow)
