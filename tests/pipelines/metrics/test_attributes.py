from __future__ import annotations

import numpy as np

from pipelines.metrics.attributes import AttributeChange
from pipelines.metrics.faces import Trio
from tests.pipelines.metrics.fakes import black, faces, picture


def _brightness(images: list[np.ndarray]) -> dict[str, np.ndarray]:
    means = np.float32([image.mean() if image.any() else np.nan for image in images])
    return {"bright": means, "unscaled": means}


def test_change_is_measured_from_the_base_in_standard_deviations() -> None:
    dark, light = np.full((256, 256, 3), 100, np.uint8), np.full((256, 256, 3), 120, np.uint8)
    source = faces([picture(0)])
    changes = AttributeChange(_brightness, {"bright": 5.0}).score(Trio(source, faces([dark]), faces([light])))
    assert list(changes) == ["attributes.bright"], "an attribute without a scale is left out"
    assert changes["attributes.bright"].tolist() == [4.0]


def test_unmeasurable_faces_are_nan_and_a_missing_base_gives_nothing() -> None:
    metric = AttributeChange(_brightness, {"bright": 5.0})
    source = faces([picture(0)])
    assert metric.score(Trio(source, source, faces([black()])))["attributes.bright"].isnan().all()
    assert metric.score(Trio(source, None, source)) == {}


def test_the_base_is_measured_once() -> None:
    calls = []

    def counted(images: list[np.ndarray]) -> dict[str, np.ndarray]:
        calls.append(1)
        return _brightness(images)

    metric, source, base = AttributeChange(counted, {"bright": 1.0}), faces([picture(0)]), faces([picture(1)])
    for seed in (2, 3):
        metric.score(Trio(source, base, faces([picture(seed)])))
    assert len(calls) == 3
