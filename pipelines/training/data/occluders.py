"""Details from outside a generator's world, drawn by code onto generated faces: what compensation must learn to keep.

A detail is decided by its seed alone, so that two faces (one of them edited) can carry the very same. Faces are
expected where FFHQ's alignment puts them (Karras et al. 2019): eyes at about (0.38, 0.47) and (0.62, 0.47) of the side.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from pipelines.training.data.textures import Array, colour, ramp, skin, smooth_noise, texture

SIDE = 256
EYES = ((0.38, 0.47), (0.62, 0.47))
GLYPHS = "ABCDEFGHJKLMNPRSTUVWXYZabcdefghkmnprstuvwxyz0123456789&!?"


@dataclass
class Detail:
    """What one seed draws, on a side of 256.

    Attributes:
        kinds: names of what is there.
        paint: 3 x 256 x 256, RGB in [0, 1], multiplied by `alpha` already.
        alpha: 1 x 256 x 256 in [0, 1], how much of the picture the paint covers.
        gain: 3 x 256 x 256, factor of the picture's light (of [0, 1] values, not of [-1, 1]) beneath the paint.
    """

    kinds: tuple[str, ...]
    paint: Tensor
    alpha: Tensor
    gain: Tensor


@dataclass
class _Canvas:
    """A detail in the making: paint H x W x 3 (times alpha), alpha and gain H x W x 1 or 3; all in [0, 1] but gain."""

    paint: Array
    alpha: Array
    gain: Array

    def lay(self, paint: Array, alpha: Array) -> None:
        """Cover with `paint` (3 values or H x W x 3) where `alpha` H x W is 1."""
        over = alpha[..., None]
        under = 1 - over
        self.paint = paint * over + self.paint * under
        self.alpha = over + self.alpha * under


def _mask(draw: Callable[[ImageDraw.ImageDraw], None], soft: float = 1.0) -> Array:
    """A shape drawn at twice the side, its edge smoothed; H x W in [0, 1]."""
    picture = Image.new("L", (2 * SIDE, 2 * SIDE))
    draw(ImageDraw.Draw(picture))
    small = picture.reduce(2)
    if soft > 1.0:
        cells = max(2, round(SIDE / soft))
        small = small.resize((cells, cells), Image.Resampling.BOX).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    return np.asarray(np.asarray(small, np.float32) / 255, np.float32)


def _points(xy: npt.ArrayLike) -> list[tuple[float, float]]:
    """Shares of the side -> Pillow's points at twice the side."""
    return [(float(x) * 2 * SIDE, float(y) * 2 * SIDE) for x, y in np.asarray(xy)]


def _hand(canvas: _Canvas, rng: np.random.Generator) -> None:
    """A palm and four or five fingers, thick lines with round ends, reaching in from an edge."""
    wrist = np.array([rng.choice([-0.05, 1.05]), rng.uniform(0.5, 1.05)])
    palm = wrist + (np.array([rng.uniform(0.2, 0.8), rng.uniform(0.45, 0.9)]) - wrist) * rng.uniform(0.5, 0.8)
    ahead = (palm - wrist) / (np.linalg.norm(palm - wrist) + 1e-6)
    thick = rng.uniform(0.035, 0.06)
    angles = np.linspace(-0.6, 0.6, rng.integers(4, 6)) * rng.uniform(0.5, 1.3)
    lengths = rng.uniform(2.2, 4.0, len(angles)) * thick * 1.6
    turned = [
        np.array([ahead[0] * np.cos(a) - ahead[1] * np.sin(a), ahead[0] * np.sin(a) + ahead[1] * np.cos(a)])
        for a in angles
    ]
    starts = [palm + direction * thick * 1.2 for direction in turned]
    tips = [start + direction * length for start, direction, length in zip(starts, turned, lengths, strict=True)]

    def limb(pen: ImageDraw.ImageDraw, a: Array, b: Array, width: float, fill: int = 255) -> None:
        pen.line(_points([a, b]), fill=fill, width=round(width * 2 * SIDE))
        for end in _points([a, b]):
            pen.circle(end, width * SIDE, fill=fill)

    def whole(pen: ImageDraw.ImageDraw) -> None:
        limb(pen, wrist, palm, 2.6 * thick)
        pen.circle(_points([palm])[0], 2 * thick * 2 * SIDE, fill=255)
        for start, tip in zip(starts, tips, strict=True):
            limb(pen, start, tip, 1.3 * thick)

    def cores(pen: ImageDraw.ImageDraw) -> None:
        for start, tip in zip(starts, tips, strict=True):
            limb(pen, start, tip, 0.5 * thick)

    # Fingers are lighter along their middle: without that they merge into one flat patch.
    light = 0.75 + 0.25 * _mask(cores, soft=4) + 0.12 * smooth_noise(rng, 12, SIDE)
    canvas.lay(np.clip(skin(rng) * light[..., None], 0, 1), _mask(whole))


def _hat(canvas: _Canvas, rng: np.random.Generator) -> None:
    """A crown and a brim over the top of the head."""
    brim, lean = rng.uniform(0.18, 0.3), rng.uniform(-0.05, 0.05)
    left, right = rng.uniform(0.12, 0.24), rng.uniform(0.76, 0.88)
    top = rng.uniform(-0.1, 0.06)
    crown = [
        (left, brim - lean),
        (left + rng.uniform(0, 0.12), top),
        (right - rng.uniform(0, 0.12), top),
        (right, brim + lean),
    ]
    out, deep = rng.uniform(-0.04, 0.12), rng.uniform(0.02, 0.07)
    edge = [
        (left - out, brim - lean - deep / 2),
        (right + out, brim + lean - deep / 2),
        (right + out, brim + lean + deep / 2),
        (left - out, brim - lean + deep / 2),
    ]
    shade = ramp(rng, SIDE, 0.6, 1.1)[..., None]
    canvas.lay(np.clip(texture(rng, SIDE) * shade, 0, 1), _mask(lambda pen: pen.polygon(_points(crown), fill=255)))
    canvas.lay(np.clip(texture(rng, SIDE) * shade, 0, 1), _mask(lambda pen: pen.polygon(_points(edge), fill=255)))


def _glasses(canvas: _Canvas, rng: np.random.Generator) -> None:
    """A frame around both eyes, sometimes with tinted glass."""
    wide, high = rng.uniform(0.085, 0.115), rng.uniform(0.05, 0.09)
    width, drop = rng.uniform(0.008, 0.025), rng.uniform(-0.01, 0.025)
    boxes = [[(x - wide, y - high + drop), (x + wide, y + high + drop)] for x, y in EYES]
    round_share = rng.uniform(0.2, 1.0)

    def rims(pen: ImageDraw.ImageDraw, fill: int, outline: int) -> None:
        for box in boxes:
            (x0, y0), (x1, y1) = _points(box)
            radius = round_share * min(x1 - x0, y1 - y0) / 2
            pen.rounded_rectangle((x0, y0, x1, y1), radius, fill, outline, round(width * 2 * SIDE))

    def frame(pen: ImageDraw.ImageDraw) -> None:
        rims(pen, 0, 255)
        y = EYES[0][1] + drop
        for a, b in ((EYES[0][0] + wide, EYES[1][0] - wide), (0.14, EYES[0][0] - wide), (EYES[1][0] + wide, 0.86)):
            pen.line(_points([(a, y - 0.01), (b, y - 0.01)]), fill=255, width=round(width * 2 * SIDE))

    if rng.random() < 0.4:
        canvas.lay(colour(rng, 0.0, 0.4), rng.uniform(0.3, 0.95) * _mask(lambda pen: rims(pen, 255, 255)))
    canvas.lay(colour(rng, 0.0, 0.6), _mask(frame))


def _patch(canvas: _Canvas, rng: np.random.Generator) -> None:
    """A blob with a pattern: a sticker, face paint, a tattoo, a scarf's edge."""
    centre = rng.uniform(0.15, 0.85, 2)
    angles = np.linspace(0, 2 * np.pi, 14, endpoint=False)
    reach = rng.uniform(0.05, 0.16) * (1 + 0.35 * rng.standard_normal(len(angles)).clip(-1.5, 1.5))
    shape = np.stack((centre[0] + reach * np.cos(angles), centre[1] + reach * np.sin(angles)), axis=1)
    mask = _mask(lambda pen: pen.polygon(_points(shape), fill=255), soft=rng.choice([1.0, 6.0]))
    canvas.lay(texture(rng, SIDE), rng.uniform(0.5, 1.0) * mask)


def _text(canvas: _Canvas, rng: np.random.Generator) -> None:
    """One or two lines of letters."""
    font: Any = ImageFont.load_default(size=float(rng.uniform(36, 110)))
    lines = ["".join(rng.choice(list(GLYPHS), rng.integers(2, 8))) for _ in range(rng.integers(1, 3))]
    place = _points([(rng.uniform(-0.05, 0.7), rng.uniform(0.02, 0.85))])[0]
    mask = _mask(lambda pen: pen.text(place, "\n".join(lines), fill=255, font=font))
    canvas.lay(colour(rng), mask)


def _light(canvas: _Canvas, rng: np.random.Generator) -> None:
    """A gradient of brightness and one or two coloured lamps."""
    gain = ramp(rng, SIDE, rng.uniform(0.35, 0.8), rng.uniform(1.0, 1.5))[..., None]
    for _ in range(rng.integers(1, 3)):
        lamp = ramp(rng, SIDE, 0.0, 1.0)[..., None] ** 2
        gain = gain * (1 - lamp + lamp * (0.4 + 1.1 * colour(rng)))
    canvas.gain = canvas.gain * np.clip(gain, 0.15, 2.0).astype(np.float32)


def _background(canvas: _Canvas, rng: np.random.Generator) -> None:
    """Texture everywhere but in a head-shaped ellipse with shoulders beneath it."""

    def person(pen: ImageDraw.ImageDraw) -> None:
        pen.ellipse(_points([(0.12, 0.0), (0.88, 1.0)]), fill=255)
        pen.ellipse(_points([(-0.05, 0.82), (1.05, 1.4)]), fill=255)

    canvas.lay(texture(rng, SIDE), 1 - _mask(person, soft=rng.uniform(2, 10)))


# Drawn in this order: what is nearer covers what is farther.
MAKERS: dict[str, Callable[[_Canvas, np.random.Generator], None]] = {
    "light": _light,
    "background": _background,
    "patch": _patch,
    "hat": _hat,
    "glasses": _glasses,
    "text": _text,
    "hand": _hand,
}
KINDS = tuple(MAKERS)
# Kinds that stay where they are when the head turns; hats and glasses would have to turn along.
STILL_KINDS = ("light", "background", "text", "hand")


def draw_detail(seed: int, kinds: Sequence[str] = KINDS, most: int = 3) -> Detail:
    """One to `most` kinds of detail, all decided by `seed`; about 10 ms on one core.

    Raises:
        ValueError: an unknown kind, or none at all.
    """
    if not kinds or not set(kinds) <= set(MAKERS):
        raise ValueError(f"kinds of details must be some of {', '.join(KINDS)}; given: {', '.join(kinds) or 'none'}")
    rng = np.random.default_rng(seed)
    count = int(rng.integers(1, min(most, len(kinds)) + 1))
    chosen = set(rng.choice(list(kinds), count, replace=False).tolist())
    canvas = _Canvas(*(np.full((SIDE, SIDE, c), value, np.float32) for c, value in ((3, 0), (1, 0), (3, 1))))
    ordered = tuple(kind for kind in MAKERS if kind in chosen)
    for kind in ordered:
        MAKERS[kind](canvas, rng)
    paint, alpha, gain = (
        torch.from_numpy(np.ascontiguousarray(part.transpose(2, 0, 1), np.float32))
        for part in (canvas.paint, canvas.alpha, canvas.gain)
    )
    return Detail(ordered, paint.clamp_(0, 1), alpha.clamp_(0, 1), gain)


def paste(pictures: Tensor, details: Sequence[Detail]) -> tuple[Tensor, Tensor]:
    """One detail per picture: n x 3 x 256 x 256 in [-1, 1], RGB -> the same with details, and masks n x 1 x 256 x 256.

    A mask is in [0, 1]: how far the detail decides the pixel (paint wholly, light by how much it departs from 1).
    """
    paint, alpha, gain = (
        torch.stack([getattr(detail, name) for detail in details]).to(pictures) for name in ("paint", "alpha", "gain")
    )
    lit = ((pictures + 1) / 2).clamp(0, 1) * gain
    made = (lit.clamp(max=1) * (1 - alpha) + paint) * 2 - 1
    departure = (gain - 1).abs().amax(dim=1, keepdim=True).clamp(max=1)
    return made, torch.maximum(alpha, departure)
