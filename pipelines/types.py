"""The values that flow through the stream, and the protocols of the parts that work on them.

One tensor convention below the edge: RGB float32 in [-1, 1], B x 3 x H x W, on the device. On the host a picture is
uint8 H x W x 3, RGB. `pipelines.images.pixels` is the only module that converts between the two.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pipelines.kept import KeptTensors, kept

if TYPE_CHECKING:
    from pipelines.edits import Edit

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


@dataclass(frozen=True)
class FaceBatch:
    """Aligned source faces on a device.

    Attributes:
        images: n x 3 x R x R, [-1, 1], RGB, R = the generator's resolution.
        landmarks: n x 68 x 2, (x, y) as a share of the crop's side; NaN where no face was found in the crop. None: no
            part of this chain asked for them.
    """

    images: Tensor
    landmarks: Tensor | None = None

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: Tensor | slice) -> FaceBatch:
        return FaceBatch(self.images[index], None if self.landmarks is None else self.landmarks[index])

    def to(self, device: torch.device) -> FaceBatch:
        """The same faces there."""
        return FaceBatch(self.images.to(device), None if self.landmarks is None else self.landmarks.to(device))

    def points(self) -> Tensor:
        """The landmarks, NaN where there are none."""
        return self.images.new_full((len(self), 68, 2), math.nan) if self.landmarks is None else self.landmarks


@dataclass(frozen=True)
class Inversion(KeptTensors):
    """A batch of inverted faces: all that an edit needs, and all that `latents/*.safetensors` stores.

    Its fields are the one map of what an inversion consists of: a field that is added here reaches devices, files and
    workers by itself.

    Attributes:
        latents: n x L x 512, W+ with the average latent already added.
        residuals: point -> n x C x r x r, added to the edited code's own feature there (empty: none).
        deltas: parameter of the generator -> n x its shape, added to it for this face alone (pivotal tuning); or two factors
            of such a matrix, named as `pipelines.stages.render.whole_delta` reads them.
        scores: name -> n values (final loss terms), for the manifest.
    """

    latents: Tensor = kept("latents", torch.float32)
    residuals: Mapping[Point, Tensor] = kept("residual", torch.float16, default_factory=dict)
    deltas: Mapping[str, Tensor] = kept("delta", torch.float16, default_factory=dict)
    scores: Mapping[str, Tensor] = kept("scores", default_factory=dict)

    def __len__(self) -> int:
        return len(self.latents)


@dataclass(frozen=True)
class Composition:
    """The final picture of an edit.

    Attributes:
        image: n x 3 x R x R, [-1, 1].
        mask: n x 1 x R x R in [0, 1]: 0 where it is the source photo; ones where nothing was composed.
        landmarks: n x 68 x 2, where the face's landmarks are now; None: where they were.
        lost: n booleans: the edit went so far that no face is left (`pipelines.stages.noise`); None: nobody looked.
        drawn: n x 3 x S x S, [-1, 1], of an edit beyond its measured range: what the generator made, small, so that the host
            can look for a face there (`pipelines.stages.presence`); None: the edit is within, or nothing was composed.
    """

    image: Tensor
    mask: Tensor
    landmarks: Tensor | None = None
    lost: Tensor | None = None
    drawn: Tensor | None = None


@dataclass(frozen=True)
class Rendered:
    """What the device makes of a batch.

    Attributes:
        base: n x 3 x R x R, the inversion.
        edits: an edit's name -> its composition.
        notes: of each measured edit, face by face: what the manifest is to tell of it, by name.
        missed: its name -> of how many faces the amount was not reached.
    """

    base: Tensor
    edits: Mapping[str, Composition]
    notes: Sequence[Mapping[str, float]] = ()
    missed: Mapping[str, int] = field(default_factory=dict)


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

    def features(
        self, w: Tensor, points: tuple[Point, ...], inject: Mapping[Point, Injection] | None = None
    ) -> dict[Point, Tensor]:
        """The features at `points` alone, after what is injected there; nothing above the highest of them is computed."""


@runtime_checkable
class PartGenerator(Generator, Protocol):
    """A generator that can make a part of its picture from a part of its 64 px feature."""

    def synthesize_part(self, w: Tensor, feature: Tensor, corner: tuple[int, int]) -> Tensor:
        """w n x 512 or n x L x 512, feature n x C x h x w cut out at `corner` (y, x) -> n x 3 x (h R / 64) x (w R / 64).

        Near borders that are not the whole picture's it is wrong, as convolutions see nothing beyond them.
        """


@runtime_checkable
class SketchGenerator(Generator, Protocol):
    """A generator with a second, coarser and cheaper head than that of `preview`."""

    def sketch(
        self, w: Tensor, inject: Mapping[Point, Injection] | None = None, collect: tuple[Point, ...] = ()
    ) -> Synthesis:
        """As `preview`, n x 3 x 128 x 128."""


@runtime_checkable
class NoiseGenerator(Generator, Protocol):
    """A generator with constant noise maps that its pictures show."""

    def noise_maps(self) -> tuple[str, ...]:
        """Names in its state dict of the maps, each 1 x 1 x s x s, s at most 256, that change what `preview` makes."""


class Embedder(Protocol):
    """Picture -> codes."""

    version: str

    def embed(self, faces: FaceBatch) -> Inversion:
        """Results do not depend on the batch's other faces."""


class Refiner(Protocol):
    """Fits one photo further, starting from an embedder's or another refiner's result."""

    version: str

    def refine(self, faces: FaceBatch, start: Inversion) -> Inversion: ...


@runtime_checkable
class Compensator(Protocol):
    """Codes to pictures, with what the codes lack: `prepare` once per photo, `render` once per edit.

    The inversion's own latents (the very same tensor) must give exactly the inversion.
    """

    version: str

    def prepare(self, faces: FaceBatch, inversion: Inversion) -> Any: ...

    def render(self, prepared: Any, latents: Tensor, points: tuple[Point, ...] = ()) -> Synthesis:
        """The picture of edited codes n x L x 512, and the plain features of these codes at `points`."""


class LatentEditor(Protocol):
    """Moves codes along what an edit asks for."""

    version: str

    def move(self, inversion: Inversion, edit: Edit) -> Tensor:
        """n x L x 512; at strength 0 the very same object as `inversion.latents`."""


class Composer(Protocol):
    """Makes the final picture of an edit from source, unedited and edited picture, and says where it is not the photo.

    Attributes:
        points: features that it wants of the unedited and of every edited picture.
    """

    version: str
    points: tuple[Point, ...]

    def steps(self, edit: Edit) -> Sequence[Edit]:
        """The edits that are composed one upon the other: each step's source is the picture of the step before, its
        unedited and edited pictures are those of the partial sums. None: the picture is the source, as it is."""

    def prepare(self, faces: FaceBatch, inversion: Inversion, base: Synthesis) -> Any:
        """What every edit of these faces needs; `base`: their unedited pictures."""

    def compose(self, prepared: Any, edited: Synthesis, edit: Edit) -> Composition: ...


class FaceFinder(Protocol):
    """Finds faces in a picture of any size; best (largest) first; the same order every time."""

    name: str
    version: str

    def find(self, image: U8Image) -> list[Face]: ...
