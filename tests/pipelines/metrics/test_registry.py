from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from pipelines.errors import UsageError, WeightsError
from pipelines.metrics.faces import Trio
from pipelines.metrics.registry import (
    SHORT,
    build_metrics,
    check_names,
    known_metrics,
    metrics,
    of_kind,
    resolve,
)
from pipelines.metrics.tools import Tools
from pipelines.weights.store import WeightStore
from tests.pipelines.metrics.fakes import FakeStore, faces, noisy, picture

FREE = [name for name in of_kind("pair", metrics.names()) if not metrics.get(name).weights]


def test_an_unknown_metric_names_the_nearest_first() -> None:
    with pytest.raises(UsageError, match=r"unknown metric 'lpisp'; known: lpips"):
        check_names(["mse", "lpisp"])


def test_short_names_take_the_best_variant_that_can_be_had() -> None:
    everything = [entry for name in metrics.names() for entry in metrics.get(name).weights]
    best, notes = resolve(["lpips", "id"], FakeStore(*everything))
    assert best == {"lpips": "lpips-alex", "id": "id-arcface"}
    assert not notes
    less, notes = resolve(["lpips", "id", "mse"], FakeStore("st-lpips-alex", "id-dlib", "landmarks-68"))
    assert less == {"lpips": "lpips-st-alex", "id": "id-dlib", "mse": "mse"}
    assert "lpips-alex" in notes[0]
    assert "id-arcface" in notes[1]


def test_a_full_name_is_never_replaced() -> None:
    with pytest.raises(WeightsError, match="arcface"):
        resolve(["id-arcface"], FakeStore("id-dlib", "landmarks-68"))
    with pytest.raises(WeightsError, match="id-dlib"):
        resolve(["id"], FakeStore())


def test_an_unknown_name_is_found_before_anything_is_fetched() -> None:
    store = FakeStore("st-lpips-alex")
    with pytest.raises(UsageError):
        resolve(["lpips", "nonsense"], store)
    assert not store.asked


def test_names_are_complete() -> None:
    assert known_metrics()[:2] == ["lpips", "id"]
    assert all(variant in metrics for variants in SHORT.values() for variant in variants)
    assert set(FREE) == {"psnr", "ssim", "ms-ssim", "mse", "ghost", "round-trip-mse"}


def test_metrics_without_weights_are_built_and_score() -> None:
    made = build_metrics([*FREE, "mse"], Tools(FakeStore(), torch.device("cpu")))
    assert [metric.name for metric in made] == FREE
    source = faces([picture(0), picture(1)])
    worse = faces([noisy(picture(0), 20), noisy(picture(1), 20)])
    for metric in (metric for metric in made if metric.name != "ghost"):  # noise doubles no contour
        equal, unequal = (
            metric.score(Trio(source, source, result, returned=result))[metric.name] for result in (source, worse)
        )
        assert unequal.shape == (2,)
        better = metrics.get(metric.name).better
        assert bool((equal > unequal if better == "higher" else equal < unequal).all())


def test_a_metric_from_outside_registers_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "_entries", dict(metrics._entries))

    @metrics.register("brightness", "mean grey level, [-1, 1]", "none")
    class Brightness:
        name = "brightness"

        def __init__(self, tools: Tools) -> None:
            self.tools = tools

        def score(self, trio: Trio) -> dict[str, Tensor]:
            return {self.name: trio.result.pixels.mean(dim=(1, 2, 3))}

    assert "brightness" in known_metrics()
    [metric] = build_metrics(["brightness"], Tools(FakeStore(), torch.device("cpu")))
    white = faces([np.full((64, 64, 3), 255, np.uint8)])
    assert metric.score(Trio(white, None, white))["brightness"].tolist() == [1.0]
    with pytest.raises(ValueError, match="twice"):
        metrics.register("brightness", "", "none")(Brightness)


@pytest.mark.weights
@pytest.mark.parametrize("name", ["lpips-st-alex", "id-dlib", "same-person", "attributes"])
def test_real_metrics_prefer_the_picture_itself(name: str, store: WeightStore) -> None:
    """Built from the catalogue's own files: the picture itself beats a blurred, noisy one."""
    from pipelines.images.pixels import decode, read_photo
    from pipelines.stages.align.aligner import Aligner, locate
    from pipelines.stages.edit.directions import attribute_scales

    resolve([name], store)
    tools = Tools(store, torch.device("cpu"), scales=attribute_scales())
    crop = Aligner(tools.finder, size=512)(decode(read_photo(store.path("sample-astronaut"))))[0].crop

    def find(image: object) -> object:
        return locate(image, tools.finder)

    source, worse = faces([crop], find=find), faces([noisy(crop, 60)], find=find)
    metric = build_metrics([name], tools)[0]
    equal = metric.score(Trio(source, source, source))
    unequal = metric.score(Trio(source, source, worse))
    if name == "attributes":
        assert all(values.tolist() == [0.0] for values in equal.values())
        assert any(values.abs().item() > 0.01 for values in unequal.values())
        return
    sign = 1 if metrics.get(name).better == "higher" else -1
    assert sign * equal[name].item() >= sign * unequal[name].item()
    assert equal[name].item() == pytest.approx(0 if sign < 0 else 1, abs=1e-5)
