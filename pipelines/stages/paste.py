"""An edited crop back into its photo.

What is pasted is the *change*, not the crop: edited minus original is added to the photo. So the photo keeps its own
grain and its detail beyond the crop's resolution wherever the edit did little, a crop that did not change returns the
photo bit for bit, and there is no seam, because the change fades out towards the crop's edge. Where the edit moved
things (a mouth that opens), the photo's finer detail belongs to what is gone and would stay as a ghost; there the
edited pixels replace the photo's. With p photo, o original, e edited (both read at the photo's pixels):

    result = p + mask * ((e - o) - moved * (p - o))

which is p + (e - o) where `moved` is 0 and e where it is 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from pipelines.images.geometry import F64Array, photo_to_crop, side
from pipelines.images.pixels import resize_u8
from pipelines.types import Quad, U8Image

PASTE_VERSION = "3"  # 2: one picture a photo, the change inside the composer's mask; 3: the photo's own format
_ROWS = 512  # photo rows at a time, so that memory does not grow with the photo
_UNMOVED, _MOVED = 10.0, 45.0  # grey levels, smoothed: a change of tone stays below, a displaced edge is above
_SPREAD = 1 / 100  # of the side: sigma that joins the two flanks of a displaced edge


@dataclass(frozen=True)
class Patch:
    """An edited crop on its way into a photo, no larger than its place there: a photo's patches take no more than it.

    Attributes:
        quad: where the crop lies in the photo, as `align` gave it.
        edited, original: uint8 r x r x 3, r at most the quad's side.
        mask: uint8 r x r: 255 where the edit counts, 0 where the photo stays.
    """

    quad: Quad | F64Array
    edited: U8Image
    original: U8Image
    mask: npt.NDArray[np.uint8]


def make_patch(
    crop: U8Image,
    quad: Quad | F64Array,
    original_crop: U8Image,
    mask: npt.NDArray[np.uint8] | None = None,
    feather: float = 0.12,
) -> Patch:
    """What `add_patch` puts into a photo.

    Args:
        crop: uint8 R x R x 3, the edited face.
        quad: where the crop lies in the photo, as `align` gave it.
        original_crop: uint8 R x R x 3, what `crop` is compared with: the crop that was cut from the photo, or the
            inversion (then only what the edit itself did is pasted, not what the inversion lost).
        mask: uint8 R x R, where the edit counts (255) and where the photo stays (0); None: it counts everywhere.
        feather: width of the soft edge as a share of the crop's side, in (0, 0.5].

    Raises:
        ValueError: crops of different shapes, or a feather out of range.
    """
    if crop.shape != original_crop.shape or crop.shape[0] != crop.shape[1]:
        raise ValueError(f"two square crops of one size are needed, not {crop.shape} and {original_crop.shape}")
    if not 0 < feather <= 0.5:
        raise ValueError(f"feather is a share of the side in (0, 0.5], not {feather}")
    # Reading a crop at fewer pixels than it has would alias: shrink it to the photo's scale first.
    size = min(crop.shape[0], max(1, round(side(quad))))
    edited, original = (resize_u8(picture, size, size) for picture in (crop, original_crop))
    soft = _mask(size, feather)
    if mask is not None:
        small = np.asarray(Image.fromarray(mask).resize((size, size), Image.Resampling.BOX))
        soft = np.rint(soft.astype(np.float32) * small / 255).astype(np.uint8)
    return Patch(quad, edited, original, soft)


def add_patch(photo: U8Image, patch: Patch) -> None:
    """Puts a patch into `photo` (uint8 H x W x 3, upright), in place; pixels outside its quad or its mask stay."""
    size = patch.edited.shape[0]
    layers = [
        Image.fromarray(picture)
        for picture in (patch.edited, patch.original, patch.mask, _moved(patch.edited, patch.original))
    ]
    left, top, right, bottom = bounds(photo, patch.quad)
    for start in range(top, bottom, _ROWS):
        stop = min(start + _ROWS, bottom)
        numbers = photo_to_crop(patch.quad, size, left, start)
        photo[start:stop, left:right] = _blend(photo[start:stop, left:right], layers, numbers)


def paste(
    photo: U8Image,
    crop: U8Image,
    quad: Quad | F64Array,
    original_crop: U8Image,
    feather: float = 0.12,
    mask: npt.NDArray[np.uint8] | None = None,
) -> U8Image:
    """A copy of the whole photo (uint8 H x W x 3, upright) with one crop in it; arguments as of `make_patch`."""
    result = photo.copy()
    add_patch(result, make_patch(crop, quad, original_crop, mask, feather))
    return result


def bounds(photo: U8Image, quad: Quad | F64Array) -> tuple[int, int, int, int]:
    """The photo's pixels that the quad can touch: left, top, right, bottom; empty where it lies outside."""
    corners = np.asarray(quad, np.float64)
    limits = np.array([photo.shape[1], photo.shape[0]])
    low = np.clip(np.floor(corners.min(0)), 0, limits).astype(int)
    high = np.clip(np.ceil(corners.max(0)) + 1, 0, limits).astype(int)
    return int(low[0]), int(low[1]), int(high[0]), int(high[1])


def _blend(photo: U8Image, layers: list[Image.Image], numbers: tuple[float, ...]) -> U8Image:
    """One strip: edited, original, mask and moved read at its pixels. Outside the crop Pillow reads 0: no mask."""
    size = (photo.shape[1], photo.shape[0])
    ways = [Image.Resampling.BICUBIC, Image.Resampling.BICUBIC, Image.Resampling.BILINEAR, Image.Resampling.BILINEAR]
    read = [
        np.asarray(layer.transform(size, Image.Transform.AFFINE, numbers, way)).astype(np.float32)
        for layer, way in zip(layers, ways, strict=True)
    ]
    edited, original = read[0], read[1]
    mask, moved = (weight[:, :, None] / 255.0 for weight in read[2:])
    mixed = photo + mask * ((edited - original) - moved * (photo - original))
    return np.clip(np.rint(mixed), 0, 255).astype(np.uint8)


def _mask(size: int, feather: float) -> npt.NDArray[np.uint8]:
    """255 inside, falling smoothly (smoothstep) to 0 at the crop's edges over `feather` of the side."""
    place = (np.arange(size) + 0.5) / size
    rise = np.clip(np.minimum(place, 1 - place) / feather, 0.0, 1.0)
    rise = rise * rise * (3 - 2 * rise)
    return np.rint(255 * rise[:, None] * rise[None, :]).astype(np.uint8)


def _moved(edited: U8Image, original: U8Image) -> npt.NDArray[np.uint8]:
    """How much the edit displaced what was there, 0 to 255: the size of the change, smoothed."""
    change = np.abs(edited.astype(np.int16) - original).max(2).astype(np.uint8)
    smooth = Image.fromarray(change).filter(ImageFilter.GaussianBlur(_SPREAD * edited.shape[0]))
    share = np.clip((np.asarray(smooth) - _UNMOVED) / (_MOVED - _UNMOVED), 0.0, 1.0)
    return np.rint(255 * share * share * (3 - 2 * share)).astype(np.uint8)
