"""Masks and decisions on maps whose right answer is known."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from pipelines.errors import WeightsError
from pipelines.models.diffcam.classifier import load_diffcam
from pipelines.models.diffcam.deghost import Decision, DeghostNet, decided, load_deghost
from pipelines.models.diffcam.lean import LeanDiffCAM, load_lean_diffcam
from pipelines.models.diffcam.masks import composed, folded, joined_mask, official_masks


def pictures(count: int = 3, side: int = 256) -> list[Tensor]:
    rng = torch.Generator().manual_seed(0)
    return [torch.rand(2, 3, side, side, generator=rng) * 2 - 1 for _ in range(count)]


def spot() -> Tensor:
    """2 x 1 x 256 x 256: a soft disc, zeros around it."""
    rows, columns = torch.meshgrid(torch.arange(256.0), torch.arange(256.0), indexing="ij")
    distance = ((rows - 128) ** 2 + (columns - 100) ** 2).sqrt()
    return ((60 - distance) / 30).clamp(0, 1).expand(2, 1, 256, 256).contiguous()


def test_maps_without_evidence_give_no_mask() -> None:
    maps = torch.stack((-torch.rand(1, 8, 8) - 0.1, torch.eye(8)[None]))
    masks = official_masks(maps)
    assert not masks[0].any()
    assert masks[1].max() == 1
    assert masks[1].min() == 0
    photo, edited = (x[:, :, :256, :256] for x in pictures(2))
    assert torch.equal(composed(photo, edited, masks)[0], photo[0])


def test_several_masks_join_to_the_greatest() -> None:
    one, other = torch.rand(2, 1, 8, 8), torch.rand(2, 1, 8, 8)
    assert torch.equal(joined_mask(torch.cat((one, other), dim=1)), torch.maximum(one, other))


def test_folded_masks_let_the_photo_dominate() -> None:
    mask = torch.tensor([0.0, 0.2, 0.5, 0.7, 1.0])
    assert torch.allclose(folded(mask), torch.tensor([0.0, 0.2, 0.5, 0.3, 0.0]))


def network() -> DeghostNet:
    torch.manual_seed(0)
    net = DeghostNet((8, 8, 8, 8))
    torch.nn.init.normal_(net.head.weight, std=0.5)
    return net.eval()


@torch.no_grad()
def test_the_photo_stays_where_the_mask_is_zero() -> None:
    photo, base, edited = pictures()
    mask = spot()
    found = network()(photo, base, edited, mask)
    outside = (mask == 0).expand_as(photo)
    assert all(not part[(mask == 0).expand_as(part)].any() for part in found)
    assert bool((found.share >= 0).all() and (found.share <= 1).all() and (found.detail <= found.share).all())
    made = decided(photo, base, edited, found)
    assert torch.equal(made[outside], photo[outside])
    assert not torch.equal(made, photo)
    large = [x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3) for x in (photo, base, edited)]
    untouched = torch.nn.functional.interpolate(mask, scale_factor=2, mode="bilinear") == 0
    at_512 = decided(large[0], large[1], large[2], found)
    assert torch.equal(at_512[untouched.expand_as(at_512)], large[0][untouched.expand_as(at_512)])


@torch.no_grad()
def test_decisions_choose_between_the_layers() -> None:
    photo, base, edited = pictures()
    ones, zeros, no_tint = torch.ones(2, 1, 256, 256), torch.zeros(2, 1, 256, 256), torch.zeros(2, 3, 256, 256)
    assert torch.equal(decided(photo, base, edited, Decision(zeros, zeros, no_tint)), photo)
    assert torch.allclose(decided(photo, base, edited, Decision(ones, zeros, no_tint)), edited, atol=1e-6)
    carried = decided(photo, base, edited, Decision(ones, ones, no_tint))
    assert torch.allclose(carried, edited + photo - base, atol=1e-6)


@torch.no_grad()
def test_weights_come_back_in_half_precision() -> None:
    net = network()
    again = load_deghost({name: value.half() for name, value in net.state_dict().items()})
    photo, base, edited = pictures()
    one, other = (n(photo, base, edited, spot()).share for n in (net, again))
    assert torch.allclose(one, other, atol=0.02)
    cam = LeanDiffCAM(("smile", "eyes_open"), channels=8, width=4)
    read = load_lean_diffcam({k: v.half() if v.is_floating_point() else v for k, v in cam.state_dict().items()})
    assert read.classes == ("smile", "eyes_open")


def test_other_weights_are_refused() -> None:
    for load in (load_deghost, load_lean_diffcam, load_diffcam):
        with pytest.raises(WeightsError, match="no weights"):
            load({"something": torch.zeros(1)})


@torch.no_grad()
def test_maps_sum_to_scores_and_ignore_what_changes_everywhere() -> None:
    torch.manual_seed(0)
    cam = LeanDiffCAM(("smile", "eyes_open"), channels=8, width=4)
    change = torch.randn(2, 8, 64, 64)
    assert torch.allclose(cam.maps(change).sum(dim=(2, 3)) + cam.fc.bias, cam(change), atol=1e-5)
    assert torch.allclose(cam.maps(change + 3), cam.maps(change), atol=1e-4)
