"""Details drawn by code: decided by the seed, within range, where their kind belongs, and quick."""

from __future__ import annotations

import pytest
import torch

from pipelines.training.data.occluders import KINDS, draw_detail, paste

GREY = torch.zeros(1, 3, 256, 256)


def test_a_seed_decides_the_detail_and_another_gives_another() -> None:
    one, again, other = draw_detail(3), draw_detail(3), draw_detail(4)
    assert one.kinds == again.kinds
    assert torch.equal(one.paint, again.paint)
    assert torch.equal(one.gain, again.gain)
    assert not torch.equal(one.paint, other.paint)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_changes_the_picture_within_its_mask_and_range(kind: str) -> None:
    for seed in range(6):
        detail = draw_detail(seed, [kind])
        assert detail.kinds == (kind,)
        made, mask = paste(GREY, [detail])
        assert made.shape == (1, 3, 256, 256)
        assert mask.shape == (1, 1, 256, 256)
        assert made.abs().max() <= 1
        assert mask.min() >= 0
        assert mask.max() <= 1
        assert mask.mean() > 1e-3
        changed = (made - GREY).abs().amax(dim=1, keepdim=True) > 1e-6
        assert changed.float().mean() > 1e-3
        assert not changed[mask == 0].any()


def test_kinds_sit_where_faces_have_them() -> None:
    def cover(kind: str) -> torch.Tensor:
        return torch.stack([draw_detail(seed, [kind]).alpha[0] for seed in range(20)]).mean(dim=0)

    hat, glasses, background = cover("hat"), cover("glasses"), cover("background")
    assert hat[:40, 100:156].mean() > 0.7
    assert hat[100:].max() == 0
    assert glasses[105:140, 64:190].mean() > 0.1
    assert glasses[170:].max() == 0
    assert background[:100, :10].min() > 0.9  # the upper left edge
    assert background[100:200, 100:156].max() < 0.05  # the face
    light = draw_detail(0, ["light"])
    assert not light.alpha.any()
    assert (light.gain - 1).abs().max() > 0.2


def test_the_same_detail_covers_two_pictures_alike() -> None:
    detail = draw_detail(11, ["hat", "text"], most=2)
    other = torch.rand(1, 3, 256, 256, generator=torch.Generator().manual_seed(0)) * 2 - 1
    made, mask = paste(torch.cat((GREY, other)), [detail, detail])
    solid = (mask[0] == 1).expand(3, -1, -1)
    assert solid.any()
    assert torch.allclose(made[0][solid], made[1][solid], atol=1e-6)
    bare = (mask[1] == 0).expand(3, -1, -1)
    assert torch.allclose(made[1][bare], other[0][bare], atol=1e-6)


def test_as_many_kinds_as_asked_for_at_most() -> None:
    counts = {len(draw_detail(seed, most=2).kinds) for seed in range(30)}
    assert counts == {1, 2}
    assert {kind for seed in range(60) for kind in draw_detail(seed).kinds} == set(KINDS)


@pytest.mark.parametrize("kinds", [(), ("hat", "moustache")])
def test_unknown_kinds_are_refused(kinds: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="light, background"):
        draw_detail(0, kinds)
