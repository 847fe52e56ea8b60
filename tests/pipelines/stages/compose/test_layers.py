"""Where two layers meet, contours are of one of them."""

from __future__ import annotations

import torch
from torch import Tensor

from pipelines.models.diffcam.deghost import Decision
from pipelines.stages.compose.layers import resolved
from pipelines.stages.compose.state import Prepared, prepared


def stripes(across: bool, side: int = 512) -> Tensor:
    """1 x 3 x 512 x 512 of mean 0, two pixels of 256 a stripe."""
    line = torch.arange(side) // 4 % 2 * 1.0 - 0.5
    picture = line.expand(side, side)
    return (picture if across else picture.T).expand(1, 3, side, side).contiguous()


def scene(photo: Tensor, base: Tensor) -> Prepared:
    return prepared(photo, None, base)


def decision(share: Tensor, detail: float = 0.0) -> Decision:
    return Decision(share, share * detail, torch.zeros(1, 3, 256, 256))


def contrast(picture: Tensor, across: bool) -> float:
    """Of the stripes of one kind, 1 where they are whole."""
    sign = stripes(across)
    return float((picture * sign).mean() / sign.square().mean())


def test_contours_are_of_one_layer_and_tone_goes_over() -> None:
    photo, edited = stripes(True), stripes(False) + 0.4
    for share in (0.3, 0.7):
        mixed = torch.full((1, 1, 256, 256), share)
        made = resolved(scene(photo, photo), edited, decision(mixed))
        assert min(contrast(made, True), contrast(made, False)) < 0.02
        assert max(contrast(made, True), contrast(made, False)) > 0.98
        assert abs(float(made.mean()) - 0.4 * share) < 0.01


def test_a_render_that_takes_cheeks_along_is_seen_from_a_smaller_share_on() -> None:
    photo, edited = stripes(True), stripes(False)
    mixed = torch.full((1, 1, 256, 256), 0.4)
    for along, seen in ((0.0, 0.0), (1.0, 1.0)):
        made = resolved(scene(photo, photo), edited, decision(mixed), torch.full((1, 1, 1, 1), along))
        assert abs(contrast(made, False) - seen) < 0.02
    empty = decision(torch.zeros_like(mixed))
    assert torch.equal(resolved(scene(photo, photo), edited, empty, torch.ones(1, 1, 1, 1)), photo)


def test_detail_is_carried_whole_or_not_at_all() -> None:
    photo, base = stripes(True), torch.zeros(1, 3, 512, 512)
    whole = torch.ones(1, 1, 256, 256)
    for detail, kept in ((0.3, 0.0), (0.9, 1.0)):
        made = resolved(scene(photo, base), base, decision(whole, detail))
        assert abs(contrast(made, True) - kept) < 0.01


def test_nothing_decided_is_the_photo_and_a_grey_photo_stays_grey() -> None:
    rng = torch.Generator().manual_seed(0)
    photo = (torch.rand(1, 1, 512, 512, generator=rng) * 2 - 1).expand(1, 3, 512, 512).contiguous()
    edited = torch.rand(1, 3, 512, 512, generator=rng) * 2 - 1
    share = torch.zeros(1, 1, 256, 256)
    assert torch.equal(resolved(scene(photo, photo), edited, decision(share)), photo)
    share[..., 100:150, 100:150] = 1
    made = resolved(scene(photo, photo), edited, decision(share))
    assert torch.equal(made[..., :190, :], photo[..., :190, :])
    inside = made[..., 210:290, 210:290]
    assert float((inside - inside.mean(dim=1, keepdim=True)).abs().max()) < 1e-3
    assert float((inside - photo[..., 210:290, 210:290]).abs().mean()) > 0.1
