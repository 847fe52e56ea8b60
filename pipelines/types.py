"""The values that flow through the stream, and the protocols of the parts that work on them.

One tensor convention below the edge: RGB float32 in [-1, 1], B x 3 x H x W, on the device. On the host a picture is
uint8 H x W x 3, RGB. `pipelines.images.pixels` is the only module that converts between the two.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

U8Image = npt.NDArray[np.uint8]
F32Array = npt.NDArray[np.float32]
Point = int | str  # a place in a generator: 64 = after the 64 px block's first convolution, "64b" = after its second
Injection = Tensor | Callable[[Tensor], Tensor]  # a tensor replaces the feature, a function maps it
Quad = tuple[
    tuple[float, float], ...
]  # 4 corners (x, y) in photo pixels: top-left, bottom-left, bottom-right, top-right


@dataclass(frozen=True)
class Failure:
    """Why an item could not be done: the stage, a short stable code, one sentence for a person."""

    stage: str
    code: str
    message: str


@dataclass(frozen=True)
class Item:
    """One face of one photo (or, before align, one photo).

    Attributes:
        key: input-relative POSIX path without suffix; ``.n`` appended for face n > 0.
        source: path of the photo as a string, absolute.
        digest: sha256 of the photo's bytes, hex.
        quad: the aligned crop's corners in the EXIF-turned photo, or None where the input was aligned already.
        outputs: kind -> path relative to the output folder, POSIX (``"face"``, ``"inversion"``, ``"latents"``, ``"smile+2"``).
        scores: name -> number that a stage noted (detector score, final loss).
        failure: why the item stopped, or None.
    """

    key: str
    source: str
    digest: str = ""
    quad: Quad | None = None
    outputs: Mapping[str, str] = field(default_factory=dict)
    scores: Mapping[str, float] = field(default_factory=dict)
    failure: Failure | None = None


@dataclass
class Synthesis:
    """What a generator made: `image` n x 3 x R x R, `features` point -> n x C x r x r (only those collected)."""

    image: Tensor
    features: dict[Point, Tensor]


@dataclass(frozen=True)
class Face:
    """A face that a detector found. Coordinates are (x, y) in pixels of the picture it was given.

    Attributes:
        box: left, top, right, bottom.
        score: the detector's own confidence (dlib: signed margin, RetinaFace: probability).
        landmarks: 68 x 2 (iBUG order) or 5 x 2 (left eye, right eye, nose, mouth left, mouth right; viewer's left), float32.
    """

    box: tuple[float, float, float, float]
    score: float
    landmarks: F32Array


@dataclass
class Inversion:
    """A batch of inverted faces: all that an edit needs, and all that `latents/*.safetensors` stores.

    Attributes:
        latents: n x L x 512, W+ with the average latent already added.
        residuals: point -> n x C x r x r, added to the edited code's own feature there (empty: none).
        scores: name -> n values (final loss terms), for the manifest.
    """

    latents: Tensor
    residuals: dict[Point, Tensor] = field(default_factory=dict)
    scores: dict[str, Tensor] = field(default_factory=dict)


@dataclass
class Batch:
    """Faces on their way through the device stages. Absent = None; `edits` maps an edit's name to its pictures.

    Attributes:
        items: n items, none of them failed.
        images: n x 3 x R x R source faces, [-1, 1], RGB, R = the generator's resolution.
        landmarks: n x 68 x 2, (x, y) as a share of the crop's side in [0, 1]; NaN where no face was found in the crop.
        inversion: codes and residuals.
        base: the picture of the inversion (strength 0), with the features that the compensator asked for.
        edits: edit name -> n x 3 x R x R.
    """

    items: tuple[Item, ...]
    images: Tensor | None = None
    landmarks: Tensor | None = None
    inversion: Inversion | None = None
    base: Synthesis | None = None
    edits: dict[str, Tensor] = field(default_factory=dict)


class Generator(Protocol):
    """A StyleGAN-like generator. Modules are frozen and in eval mode; gradients flow to codes and injected features."""

    name: str
    resolution: int
    num_ws: int
    w_avg: Tensor  # 512
    w_std: Tensor  # 512, per-coordinate standard deviation of w
    w_whiten: Tensor  # 512 x 512; (w - w_avg) @ w_whiten has unit covariance over the generator's own codes

    @property
    def device(self) -> torch.device: ...

    def map(self, z: Tensor) -> Tensor:
        """z n x 512 (standard normal) -> w n x 512."""

    def synthesize(
        self, w: Tensor, inject: Mapping[Point, Injection] | None = None, collect: tuple[Point, ...] = ()
    ) -> Synthesis:
        """w n x 512 or n x L x 512 -> pictures n x 3 x R x R (not clamped; may leave [-1, 1]).

        An injected *tensor* makes everything before it unnecessary, so that part is skipped (unless something is
        collected there): a pass from the 64 px feature up costs only the upper blocks.
        """

    def preview(
        self, w: Tensor, inject: Mapping[Point, Injection] | None = None, collect: tuple[Point, ...] = ()
    ) -> Synthesis:
        """As `synthesize`, but `image` is the n x 3 x 256 x 256 area-downsampled picture, through a cheaper head."""

    def features(self, w: Tensor, points: tuple[Point, ...]) -> dict[Point, Tensor]:
        """The plain features at `points` alone; nothing above the highest of them is computed."""


@runtime_checkable
class PartGenerator(Generator, Protocol):
    """A generator that can make a part of its picture from a part of its 64 px feature."""

    def synthesize_part(self, w: Tensor, feature: Tensor, corner: tuple[int, int]) -> Tensor:
        """w n x 512 or n x L x 512, feature n x C x h x w cut out at `corner` (y, x) -> n x 3 x (h R / 64) x (w R / 64).

        Near borders that are not the whole picture's it is wrong, as convolutions see nothing beyond them.
        """


class Embedder(Protocol):
    """Picture -> codes."""

    name: str
    version: str

    def embed(self, images: Tensor, landmarks: Tensor | None) -> Inversion:
        """images n x 3 x R x R in [-1, 1]; landmarks as in `Batch`. Results do not depend on the batch's other faces."""


class Refiner(Protocol):
    """Fits one photo further, starting from an embedder's result."""

    name: str
    version: str

    def refine(self, images: Tensor, landmarks: Tensor | None, start: Inversion) -> Inversion: ...


@runtime_checkable
class Compensator(Protocol):
    """Brings lost detail back, also under edits: `prepare` once per photo, `render` once per edit.

    Strength 0 (the unedited latents) must give exactly the inversion.
    """

    name: str
    version: str

    def prepare(self, images: Tensor, base: Synthesis | None, inversion: Inversion) -> Any: ...

    def render(self, prepared: Any, latents: Tensor) -> Tensor: ...


class FaceFinder(Protocol):
    """Finds faces in a picture of any size; best (largest) first; the same order every time."""

    name: str
    version: str

    def find(self, image: U8Image) -> list[Face]: ...


MetricKind = Literal["pair", "set", "latent"]
