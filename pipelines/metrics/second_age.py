"""`years-dlib`: apparent age by a network that steers nothing; what `attributes.age` and amounts of years can be checked by."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from pipelines.metrics.faces import Faces, Trio
from pipelines.metrics.registry import metrics
from pipelines.metrics.tools import LANDMARKS, Tools
from pipelines.models.faces.attributes import dlib_chip
from pipelines.types import F32Array, U8Image

if TYPE_CHECKING:
    from pipelines.models.faces.agegender import DlibAge


class SecondAge:
    """`years-dlib`, in years: of the result, and how many more they are than the source's; neither side is better.

    Args:
        network: `age-dlib`.
    """

    name = "years-dlib"

    def __init__(self, network: DlibAge) -> None:
        self._network = network

    def score(self, trio: Trio) -> dict[str, Tensor]:
        """{"years-dlib": n ages, "years-dlib.more": n changes}; NaN where no face was found."""
        before, after = (
            torch.tensor(self._years(faces), device=trio.result.device) for faces in (trio.source, trio.result)
        )
        return {self.name: after, f"{self.name}.more": after - before}

    def _years(self, faces: Faces) -> list[float]:
        return faces.memo(self.name, lambda: [*map(self._one, faces.images, faces.landmarks)])

    def _one(self, image: U8Image, landmarks: F32Array) -> float:
        if not np.isfinite(landmarks).all():
            return float("nan")
        return float(
            self._network.measure([dlib_chip(image, landmarks * np.float32(len(image)), self._network.chip)])[0]
        )


@metrics.register(
    SecondAge.name,
    "apparent age, years, by a network that steers nothing",
    "none",
    weights=(LANDMARKS, "age-dlib"),
)
def _build(tools: Tools) -> SecondAge:
    from pipelines.models.faces.agegender import DlibAge

    return SecondAge(DlibAge(tools.store.path("age-dlib")))
