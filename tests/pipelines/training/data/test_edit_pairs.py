"""Edit pairs: the same detail before and after, decided by the seed, and a true target."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor

from pipelines.errors import UsageError
from pipelines.images.pixels import resize_area
from pipelines.models.generators.mobile import MobileStyleGAN
from pipelines.stages.edit.direction_set import Direction, DirectionSet
from pipelines.training.data.edit_pairs import PairSettings, draw_edit_pairs
from pipelines.training.data.occluders import STILL_KINDS
from pipelines.types import Injection, Point, Synthesis
from tests.lively import LivelyGenerator, lively_generator


@pytest.fixture(scope="module")
def generator() -> MobileStyleGAN:
    return lively_generator()


class Quick(LivelyGenerator):
    """Its preview shows the 64 px feature: enough where the pictures do not matter."""

    def preview(
        self, w: Tensor, inject: Mapping[Point, Injection] | None = None, collect: tuple[Point, ...] = ()
    ) -> Synthesis:
        return Synthesis(resize_area(self.features(w, (64,))[64][:, :3], 256), {})


@pytest.fixture(scope="module")
def quick(generator: MobileStyleGAN) -> MobileStyleGAN:
    made = Quick(channels=(8,) * 7, dim=16)
    made.load_state_dict(generator.state_dict())
    return made


@pytest.fixture(scope="module")
def directions() -> DirectionSet:
    low, high = torch.zeros(2, 18, 16)
    low[:9], high[9:] = 0.5, 0.5
    return DirectionSet([Direction("smile", high, "u", "t"), Direction("yaw", low, "u", "t")])


def settings(**changes: object) -> PairSettings:
    return PairSettings(**{"edits": ("smile", "yaw"), "psi": (1.0, 1.0), **changes})  # type: ignore[arg-type]


def test_pairs_are_decided_by_their_own_seed(generator: MobileStyleGAN, directions: DirectionSet) -> None:
    both = draw_edit_pairs(generator, directions, (5, 9), settings())
    alone = draw_edit_pairs(generator, directions, (9,), settings())
    for name in ("source", "codes", "edited", "target", "mask"):
        assert torch.allclose(getattr(both, name)[1], getattr(alone, name)[0], atol=1e-4)
    assert both.terms[1] == alone.terms[0]
    assert not torch.allclose(both.source[0], both.source[1], atol=0.1)
    assert both.source.shape == both.target.shape == (2, 3, 256, 256)
    assert both.codes.shape == both.edited.shape == (2, 18, 16)
    assert both.mask.shape == (2, 1, 256, 256)


def test_the_target_is_the_edited_face_under_the_same_detail(
    generator: MobileStyleGAN, directions: DirectionSet
) -> None:
    made = draw_edit_pairs(
        generator, directions, range(4), settings(noise=0.0, plain=0.0, edits=("smile",), kinds=("hat",))
    )
    solid = (made.mask == 1).expand(-1, 3, -1, -1)
    bare = (made.mask == 0).expand(-1, 3, -1, -1)
    assert torch.equal(made.source[solid], made.target[solid])
    before = resize_area(generator.synthesize(made.codes).image, 256).clamp(-1, 1)
    after = resize_area(generator.synthesize(made.edited).image, 256).clamp(-1, 1)
    assert torch.allclose(made.source[bare], before[bare], atol=1e-5)
    assert torch.allclose(made.target[bare], after[bare], atol=1e-5)
    assert not torch.allclose(before, after, atol=0.05)
    assert made.kinds == (("hat",),) * 4


def test_codes_carry_an_error_of_the_asked_size_and_edits_ride_on_it(
    quick: MobileStyleGAN, directions: DirectionSet
) -> None:
    exact = draw_edit_pairs(quick, directions, range(24), settings(noise=0.0, strength=2.0))
    noisy = draw_edit_pairs(quick, directions, range(24), settings(noise=0.5, strength=2.0))
    assert torch.equal(exact.source, noisy.source)
    assert torch.equal(exact.codes[:, :1].expand(-1, 18, -1), exact.codes)  # one w drives all rows
    error = (noisy.codes - exact.codes) / quick.w_std
    sizes = error.square().mean(dim=(1, 2)).sqrt()
    assert sizes.max() < 0.65
    assert 0.15 < sizes.mean() < 0.35  # uniform from 0 to 0.5
    assert torch.allclose(noisy.edited - noisy.codes, exact.edited - exact.codes, atol=1e-5)
    assert {name for name, _ in noisy.terms} == {"smile", "yaw"}
    assert all(abs(strength) <= 2.0 for _, strength in noisy.terms)
    assert min(s for _, s in noisy.terms) < -0.5 < 0.5 < max(s for _, s in noisy.terms)


def test_what_sits_on_the_head_is_left_out_where_the_head_turns(
    quick: MobileStyleGAN, directions: DirectionSet
) -> None:
    made = draw_edit_pairs(quick, directions, range(20), settings(edits=("yaw",), plain=0.3))
    assert {kind for kinds in made.kinds for kind in kinds} <= set(STILL_KINDS)
    plain = [i for i, kinds in enumerate(made.kinds) if not kinds]
    assert 0 < len(plain) < 15
    assert not made.mask[plain].any()


def test_unknown_edits_are_refused(generator: MobileStyleGAN, directions: DirectionSet) -> None:
    with pytest.raises(UsageError, match="unknown attribute 'grin'"):
        draw_edit_pairs(generator, directions, (1,), settings(edits=("grin",)))
