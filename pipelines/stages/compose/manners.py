"""What kind of change an attribute is, and where it lives: decides how its edits are composed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from pipelines.images.pixels import resize_area
from pipelines.stages.compose import regions
from pipelines.stages.compose.filters import enlarge, length
from pipelines.stages.compose.flow import edit_flow
from pipelines.stages.compose.state import WORK

Way = Literal["head", "shape", "skin"]
Region = Literal["face", "mouth", "lips", "eyes", "brow area", "jaw", "beard", "lids", "brows", "glasses", "skin"]
Term = tuple[str, float]
ORDER: tuple[Way, ...] = ("head", "shape", "skin")
TURN, MOTION = 0.03, 0.012  # mean motion of the face or of a region, in units: above these an edit turns or shapes it


@dataclass(frozen=True)
class Manner:
    """`way`: head moves before the background, shape moves parts of the face, skin stays in place; `region`: of shapes,
    and of heads and skin where it is not the whole of them.

    `unit`: how much of a direction's own unit makes one unit of a composed edit. `rows`: of the direction, that leave the
    shape alone, where an edit of skin must bring neither glasses nor another head along ("": its own); docs/decisions/0036.
    `colour`: share of the change in colour that is taken; docs/decisions/0115.
    """

    way: Way
    region: Region = "face"
    unit: float = 1.0
    rows: str = ""
    colour: float = 1.0


MannerOf = Callable[[str], Manner]
MANNERS: dict[str, Manner] = {
    "smile": Manner("shape", "mouth", 0.75, colour=0.5),
    "mouth_open": Manner("shape", "mouth", colour=0.5),
    "eyes_open": Manner("shape", "eyes"),
    "brows_up": Manner("shape", "brow area", 1.15),
    "face_width": Manner("head", "jaw", 2.05),
    "age": Manner("shape", "skin", colour=0.3),
    "gender": Manner("shape", "skin", colour=0.5),
    "beard": Manner("skin", "beard", 2.2),
    "lipstick": Manner("skin", "lips", 1.6),
    "eyeshadow": Manner("skin", "lids", 1.85),
    "eyebrows": Manner("skin", "brows", 6.4),
    "yaw": Manner("head"),
    "pitch": Manner("head"),
}


def known_manner(attribute: str) -> Manner:
    """Of our own attributes, with or without rows (``age@6-17``); an unknown one's is the whole face's shape."""
    return MANNERS.get(attribute.split("@")[0], Manner("shape", "face"))


def in_order(terms: Sequence[Term], manner: MannerOf) -> tuple[Term, ...]:
    """The terms that do something, head first, then shapes, then skin, whatever the order typed."""
    moving = [term for term in terms if term[1] != 0]
    return tuple(sorted(moving, key=lambda term: ORDER.index(manner(term[0]).way)))


def measured_manner(base: Tensor, edited: Tensor) -> Manner:
    """The manner of a direction that comes without a card, from one pair of pictures.

    Args:
        base, edited: 1 x 3 x R x R, the generator's average face, unedited and at strength +1.
    """
    flow = edit_flow(*(resize_area(x, WORK) for x in (base, edited)))
    face = regions.face_of(regions.mean_landmarks(base)[None])
    size = length(flow) / WORK / face.unit
    drawn = {"face": regions.face_region, "mouth": regions.mouth_region, "eyes": regions.eyes_region}
    motion = {}
    for name, draw in drawn.items():
        weight = enlarge(draw(face, WORK // 4), 4)
        motion[name] = float((size * weight).sum() / weight.sum())
    if motion["face"] > TURN:
        return Manner("head")
    if max(motion.values()) < MOTION:
        return Manner("skin")
    if motion["mouth"] > 2 * motion["eyes"]:
        return Manner("shape", "mouth")
    return Manner("shape", "eyes" if motion["eyes"] > 2 * motion["mouth"] else "face")
