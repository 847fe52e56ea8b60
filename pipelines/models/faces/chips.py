"""Cut upright face chips the way dlib does, so that dlib's networks see what they were trained on, with gradients.

dlib (King, JMLR 2009) lays a mean face into a square and fits it to the landmarks with a similarity transform, by
least squares (Umeyama, PAMI 1991). The mean faces below are dlib's; they were measured from the transforms that
`dlib.get_face_chip_details` returns.
"""

from __future__ import annotations

import math
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

# Points of the 68 that dlib fits: nose, eyes, upper lip and mouth corners; brows, jaw and lower lip move too much.
FIT_68: Final = (*range(27, 55), *range(60, 65))
_X_68: Final = (
    (0.490127, 0.490127, 0.490127, 0.490127, 0.36688, 0.426036, 0.490127, 0.554217, 0.613373)
    + (0.121737, 0.187122, 0.265825, 0.334606, 0.260918, 0.182743)
    + (0.645647, 0.714428, 0.793132, 0.858516, 0.79751, 0.719335)
    + (0.254149, 0.340985, 0.428858, 0.490127, 0.551395, 0.639268, 0.726104)
    + (0.290379, 0.428096, 0.490127, 0.552157, 0.689874)
)
_Y_68: Final = (
    (0.203352, 0.307009, 0.409805, 0.515625, 0.587326, 0.609345, 0.628106, 0.609345, 0.587326)
    + (0.216423, 0.178758, 0.179852, 0.231733, 0.245099, 0.244077)
    + (0.231733, 0.179852, 0.178758, 0.216423, 0.244077, 0.245099)
    + (0.780233, 0.745405, 0.727388, 0.742578, 0.727388, 0.745405, 0.780233)
    + (0.784792, 0.778746, 0.785343, 0.778746, 0.784792)
)
# dlib's five points (eye corners and nose base): where the 68-point scheme has them, and their mean face.
FIT_5: Final = (45, 42, 36, 39, 33)
_X_5: Final = (0.859567, 0.64606, 0.120575, 0.334085, 0.490112)
_Y_5: Final = (0.213498, 0.228967, 0.213727, 0.229064, 0.627798)


def five_points(landmarks: Tensor) -> Tensor:
    """n x 68 x 2 (iBUG order) -> n x 5 x 2, dlib's five: right-hand eye outer and inner corner, left-hand eye outer
    and inner corner (the viewer's sides), nose base."""
    return landmarks[:, FIT_5]


def chip_matrix(landmarks: Tensor, size: int = 150, padding: float = 0.25) -> Tensor:
    """The similarity transform of dlib's `get_face_chip_details`, for a batch.

    Args:
        landmarks: n x 68 x 2 (iBUG order), or n x 5 x 2 as `five_points` orders them; (x, y) pixel positions, where
            whole numbers are pixel centres. All finite.
        size: side of the chip in pixels.
        padding: margin around the mean face, as a share of its side.

    Returns:
        n x 2 x 3; maps (x, y, 1) of a chip's pixel centre to the picture's pixel position.

    Raises:
        ValueError: landmarks of another shape.
    """
    template, points = _template(landmarks)
    template = (template + padding) / (2 * padding + 1) * size
    # A 2-D similarity is one complex factor, so the least-squares fit is a ratio of two sums.
    source, target = template - template.mean(0), points - points.mean(1, keepdim=True)
    weight = source.square().sum()
    cos = (source * target).sum((1, 2)) / weight
    sin = (source[:, 0] * target[..., 1] - source[:, 1] * target[..., 0]).sum(1) / weight
    turn = torch.stack((cos, -sin, sin, cos), 1).unflatten(1, (2, 2))
    middle = points.mean(1) + (turn @ (size / 2 - template.mean(0)).unsqueeze(1)).squeeze(2)
    # dlib lays the outermost pixel *centres* of the chip onto those of the fitted square, whose side is one pixel
    # spacing shorter than size * zoom: without this, chips of small pictures come out half a percent too wide.
    zoom = torch.hypot(cos, sin).clamp(min=1 / size).view(-1, 1, 1)
    turn = turn * ((size - 1 / zoom) / (size - 1))
    shift = middle - (turn @ turn.new_full((2, 1), (size - 1) / 2)).squeeze(2)
    return torch.cat((turn, shift.unsqueeze(2)), dim=2)


def _template(landmarks: Tensor) -> tuple[Tensor, Tensor]:
    if landmarks.ndim == 3 and landmarks.shape[1:] == (68, 2):
        return landmarks.new_tensor((_X_68, _Y_68)).T, landmarks[:, FIT_68]
    if landmarks.ndim == 3 and landmarks.shape[1:] == (5, 2):
        return landmarks.new_tensor((_X_5, _Y_5)).T, landmarks
    raise ValueError(f"landmarks must be n x 68 x 2 or n x 5 x 2, not {tuple(landmarks.shape)}")


def extract_chips(images: Tensor, landmarks: Tensor, size: int = 150, padding: float = 0.25) -> Tensor:
    """Cuts one chip per picture; differentiable in the pictures. A chip depends on its own picture only.

    Args:
        images: n x 3 x H x W, RGB, [-1, 1].
        landmarks: n x 68 x 2 or n x 5 x 2 as in `chip_matrix`, but as shares of width and height (pixel position
            divided by the side). All finite; no gradient flows to them.
        size: side of the chips in pixels.
        padding: margin around the mean face, as a share of its side.

    Returns:
        n x 3 x size x size in [-1, 1]; black (-1) where a chip leaves its picture.

    Raises:
        ValueError: landmarks of another shape or number.
    """
    if len(images) != len(landmarks):
        raise ValueError(f"{len(images)} pictures but landmarks for {len(landmarks)}")
    height, width = images.shape[2:]
    side = images.new_tensor((width, height))
    matrix = chip_matrix(landmarks.detach().to(images) * side, size, padding)
    # From picture pixels to grid_sample's [-1, 1], where -1 is the outer edge of the first pixel.
    scale = 2 / side
    matrix = matrix * scale[:, None] + F.pad(((scale / 2) - 1).unsqueeze(1), (2, 0))
    steps = torch.arange(size, device=images.device, dtype=images.dtype)
    y, x = torch.meshgrid(steps, steps, indexing="ij")
    grid = torch.einsum("nij,hwj->nhwi", matrix, torch.stack((x, y, torch.ones_like(x)), dim=2))
    most = _most_halvings(max(height, width), size)
    halvings = _halvings(matrix[:, :, 0].detach() * side / 2, most)
    chips = _sample(images, grid, 1)
    for each in range(1, most + 1):  # all of them, and the right one is taken: to choose here, the device would be read
        chips = torch.where((halvings == each).view(-1, 1, 1, 1), _sample(images, grid, 2**each), chips)
    return chips


def _halvings(step: Tensor, most: int) -> Tensor:
    """n x 2 picture pixels per chip pixel -> n: how often to halve the picture first, so that at most 2 remain."""
    length: Tensor = torch.linalg.vector_norm(step, dim=1)
    return (length.clamp(min=1e-6).log2().ceil() - 1).clamp(0, most)


def _most_halvings(side: int, size: int) -> int:
    """For a chip of `size` that is twice as wide as its picture."""
    return max(0, math.ceil(math.log2(2 * side / size)) - 1)


def _sample(images: Tensor, grid: Tensor, shrink: int) -> Tensor:
    if shrink > 1:
        height, width = images.shape[2:]
        images = F.interpolate(images, size=(max(1, height // shrink), max(1, width // shrink)), mode="area")
    # Shifting by one makes "outside" black: grid_sample itself knows only zero.
    return F.grid_sample(images + 1, grid, mode="bilinear", padding_mode="zeros", align_corners=False) - 1
