"""`round-trip-mse` and `round-trip-id-dlib`: is what an edit did undone by its opposite?

The edited picture, as it was written, is inverted anew by the run's own chain and edited by the opposite strengths; what comes
out is compared with what the edit started from: the photo where edits are composed into it, else the inversion. Latent editing
consistency (`lec-NAME`; Tov et al., SIGGRAPH 2021) asks the same of codes alone; this asks it of the pictures that people get.
"""

from __future__ import annotations

from torch import Tensor

from pipelines.metrics.faces import Trio
from pipelines.metrics.identity import DlibIdentity, shared_descriptors
from pipelines.metrics.pair import mse
from pipelines.metrics.registry import metrics
from pipelines.metrics.tools import LANDMARKS, Tools

ROUND_TRIP = ("round-trip-mse", "round-trip-id-dlib")


class ReturnError:
    """`round-trip-mse`, as `mse`: RGB on [-1, 1], 256 px; lower is better."""

    name = "round-trip-mse"

    def score(self, trio: Trio) -> dict[str, Tensor]:
        """{name: n values in [0, 4]}; {} where no picture went there and back."""
        if trio.start is None or trio.returned is None:
            return {}
        return {self.name: mse(trio.start.pixels, trio.returned.pixels)}


class ReturnIdentity:
    """`round-trip-id-dlib`, as `id-dlib`; higher is better."""

    name = "round-trip-id-dlib"

    def __init__(self, identity: DlibIdentity) -> None:
        self._identity = identity

    def score(self, trio: Trio) -> dict[str, Tensor]:
        """{name: n values, at most 1}; {} where no picture went there and back."""
        if trio.start is None or trio.returned is None:
            return {}
        return {self.name: self._identity.score(Trio(trio.start, None, trio.returned))[self._identity.name]}


@metrics.register(ReturnError.name, "mse to the start, after the edit and its opposite", "lower", of_edits=True)
def _mse(_: Tools) -> ReturnError:
    return ReturnError()


@metrics.register(
    ReturnIdentity.name,
    "id-dlib to the start, after the edit and its opposite",
    "higher",
    weights=("id-dlib", LANDMARKS),
    of_edits=True,
)
def _identity(tools: Tools) -> ReturnIdentity:
    return ReturnIdentity(DlibIdentity(shared_descriptors(tools)))
