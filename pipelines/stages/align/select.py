"""Which face of a photo is meant: `--select largest|left|right|INDEX|LIKE.jpg`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn

from pipelines.errors import PhotoError, UsageError
from pipelines.images.geometry import F64Array, crop_quad
from pipelines.images.pixels import decode, read_photo, to_tensor
from pipelines.models.faces.chips import extract_chips
from pipelines.stages.align.aligner import Aligner, locate
from pipelines.types import FaceFinder, U8Image

Choice = Callable[[U8Image, Sequence[F64Array]], int]
SAME_PERSON: Final = 0.6  # dlib's distance of two pictures of one person is below
_LOOK = 320  # px of the crops that are compared


def ordinal(name: str) -> Choice:
    """``largest``, ``left``, ``right`` (the viewer's sides), or a number from 0 in the order of ``--faces all``."""

    def choose(photo: U8Image, quads: Sequence[F64Array]) -> int:
        if name == "largest":
            return 0
        if name in ("left", "right"):
            middles = [float(quad[:, 0].mean()) for quad in quads]
            return int(np.argmin(middles) if name == "left" else np.argmax(middles))
        if int(name) >= len(quads):
            raise PhotoError("no-such-face", f"the photo has {len(quads)} faces, so --select {name} (from 0) has none")
        return int(name)

    return choose


class Like:
    """The face of a person who is known from another photo, by dlib's descriptors.

    Args:
        path: that photo; its largest face counts.
        aligner: finds it.
        locator: finds 68 landmarks in a crop.
        network: chips n x 3 x 150 x 150 in [-1, 1] -> descriptors.

    Raises:
        UsageError: the photo cannot be read, or shows no face.
    """

    def __init__(self, path: Path, aligner: Aligner, locator: FaceFinder, network: nn.Module) -> None:
        self._locator = locator
        self._network = network
        try:
            photo = decode(read_photo(path))
            face = aligner(photo)[0]
        except PhotoError as error:
            raise UsageError(f"--select '{path}': {error.message}") from None
        person = self._descriptor(face.crop)
        if person is None:
            raise UsageError(f"--select '{path}': the face is not clear enough to be recognised; give another photo")
        self._person = person

    def __call__(self, photo: U8Image, quads: Sequence[F64Array]) -> int:
        """The nearest face. Raises PhotoError ``no-such-face`` where none is the same person's."""
        found = [self._descriptor(crop_quad(photo, quad, _LOOK)) for quad in quads]
        far = [float("inf") if each is None else float((each - self._person).norm()) for each in found]
        nearest = int(np.argmin(far))
        if far[nearest] > SAME_PERSON:
            raise PhotoError("no-such-face", f"none of {len(quads)} faces is the person of --select")
        return nearest

    @torch.inference_mode()
    def _descriptor(self, crop: U8Image) -> Tensor | None:
        landmarks = torch.from_numpy(locate(crop, self._locator))[None]
        if not bool(landmarks.isfinite().all()):
            return None
        found: Tensor = self._network(extract_chips(to_tensor([crop]), landmarks))
        return found[0]
