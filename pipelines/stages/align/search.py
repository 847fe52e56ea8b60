"""The thorough search: what is done about a photo in which the quick detector finds nothing.

YuNet looks at the photo in its four turns (photos lose their EXIF), enlarged where it is small; then in tiles at twice the
size, and so on up to the photo's full size. A face is not only found but *settled*: the crop is looked at again in its four
turns, and turned, tilted and moved until it is upright and in its place, or refused. A detector that takes a chin for a
face, or a face upside-down for one that is not, gets no further than that.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from pipelines.images.geometry import F64Array, crop_quad, ffhq_quad, side
from pipelines.images.pixels import resize_u8
from pipelines.models.faces.yunet import WINDOW, YuNetFinder
from pipelines.types import F32Array, Face, U8Image

_LOOK = WINDOW // 2  # px of a crop that is looked at: its four turns fill one window
_SURE = 0.8  # least score of a face in the photo
_SETTLED = 0.6  # least score of a face in its crop, where it is known to be
_AGREE = 0.06  # of the side: corners this close are one place
_NEARLY = 0.12  # the same after the last round: landmarks of some faces swing by 0.09
_ROUNDS = 5  # of settling; a face that lies at 45 degrees takes three
_STEP = WINDOW - 160  # px between tiles: a face that a tile cuts lies whole in the next, or was found at half the size
_TURNED_SIDE = 1280  # px; above that, photos are searched in the one turn that looked best, or as they are


class Search:
    """YuNet in turns, tiles and sizes.

    Args:
        finder: the network.
    """

    version = "1"

    def __init__(self, finder: YuNetFinder) -> None:
        self._finder = finder

    def find(self, photo: U8Image) -> tuple[list[Face], str]:
        """Faces of a photo, uint8 H x W x 3, and the way that found them: ``yunet``, ``yunet turned 90``, 180 or 270
        (degrees clockwise that set the photo upright), ``yunet tiles`` or ``yunet enlarged``; none and "" at the end."""
        longest = max(photo.shape[:2])
        for size in _sizes(longest):
            turns = range(4) if size <= _TURNED_SIDE else range(1)
            found = [self._turned(photo, turn, size) for turn in turns]
            best = max(found, key=lambda faces: max((face.score for face in faces), default=0.0))
            if best:
                return best, _way(found.index(best), size, longest)
        return [], ""

    def settle(self, photo: U8Image, face: Face) -> Face | None:
        """The face that the crop of a find shows, upright and in its place; None where it shows none.

        A find that is in its place comes back as it was given; another with its own score and new landmarks.
        """
        moved = np.inf
        for _ in range(_ROUNDS):
            try:
                quad = ffhq_quad(face.landmarks)
                seen = self._seen(photo, quad)
            except ValueError:  # it lies outside of the photo, or in one point
                return None
            if seen is None:
                return None
            moved = np.hypot(*(ffhq_quad(seen) - quad).T).max() / side(quad)
            if moved <= _AGREE:
                return face
            face = replace(face, landmarks=seen)
        return face if moved <= _NEARLY else None

    def _turned(self, photo: U8Image, turn: int, longest: int) -> list[Face]:
        """Faces of the photo turned by quarters, at that longest side; in the photo's own pixels."""
        upright = np.rot90(photo, turn)
        height, width = upright.shape[:2]
        columns, rows = (max(1, round(edge * longest / max(height, width))) for edge in (width, height))
        copy = resize_u8(np.ascontiguousarray(upright), columns, rows)
        faces = []
        for left, top in _tiles(columns, rows):
            for face in self._finder.look(copy[top : top + WINDOW, left : left + WINDOW], _SURE):
                points = (face.landmarks + (left, top) + 0.5) * (width / columns, height / rows) - 0.5
                box = np.array(face.box) + (left, top, left, top)
                faces.append((replace(face, landmarks=_back(points, turn, width, height).astype(np.float32)), box))
        return _single(faces)

    def _seen(self, photo: U8Image, quad: F64Array) -> F32Array | None:
        """Landmarks of the face in a crop, whichever way up it lies, in the photo's pixels."""
        crop = crop_quad(photo, quad, _LOOK)
        window = np.zeros((WINDOW, WINDOW, 3), np.uint8)
        corners = [(_LOOK * (turn % 2), _LOOK * (turn // 2)) for turn in range(4)]
        for turn, (left, top) in enumerate(corners):
            window[top : top + _LOOK, left : left + _LOOK] = np.rot90(crop, turn)
        best: tuple[float, int, Face] | None = None
        for face in self._finder.look(window, _SETTLED):
            middle = np.array([face.box[0] + face.box[2], face.box[1] + face.box[3]]) / 2
            turn = int(middle[0] >= _LOOK) + 2 * int(middle[1] >= _LOOK)
            if np.abs(middle - corners[turn] - _LOOK / 2).max() < _LOOK / 4 and (best is None or face.score > best[0]):
                best = face.score, turn, face
        if best is None:
            return None
        _, turn, face = best
        points = _back(face.landmarks - corners[turn], turn, _LOOK, _LOOK)
        shares = (points + 0.5) / _LOOK
        axes = np.stack([quad[3] - quad[0], quad[1] - quad[0]])
        return np.asarray(quad[0] + shares @ axes, np.float32)


def _sizes(longest: int) -> Iterator[int]:
    """Longest sides to search at: one window, then twice that, until every pixel of the photo counts."""
    size = WINDOW
    while size < longest:
        yield size
        size *= 2
    yield min(size, max(longest, WINDOW))


def _way(turn: int, size: int, longest: int) -> str:
    parts = ["yunet"]
    parts += [f"turned {90 * (4 - turn)}"] if turn else []
    parts += ["tiles"] if size > WINDOW else ["enlarged"] if size > longest else []
    return " ".join(parts)


def _tiles(width: int, height: int) -> Iterator[tuple[int, int]]:
    """Left and top of windows that cover a picture, overlapping."""
    for top in range(0, max(1, height - WINDOW + _STEP), _STEP):
        for left in range(0, max(1, width - WINDOW + _STEP), _STEP):
            yield min(left, max(0, width - WINDOW)), min(top, max(0, height - WINDOW))


def _back(points: F32Array | F64Array, turn: int, width: int, height: int) -> F64Array:
    """Points of a picture turned by `turn` quarters (as np.rot90 turns; width x height px) in the unturned one."""
    x, y = np.asarray(points, np.float64).T
    ways = {0: (x, y), 1: (height - 1 - y, x), 2: (width - 1 - x, height - 1 - y), 3: (y, width - 1 - x)}
    return np.stack(ways[turn], axis=1)


def _single(faces: list[tuple[Face, F64Array]]) -> list[Face]:
    """Each face once, best first: a face lies in several tiles, and its middle in the same box."""
    kept: list[tuple[Face, F64Array]] = []
    for face, box in sorted(faces, key=lambda one: -one[0].score):
        middle = (box[:2] + box[2:]) / 2
        if not any((other[:2] < middle).all() and (middle < other[2:]).all() for _, other in kept):
            kept.append((face, box))
    return [face for face, _ in kept]
