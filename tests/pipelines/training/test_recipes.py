"""Published schedules, at their published steps and stretched."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from ganinv_cli.options import make_spec
from pipelines.errors import UsageError
from pipelines.training.recipes import recipes
from pipelines.training.specs import EncoderSpec


@pytest.mark.parametrize(
    ("step", "stage"), [(0, 0), (19_999, 0), (20_000, 1), (22_000, 2), (52_000, 17), (199_999, 17)]
)
def test_e4e_frees_a_row_every_2000_steps(step: int, stage: int) -> None:
    assert recipes.get("e4e").at(step, 200_000, 18).stage == stage


def test_a_short_run_passes_every_phase() -> None:
    stages = [recipes.get("cycle").at(step, 750, 18).stage for step in range(750)]
    assert stages[0] == 0
    assert max(stages) == 17
    assert stages[-1] == 0
    assert {abs(b - a) for a, b in itertools.pairwise(stages)} <= {0, 1}


@pytest.mark.parametrize(
    ("step", "delta", "halvings"),
    [(500_004, 0, 0), (500_005, 1, 1), (510_005, 2, 2), (650_000, 15, 15), (749_999, 15, 25)],
)
def test_cycle_shrinks_the_deltas_and_lets_the_discriminator_go(step: int, delta: int, halvings: int) -> None:
    weights = recipes.get("cycle").at(step, 750_000, 18).weights
    assert weights["delta"] == pytest.approx(2e-4 * 1.2**delta)
    assert weights["adversarial"] == pytest.approx(0.1 * 0.5**halvings)


@pytest.mark.parametrize(("step", "stage"), [(649_999, 17), (650_000, 16), (654_000, 15), (714_000, 0), (749_999, 0)])
def test_cycle_takes_the_rows_back(step: int, stage: int) -> None:
    assert recipes.get("cycle").at(step, 750_000, 18).stage == stage


def test_lsap_has_the_alignment_in_place_of_the_discriminator() -> None:
    weights = recipes.get("lsap").at(100_000, 200_000, 18).weights
    assert weights["aligned"] == 0.5
    assert weights["adversarial"] == 0


def test_fewer_rows() -> None:
    assert recipes.get("e4e").at(199_999, 200_000, 10).stage == 9


def made(**given: Any) -> EncoderSpec:
    return make_spec(EncoderSpec, {"data": ["faces"], **given})


def test_weights_are_read() -> None:
    assert made(weights=["identity=0.5", "pixel=2"]).weights == {"identity": 0.5, "pixel": 2.0}


@pytest.mark.parametrize("text", ["smile=1", "pixel", "pixel=", "pixel=-1", "pixel=nan", "pixel=inf", "=2"])
def test_a_wrong_weight_is_named(text: str) -> None:
    with pytest.raises(UsageError, match="--weight"):
        made(weights=[text])


def test_options_that_cannot_be_meant() -> None:
    with pytest.raises(UsageError, match="--synthetic"):
        made(batch=4, synthetic=5)
    with pytest.raises(UsageError, match="optimiser"):
        made(optimiser="sgd")
    with pytest.raises(UsageError, match="--teach"):
        made(steps=10, teach=10)


def test_a_run_may_begin_late_in_the_schedule() -> None:
    with pytest.raises(UsageError, match="--start"):
        made(start=1.0)
    recipe = recipes.get("cycle")
    assert recipe.at(2 / 3 * 300 + 1, 300, 18).weights["delta"] > 2e-4
