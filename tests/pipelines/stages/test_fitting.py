"""Options of parts that fit one photo, from the spec to the plan."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from pydantic import ValidationError

from pipelines.errors import UsageError
from pipelines.specs import InvertSpec
from pipelines.stages.build import ChainPlan, plan_chain
from pipelines.stages.entry import embedders
from pipelines.stages.fitting import OPTIONS
from pipelines.stages.methods import QUALITIES, methods
from pipelines.weights.config import StoreConfig
from pipelines.weights.store import WeightStore


def planned(tmp_path: Path, **given: Any) -> ChainPlan:
    spec = InvertSpec(input=tmp_path, output=tmp_path / "out", **given)
    return plan_chain(spec, WeightStore(StoreConfig(home=tmp_path)))


def test_an_option_decides_codes_only_where_it_is_given(tmp_path: Path) -> None:
    plain = planned(tmp_path, method="optimize")
    prints = [plain.codes, planned(tmp_path, method="optimize", regularize="lsap").codes]
    prints += [planned(tmp_path, method="optimize", space="w").codes, planned(tmp_path, method="lsap-o").codes]
    assert len(set(prints)) == 4
    assert planned(tmp_path, method="lsap-o", seconds_per_face=9).fitting.seconds_per_face == 9
    assert planned(tmp_path, method="best", seconds_per_face=9).fitting.seconds_per_face == 4.5


@pytest.mark.parametrize(
    ("method", "option"),
    [("photo", "regularize"), ("feature", "space"), ("e4e", "seconds_per_face"), ("pti", "noise_maps")],
)
def test_an_option_that_nobody_reads_is_refused(tmp_path: Path, method: str, option: str) -> None:
    value = {"regularize": "lsap", "space": "w", "seconds_per_face": 5.0, "noise_maps": True}[option]
    with pytest.raises(UsageError, match=f"--{option.replace('_', '-')}: no part of this chain reads it"):
        planned(tmp_path, method=method, **{option: value})


def test_the_folder_of_other_faces_counts_and_must_hold_some(tmp_path: Path) -> None:
    folder = tmp_path / "others"
    with pytest.raises(UsageError, match="no pictures are there"):
        planned(tmp_path, method="cycle+pti", regularize_with=folder)
    folder.mkdir()
    Image.new("RGB", (8, 8)).save(folder / "a.png")
    one = planned(tmp_path, method="cycle+pti", regularize_with=folder)
    Image.new("RGB", (8, 8)).save(folder / "b.png")
    two = planned(tmp_path, method="cycle+pti", regularize_with=folder)
    assert len({one.codes, two.codes, planned(tmp_path, method="cycle+pti").codes}) == 3


def test_noise_maps_count_where_they_are_asked_for_and_come_last(tmp_path: Path) -> None:
    plain, fitted = planned(tmp_path, method="optimize"), planned(tmp_path, method="optimize", noise_maps=True)
    assert planned(tmp_path, method="optimize", noise_maps=False).codes == plain.codes != fitted.codes
    assert fitted.fitting.lines(("space", "noise_maps")) == ["noise_maps=1"]
    assert planned(tmp_path, refine="optimize", noise_maps=True).fitting.noise_maps
    with pytest.raises(UsageError, match="--noise-maps: the refiner after the optimiser would not see them"):
        planned(tmp_path, embed="optimize", refine="pti", noise_maps=True)


def test_without_new_options_codes_are_decided_by_what_they_always_were(tmp_path: Path) -> None:
    """Runs that began before `--noise-maps` go on: the entries' versions stand in latents files."""
    assert embedders.get("optimize").version == (
        "2 OptimizeSettings(steps=55, rows_from=38, lr=0.12, rows_lr=0.04, prior=0.02, rows_penalty=0.3, "
        "weights=Weights(perceptual=1.0, pixel=1.0, identity=0.5, size=128))"
    )
    assert planned(tmp_path, method="optimize").fitting.lines(OPTIONS) == []


def test_quality_is_a_method(tmp_path: Path) -> None:
    for quality, method in QUALITIES.items():
        assert planned(tmp_path, quality=quality).method == methods.get(method)._replace(compose="none")
    with pytest.raises(ValidationError, match="one of quality and method"):
        InvertSpec(input=tmp_path, quality="best", method="e4e")


def test_the_methods_of_refinement(tmp_path: Path) -> None:
    assert planned(tmp_path, method="pti").method.refine == ("pti",)
    assert planned(tmp_path, method="cycle+pti").method.refine == ("cycle", "pti")
    assert all(methods.get(name).compose == "detail" for name in ("lsap-o", "pti", "cycle+pti", "best"))
