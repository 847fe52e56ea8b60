"""`years-dlib`: apparent age by a network that steers nothing; what `attributes.age` and amounts of years can be checked by."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from pipelines.metrics.faces import Faces, Trio
from pipelines.metrics.registry import metrics
from pipelines.metrics.tools import LANDMARKS, Tools
from pipelines.models.faces.attributes import age_gender_chips
from pipelines.types import F32Array, U8Image

if TYPE_CHECKING:
    from pipelines.models.faces.agegender import AgeGender


class SecondAge:
    """`years-dlib`, in years: of the result, and how many more they are than the source's; neither side is better.

    Args:
        networks: the two networks of `age-dlib` and `gender-dlib`.
    """

    name = "years-dlib"

    def __init__(self, networks: AgeGender) -> None:
        self._networks = networks

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
        age, gender = age_gender_chips(image, landmarks * np.float32(len(image)))
        return float(self._networks.measure([age], [gender])[0][0])


@metrics.register(
    SecondAge.name,
    "apparent age, years, by a network that steers nothing",
    "none",
    weights=(LANDMARKS, "age-dlib", "gender-dlib"),
)
def _build(tools: Tools) -> SecondAge:
    from pipelines.models.faces.agegender import AgeGender

    return SecondAge(AgeGender(tools.store.path("age-dlib"), tools.store.path("gender-dlib")))
