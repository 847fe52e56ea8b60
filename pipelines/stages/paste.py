"""An edited crop back into its photo.

What is pasted is the *change*, not the crop: edited minus original is added to the photo. So the photo keeps its own
grain and its detail beyond the crop's resolution wherever the edit did little, a crop that did not change returns the
photo bit for bit, and there is no seam, because the change fades out towards the crop's edge. Where the edit moved
things (a mouth that opens), the photo's finer detail belongs to what is gone and would stay as a ghost; there the
edited pixels replace the photo's. With p photo, o original, e edited (both read at the photo's pixels):

    result = p + mask * ((e - o) - moved * (p - o)) = p + gain - loss * p,
    gain = mask * (e - (1 - moved) * o),  loss = mask * moved

which is p + (e - o) where `moved` is 0 and e where it is 1. Gain and loss are made at the crop's own pixels and read
at the photo's together, and only where the mask is: what a face costs grows with its edit, not with the photo.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from pipelines.images.geometry import F64Array, photo_to_crop, side
from pipelines.images.original import Original, write_like
from pipelines.images.pixels import resize_u8
from pipelines.types import F32Array, Quad, U8Image

PASTE_VERSION = "4"  # 2: one picture a photo, the change inside the composer's mask; 3: the photo's own format; 4: cv2
_ROWS = 512  # photo rows at a time, so that memory does not grow with the photo
_UNMOVED, _MOVED = 10.0, 45.0  # grey levels, smoothed: a change of tone stays below, a displaced edge is above
_SPREAD = 1 / 100  # of the side: sigma that joins the two flanks of a displaced edge
_REACH = 4  # sigmas, beyond which that smoothing does not see

Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class PhotoStyle:
    """How pasted photos are written.

    Attributes:
        format: ``own``, or another one.
        keep_gps: whether the place where the photo was taken is kept.
        provenance: whether a note says that a trained model altered the photo.
    """

    format: Literal["own", "png", "jpg", "webp", "tif"] = "own"
    keep_gps: bool = False
    provenance: bool = True


@dataclass(frozen=True)
class Patch:
    """An edited crop on its way into a photo, cut to where it counts and no larger than its place there: a photo's
    patches take no more than it.

    Attributes:
        quad: where the whole crop lies in the photo, as `align` gave it.
        size: the side r of the whole crop, at most the quad's side.
        corner: left and top of what is kept of it.
        edited, original: uint8 h x w x 3, a part of the r x r crop; empty where the mask is.
        mask: uint8 h x w: 255 where the edit counts, 0 where the photo stays.
    """

    quad: Quad | F64Array
    size: int
    corner: tuple[int, int]
    edited: U8Image
    original: U8Image
    mask: npt.NDArray[np.uint8]

    def box(self, photo: U8Image) -> Box:
        """The photo's pixels that it can touch: left, top, right, bottom; empty where it lies outside."""
        height, width = self.mask.shape
        if not height or not width:
            return 0, 0, 0, 0
        left, top = self.corner
        a, b, c, d, e, f = photo_to_crop(self.quad, self.size)
        corners = np.array([(x, y) for x in (left, left + width) for y in (top, top + height)], np.float64)
        there = np.linalg.solve(np.array([[a, b], [d, e]]), (corners - (c, f)).T).T
        limits = np.array([photo.shape[1], photo.shape[0]])
        low = np.clip(np.floor(there.min(0)), 0, limits).astype(int)
        high = np.clip(np.ceil(there.max(0)), 0, limits).astype(int)
        return int(low[0]), int(low[1]), int(high[0]), int(high[1])


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
    soft = _mask(size, feather)
    if mask is not None:
        small = np.asarray(Image.fromarray(mask).resize((size, size), Image.Resampling.BOX))
        soft = np.rint(soft.astype(np.float32) * small / 255).astype(np.uint8)
    rows, columns = _kept(soft)
    edited, original = (resize_u8(picture, size, size)[rows, columns].copy() for picture in (crop, original_crop))
    return Patch(quad, size, (columns.start, rows.start), edited, original, soft[rows, columns].copy())


def add_patch(photo: U8Image, patch: Patch) -> None:
    """Puts a patch into `photo` (uint8 H x W x 3, upright), in place; pixels outside its quad or its mask stay."""
    left, top, right, bottom = patch.box(photo)
    if left >= right or top >= bottom:
        return
    change, mask = _change(patch)
    for start in range(top, bottom, _ROWS):
        stop = min(start + _ROWS, bottom)
        _blend(photo[start:stop, left:right], change, mask, patch, (left, start))


def paste_all(photo: Original, patches: Iterable[Patch], style: PhotoStyle) -> bytes:
    """The photo's file with all patches; each lies over those before it: faces come from the smallest to the largest, which
    is the nearest to the camera."""
    pixels, near = photo.pixels.copy(), np.zeros(photo.pixels.shape[:2], np.uint8)
    for patch in patches:
        add_patch(pixels, patch)
        left, top, right, bottom = patch.box(pixels)
        near[top:bottom, left:right] = 1
    return write_like(photo, pixels, near, style.keep_gps, style.provenance)


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


def _blend(photo: U8Image, change: F32Array, mask: F32Array, patch: Patch, place: tuple[int, int]) -> None:
    """One strip of the photo, which begins at `place`, in place. Outside the crop all is read as 0: no change."""
    a, b, c, d, e, f = photo_to_crop(patch.quad, patch.size, *place)
    shift = (
        np.array([patch.corner[0], patch.corner[1]]) + 0.5
    )  # OpenCV counts from a pixel's centre, Pillow from its edge
    numbers = np.array([[a, b, c + (a + b) / 2 - shift[0]], [d, e, f + (d + e) / 2 - shift[1]]])
    size = (photo.shape[1], photo.shape[0])
    inside = cv2.warpAffine(mask, numbers, size, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP) > 0
    if not inside.any():
        return
    read = cv2.warpAffine(change, numbers, size, flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP)
    kept = cv2.cvtColor(1 - read[:, :, 3], cv2.COLOR_GRAY2RGB)  # OpenCV's own passes: NumPy is slow along three colours
    gain = cv2.cvtColor(read, cv2.COLOR_RGBA2RGB)
    mixed = cv2.add(cv2.multiply(photo, kept, dtype=cv2.CV_32F), gain, dtype=cv2.CV_8U)  # rounds and clips
    np.copyto(photo, mixed, where=inside[:, :, None])


def _change(patch: Patch) -> tuple[F32Array, F32Array]:
    """float32 at the patch's own pixels: h x w x 4, the gain's three colours and the loss; and h x w, the mask."""
    mask = np.asarray(patch.mask / np.float32(255), np.float32)
    loss = mask * _moved(patch)
    kept = mask - loss
    pairs = zip(cv2.split(patch.edited), cv2.split(patch.original), strict=True)
    gain = [mask * edited - kept * original for edited, original in pairs]  # mask * (e - (1 - moved) * o)
    return np.asarray(cv2.merge([*gain, loss]), np.float32), mask


def _kept(mask: npt.NDArray[np.uint8]) -> tuple[slice, slice]:
    """Rows and columns of a square mask where it is above 0, and as much around them as is looked at."""
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    if not len(rows):
        return slice(0, 0), slice(0, 0)
    around = math.ceil(_REACH * _SPREAD * len(mask)) + 3  # 3: a bicubic reading's
    down, across = (slice(max(0, int(at[0]) - around), int(at[-1]) + 1 + around) for at in (rows, columns))
    return down, across


def _mask(size: int, feather: float) -> npt.NDArray[np.uint8]:
    """255 inside, falling smoothly (smoothstep) to 0 at the crop's edges over `feather` of the side."""
    place = (np.arange(size) + 0.5) / size
    rise = np.clip(np.minimum(place, 1 - place) / feather, 0.0, 1.0)
    rise = rise * rise * (3 - 2 * rise)
    return np.rint(255 * rise[:, None] * rise[None, :]).astype(np.uint8)


def _moved(patch: Patch) -> F32Array:
    """How much the edit displaced what was there, 0 to 1: the size of the change, smoothed."""
    red, green, blue = cv2.split(cv2.absdiff(patch.edited, patch.original))
    change = cv2.max(cv2.max(red, green), blue).astype(np.float32)
    smooth = cv2.GaussianBlur(change, (0, 0), _SPREAD * patch.size, borderType=cv2.BORDER_REPLICATE)
    share = np.clip((smooth - _UNMOVED) / (_MOVED - _UNMOVED), 0, 1)
    return np.asarray(share * share * (3 - 2 * share), np.float32)
