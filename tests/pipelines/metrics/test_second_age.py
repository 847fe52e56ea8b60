from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from pipelines.metrics.faces import Trio
from pipelines.metrics.second_age import SecondAge
from pipelines.types import F32Array, U8Image
from tests.pipelines.metrics.fakes import black, faces


class _Age:
    """As old as the chip is bright."""

    chip = 64

    def measure(self, chips: Sequence[U8Image]) -> F32Array:
        assert all(chip.shape == (64, 64, 3) for chip in chips)
        return np.array([chip.max() for chip in chips], np.float32)


def test_years_of_the_result_and_how_many_more_they_are() -> None:
    young, old = (np.full((256, 256, 3), level, np.uint8) for level in (30, 47))
    source = faces([young, young, black()])
    scores = SecondAge(_Age()).score(Trio(source, source, faces([old, young, old], source)))  # type: ignore[arg-type]
    assert scores["years-dlib"].tolist() == [47, 30, 47]
    assert scores["years-dlib.more"][:2].tolist() == [17, 0]
    assert torch.isnan(scores["years-dlib.more"][2])
