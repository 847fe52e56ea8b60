"""Where an attribute lives: soft masks in closed form from 68 landmarks, on any device.

Shapes are polygons of landmarks with a signed distance; a mask is 1 up to a margin around them and falls smoothly to an
exact 0. Lengths count in `unit`: a face seen from the side keeps its height, so the unit is the greater of the eyes'
distance and the distance from eyes to mouth.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from pipelines.images.pixels import resize_area
from pipelines.stages.compose.filters import pixel_grid, smoothstep

JAW, BROWS, NOSE = range(0, 17), range(17, 27), range(27, 36)
RIGHT_EYE, LEFT_EYE, LIPS, INNER_LIPS = range(36, 42), range(42, 48), range(48, 60), range(60, 68)
NOSE_RISE = 0.4  # units
INSIDE = (-0.02, 0.08)  # units around lips or lids: always theirs

# 68 landmarks (x, y) of an average aligned FFHQ crop in thousandths of the side: the guess where none were found.
_MEAN_POINTS = (
    "233 485 238 555 253 628 262 693 285 760 318 820 369 869 434 907 501 927 570 916 633 872 686 827 727 767 751 "
    "702 762 631 769 559 776 483 278 427 314 398 358 390 405 394 452 412 541 412 590 394 640 390 691 396 727 427 "
    "499 470 499 517 499 564 499 610 441 644 470 653 499 660 526 653 552 646 331 477 360 459 396 461 427 481 394 "
    "488 360 488 573 481 604 461 640 459 669 477 642 488 606 488 394 740 432 720 470 711 497 718 528 711 566 722 "
    "608 740 570 767 528 785 497 789 468 782 430 769 412 742 470 735 497 740 526 738 590 742 528 747 497 751 468 "
    "747"
)


def mean_landmarks(like: Tensor) -> Tensor:
    """68 x 2, shares of the side."""
    values = [int(value) / 1000 for value in _MEAN_POINTS.split()]
    return torch.tensor(values, dtype=like.dtype, device=like.device).view(68, 2)


def known_landmarks(landmarks: Tensor | None, images: Tensor) -> Tensor:
    """n x 68 x 2; the mean face's where a face's landmarks are NaN or absent altogether."""
    mean = mean_landmarks(images).expand(len(images), 68, 2)
    if landmarks is None:
        return mean
    given = landmarks.to(images)
    found = given.isfinite().flatten(1).all(dim=1)
    return torch.where(found[:, None, None], given.nan_to_num(), mean)


def moved_landmarks(landmarks: Tensor, flow: Tensor) -> Tensor:
    """Where landmarks of the unedited face lie in the edited one, by the flow from edited to unedited.

    The field is read at the old place, then twice at the place found: a fixed point of p + flow(p) = old.

    Args:
        landmarks: n x 68 x 2, shares. flow: n x 2 x H x H in pixels.
    """
    side = flow.shape[-1]
    places = landmarks
    for _ in range(3):
        grid = (places * 2 - 1).unsqueeze(1)
        there = torch.nn.functional.grid_sample(flow, grid, padding_mode="border", align_corners=False)
        places = landmarks - there[:, :, 0].transpose(1, 2) / side
    return places


@dataclass(frozen=True)
class Face:
    """n faces' landmarks with what masks are drawn from: `points` n x 68 x 2 in shares, `unit` n in shares."""

    points: Tensor
    unit: Tensor


def face_of(points: Tensor) -> Face:
    eyes = torch.stack((points[:, 36:42].mean(dim=1), points[:, 42:48].mean(dim=1)), dim=1)
    across = (eyes[:, 0] - eyes[:, 1]).norm(dim=-1)
    down = (eyes.mean(dim=1) - points[:, 48:68].mean(dim=1)).norm(dim=-1)
    return Face(points, torch.maximum(across, down * 0.95))


def polygon_distance(points: Tensor, side: int) -> Tensor:
    """Signed distance to closed polygons: n x 1 x side x side in shares of the side, negative inside.

    Args:
        points: n x k x 2, corners in shares, in order.
    """
    place = ((pixel_grid(side, side, points) + 0.5) / side)[:, None]  # 1 x 1 x 2 x H x W
    start, end = points, points.roll(-1, dims=1)
    edge = (end - start)[..., None, None]
    gap = place - start[..., None, None]
    share = ((gap * edge).sum(2) / edge.square().sum(2).clamp_min(1e-9)).clamp(0, 1)
    nearest = (gap - share.unsqueeze(2) * edge).square().sum(2).amin(dim=1, keepdim=True).sqrt()
    # Even-odd rule: crossings of a ray to the right.
    y, y0, y1 = place[:, :, 1], start[:, :, 1, None, None], end[:, :, 1, None, None]
    x_at = start[:, :, 0, None, None] + (y - y0) * edge[:, :, 0] / (edge[:, :, 1] + 1e-9)
    crosses = ((y0 > y) != (y1 > y)) & (place[:, :, 0] < x_at)
    inside = crosses.sum(dim=1, keepdim=True) % 2 == 1
    return torch.where(inside, -nearest, nearest)


def soft(distance: Tensor, unit: Tensor, solid: float | Tensor, edge: float | Tensor) -> Tensor:
    """1 up to `solid` units outside a shape, 0 from `solid` + `edge` on; floats, or n values."""
    scaled = distance / unit.view(-1, 1, 1, 1)
    return 1 - smoothstep((scaled - _each(solid)) / _each(edge), 0, 1)


def _each(value: float | Tensor) -> float | Tensor:
    return value.view(-1, 1, 1, 1) if isinstance(value, Tensor) else value


def oval(face: Face, rise: float | Tensor = 0.75) -> Tensor:
    """The face's outline n x 27 x 2: jaw, then brows lifted by `rise` units along the face's own upward direction."""
    points = face.points
    up = points[:, 27:28] - points[:, 8:9]
    up = up / up.norm(dim=-1, keepdim=True).clamp_min(1e-6)
    brows = points[:, list(reversed(BROWS))] + up * (rise * face.unit).view(-1, 1, 1)
    return torch.cat((points[:, list(JAW)], brows), dim=1)


def frontal(face: Face) -> Tensor:
    """1 up to half-profiles, 0 where one cheek is hidden and its landmarks are guesses: n x 1 x 1 x 1."""
    return smoothstep(lean(face), 0.92, 0.78)


def lean(face: Face) -> Tensor:
    """How far a head is turned: 0 from the front, 1 from the side; n x 1 x 1 x 1."""
    nose = face.points[:, 30]
    right, left = ((nose - face.points[:, index]).norm(dim=-1) for index in (2, 14))
    share: Tensor = (right - left) / (right + left).clamp_min(1e-6)
    return share.abs().view(-1, 1, 1, 1)


def mouth_region(face: Face, side: int, reach: float = 0.3) -> Tensor:
    """Mouth, chin and the cheeks that a smile lifts; within the face's outline and a little beyond the jaw.

    Args:
        reach: units from the lips up to which it is 1.
    """
    lips = polygon_distance(face.points[:, list(LIPS)], side)
    outline = polygon_distance(oval(face), side)
    return soft(lips, face.unit, reach, 0.42) * soft(outline, face.unit, 0.0, 0.25)


def beard_region(face: Face, side: int) -> Tensor:
    """Where a beard is: around the mouth and on the chin, without lips, and without cheeks and nose above it."""
    lips = soft(polygon_distance(face.points[:, list(LIPS)], side), face.unit, -0.02, 0.05)
    return mouth_region(face, side) * (1 - lips) * (1 - bare_skin(face, side, (-0.12, 0.14)))


def below_nose(face: Face, side: int) -> Tensor:
    """The half of the picture below the nose's base, fading out upwards over `NOSE_RISE` units."""
    return smoothstep(_height(face, side, face.points[:, 33]), NOSE_RISE, 0)


def eyes_region(face: Face, side: int) -> Tensor:
    """Both eyes with lids and brows."""
    left, right = (
        soft(polygon_distance(face.points[:, list(e)], side), face.unit, 0.18, 0.32) for e in (LEFT_EYE, RIGHT_EYE)
    )
    return torch.maximum(left, right)


def brow_area(face: Face, side: int) -> Tensor:
    """Eyes, brows and the forehead close by: all that rises with a brow."""
    sides = ((*range(17, 22), 39, 40, 41, 36), (*range(22, 27), 45, 46, 47, 42))  # along a brow, back below its eye
    left, right = (soft(polygon_distance(face.points[:, list(s)], side), face.unit, 0.2, 0.35) for s in sides)
    return torch.maximum(left, right)


def glasses_region(face: Face, side: int) -> Tensor:
    """From the brows to the middle of the nose, temple to temple: where glasses sit."""
    band = (0, *range(17, 27), 16, 15, 29, 1)
    return soft(polygon_distance(face.points[:, list(band)], side), face.unit, 0.12, 0.25)


def hair_region(face: Face, side: int, reach: float = 1.0) -> Tensor:
    """Around and above the face, where hair is, as far as landmarks can tell; without the face and what is below the jaw;
    `reach`: how far from the face's outline, in units."""
    outline = polygon_distance(oval(face, 0.55), side)
    above = smoothstep(_height(face, side, face.points[:, 8]), 0.2, 0.8)
    return soft(outline, face.unit, reach, 0.6) * (1 - soft(outline, face.unit, -0.1, 0.25)) * above


def asked_region(face: Face, side: int, region: str | Tensor) -> Tensor:
    """The mask that `--region` asks for, instead of where an attribute lives: n x 1 x side x side.

    Args:
        region: one of `NAMED`, or a grey picture n x 1 x R x R (n may be 1) in [0, 1], white where the edit may be.

    Raises:
        ValueError: an unknown name.
    """
    if isinstance(region, Tensor):
        return resize_area(region.to(face.points), side).clamp(0, 1).expand(len(face.points), 1, side, side)
    if region not in NAMED:
        raise ValueError(f"there is no region '{region}'; known: {', '.join(NAMED)}, or a grey picture")
    return NAMED[region](face, side)


def face_region(face: Face, side: int) -> Tensor:
    """The skin of the face up to the hair."""
    return soft(polygon_distance(oval(face, 0.55), side), face.unit, -0.05, 0.25)


def jaw_region(face: Face, side: int) -> Tensor:
    """The head below the eyes, ears with it, and what lies close around: what moves when a jaw gets wider."""
    below = smoothstep(_height(face, side, face.points[:, 36:48].mean(dim=1)), 0.15, -0.35)
    return below * soft(polygon_distance(oval(face), side), face.unit, 0.3, 0.6)


def above_brows(face: Face, side: int) -> Tensor:
    """1 on the forehead and above, 0 below the brows: n x 1 x side x side."""
    return smoothstep(_height(face, side, face.points[:, list(BROWS)].mean(dim=1)), 0.0, 0.2)


def _height(face: Face, side: int, origin: Tensor) -> Tensor:
    """n x 1 x side x side: how far above `origin` n x 2, by the face's own upright, in units."""
    up = face.points[:, 27] - face.points[:, 8]
    up = up / up.norm(dim=-1, keepdim=True).clamp_min(1e-6)
    place = (pixel_grid(side, side, face.points) + 0.5) / side
    height = ((place - origin[:, :, None, None]) * up[:, :, None, None]).sum(dim=1, keepdim=True)
    scaled: Tensor = height / face.unit.view(-1, 1, 1, 1)
    return scaled


def irises(face: Face, side: int) -> Tensor:
    """The openings of both eyes, without their lids: 1 inside."""
    shapes = [polygon_distance(face.points[:, list(eye)], side) for eye in (LEFT_EYE, RIGHT_EYE)]
    return soft(torch.minimum(*shapes), face.unit, 0.03, 0.06)


def lip_bodies(face: Face, side: int) -> Tensor:
    """The lips without their rim and without what may be seen between them."""
    return _lips(face, side, (-0.05, 0.03), (0.02, 0.03))


def lips_region(face: Face, side: int) -> Tensor:
    """The lips to their rim, without what may be seen between them."""
    return _lips(face, side, (-0.02, 0.05), (0.0, 0.03))


def _lips(face: Face, side: int, rim: tuple[float, float], between: tuple[float, float]) -> Tensor:
    outer, inner = (polygon_distance(face.points[:, list(shape)], side) for shape in (LIPS, INNER_LIPS))
    return soft(outer, face.unit, *rim) * (1 - soft(inner, face.unit, *between))


def lids_region(face: Face, side: int) -> Tensor:
    """The upper lids, less and less towards the brows."""
    lines = [face.points[:, 36:40], face.points[:, 42:46]]
    return _bands(face, lines, side, (0.0, 0.12), (-0.02, 0.08))


def brows_region(face: Face, side: int, *, thick: float = 0.05, edge: tuple[float, float] = (-0.03, 0.05)) -> Tensor:
    """Both brows; `thick`: units up and down from their landmarks."""
    lines = [face.points[:, 17:22], face.points[:, 22:27]]
    return _bands(face, lines, side, (-thick, thick), edge)


def _bands(face: Face, lines: list[Tensor], side: int, span: tuple[float, float], edge: tuple[float, float]) -> Tensor:
    """What lies between two copies of each line n x m x 2, so many units above it, with a soft edge."""
    up = face.points[:, 27] - face.points[:, 8]
    up = (up / up.norm(dim=-1, keepdim=True).clamp_min(1e-6) * face.unit.view(-1, 1)).unsqueeze(1)
    bands = [torch.cat((line + span[0] * up, line.flip(1) + span[1] * up), dim=1) for line in lines]
    distance = torch.cat([polygon_distance(band, side) for band in bands], dim=1).amin(dim=1, keepdim=True)
    return soft(distance, face.unit, *edge)


def bare_skin(face: Face, side: int, edge: tuple[float, float] = (-0.03, 0.05)) -> Tensor:
    """Cheeks, nose and forehead, where skin is most often to be seen: no eyes, brows, beard or hair."""
    p = face.points
    # Outer corners of the eyes, along the cheeks to the wings of the nose and back up its other side.
    shape = torch.stack([p[:, 36], (p[:, 2] + p[:, 36]) / 2, (p[:, 3] + p[:, 31]) / 2, p[:, 33]], dim=1)
    other = torch.stack([(p[:, 13] + p[:, 35]) / 2, (p[:, 14] + p[:, 45]) / 2, p[:, 45], p[:, 27]], dim=1)
    cheeks = soft(polygon_distance(torch.cat((shape, other), dim=1), side), face.unit, *edge)
    return cheeks * (1 - eyes_region(face, side))


def everywhere(face: Face, side: int) -> Tensor:
    """Ones."""
    return face.points.new_ones(len(face.points), 1, side, side)


NAMED: dict[str, Callable[[Face, int], Tensor]] = {
    "face": face_region,
    "mouth": mouth_region,
    "lips": lips_region,
    "eyes": eyes_region,
    "lids": lids_region,
    "brows": brows_region,
    "glasses": glasses_region,
    "beard": beard_region,
    "jaw": jaw_region,
    "hair": hair_region,
    "all": everywhere,
}
