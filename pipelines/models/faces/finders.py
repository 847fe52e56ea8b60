"""Face finders: a picture -> faces with landmarks, largest first, the same order every time.

`DlibFinder` (68 points) uses the detector and the landmark model with which FFHQ itself was aligned (Kazemi, Sullivan
2014, "One Millisecond Face Alignment with an Ensemble of Regression Trees"; Dalal, Triggs 2005 for the HOG windows).
`RetinaFinder` (5 points) finds smaller, turned and hidden faces (Deng et al. 2020, "RetinaFace"), through facexlib's
network class with weights that the caller has loaded: nothing is downloaded and nothing printed.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from pipelines.errors import UsageError, WeightsError
from pipelines.images.pixels import resize_u8
from pipelines.types import Face, U8Image

F64Array = npt.NDArray[np.float64]

_LANDMARK_SIDE = 400  # px of a face box in the copy that the landmark model sees
_SHORTEST = 16  # px; a reduced copy thinner than this is not searched


def in_order(faces: list[Face]) -> list[Face]:
    """Largest box first; equal boxes from top to bottom, then left to right."""

    def rank(face: Face) -> tuple[float, float, float]:
        left, top, right, bottom = face.box
        return (-(right - left) * (bottom - top), top, left)

    return sorted(faces, key=rank)


def scaled_copy(image: U8Image, longest: int) -> tuple[U8Image, F64Array]:
    """A copy with that longest side (contiguous), and the factors (x, y) from its pixels to the picture's."""
    height, width = image.shape[:2]
    factor = max(height, width) / longest
    columns, rows = max(1, round(width / factor)), max(1, round(height / factor))
    factors = np.array([width / columns, height / rows])  # two, because sides are whole pixels
    return resize_u8(image, columns, rows), factors


class DlibFinder:
    """dlib's frontal HOG detector and a 68-point shape predictor.

    Detection runs on a copy whose longest side is at most `max_side`, where faces of 80 px and more are found. Where
    that finds none, it is tried once more at twice that size (small faces; a small picture is enlarged for it).
    A smaller copy may be searched before (`first_side`): 40 % of the time for whoever wants the largest face alone.
    Landmarks are read from a copy of the face that is about 400 px wide: the predictor compares single pixels, so
    sensor noise of a large photo would move them.

    Args:
        predictor_path: ``shape_predictor_68_face_landmarks.dat``.
        max_side: longest side of the searched copy, px.
        first_side: longest side of a copy that is searched before, px; None: there is none.

    Raises:
        WeightsError (at the first `find`): the file is missing or not a 68-point predictor.
    """

    name = "dlib"
    version = "2"  # 2: other filters for the copies; a small copy first where the largest face is wanted

    def __init__(self, predictor_path: Path, max_side: int = 1024, first_side: int | None = None) -> None:
        self.predictor_path = Path(predictor_path)
        self.max_side = max_side
        self.first_side = first_side
        self._parts: tuple[Any, Any] | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Workers open the models themselves: dlib's objects are large and the detector is built in no time."""
        return {**self.__dict__, "_parts": None}

    def find(self, image: U8Image) -> list[Face]:
        """uint8 H x W x 3, RGB -> faces; the score is the HOG margin (0 and more; clear frontal faces 1 to 3)."""
        detector, predictor = self._open()
        longest = max(image.shape[:2])
        usual = min(self.max_side, longest)
        faces: list[Face] = []
        for searched in sorted({min(self.first_side or usual, usual), usual, usual * 2}):
            copy, factors = scaled_copy(image, searched)
            if min(copy.shape[:2]) < _SHORTEST:
                continue
            boxes, scores, _ = detector.run(copy, 0, 0.0)
            faces = [self._face(image, predictor, box, factors, s) for box, s in zip(boxes, scores, strict=True)]
            if faces:
                break
        return in_order(faces)

    def _open(self) -> tuple[Any, Any]:
        if self._parts is None:
            import dlib

            try:
                predictor = dlib.shape_predictor(str(self.predictor_path))
            except RuntimeError:
                message = f"'{self.predictor_path}' cannot be opened as dlib landmark weights; pull them again"
                raise WeightsError(message) from None
            self._parts = (dlib.get_frontal_face_detector(), predictor)
        return self._parts

    def _face(self, image: U8Image, predictor: Any, found: Any, factors: F64Array, score: float) -> Face:
        """Landmarks of one box, read from a reduced copy of its surroundings, in the picture's pixels."""
        import dlib

        box = np.array([found.left(), found.top(), found.right() + 1, found.bottom() + 1]) * np.tile(factors, 2)
        left, top, right, bottom = box
        around, (x, y), shrink = _surroundings(image, box)
        inside = [round(float(edge)) for edge in (box - (x, y, x, y)) / shrink]
        shape = predictor(around, dlib.rectangle(inside[0], inside[1], inside[2] - 1, inside[3] - 1))
        points = np.array([(part.x, part.y) for part in shape.parts()], np.float64)
        if points.shape != (68, 2):
            raise WeightsError(f"'{self.predictor_path}' marks {len(points)} points, not 68; pull the weights again")
        landmarks = (points + 0.5) * shrink - 0.5 + (x, y)
        return Face((left, top, right, bottom), float(score), landmarks.astype(np.float32))


def _surroundings(image: U8Image, box: F64Array) -> tuple[U8Image, tuple[int, int], float]:
    """The picture around a box (half a box to each side), shrunk by a whole number; its origin and that number.

    Landmark models may look beyond the box; dlib reads pixels outside of a picture as black.
    """
    height, width = image.shape[:2]
    reach = 0.5 * (box[2] - box[0])
    left, top = (max(0, int(edge - reach)) for edge in box[:2])
    right, bottom = (min(limit, int(edge + reach) + 1) for edge, limit in zip(box[2:], (width, height), strict=True))
    region = Image.fromarray(np.ascontiguousarray(image[top:bottom, left:right]))
    shrink = max(1, int((box[2] - box[0]) / _LANDMARK_SIDE))
    return np.array(region.reduce(shrink) if shrink > 1 else region), (left, top), float(shrink)


class RetinaFinder:
    """RetinaFace with 5 landmarks (eye centres, nose, mouth corners).

    Args:
        state: tensors of the published checkpoint, with or without the ``module.`` prefix.
        network: ``mobile0.25`` (1.7 MB) or ``resnet50`` (109 MB).
        max_side: the picture is reduced to this longest side; faces down to about 16 px of the copy are found.
        threshold: least probability of a face.
        device: where the network runs.

    Raises:
        WeightsError: the tensors are not those of `network`.
        UsageError: facexlib or the OpenCV below it cannot be loaded here.
        ValueError: another network.
    """

    name = "facexlib"
    version = "2"  # 2: another filter for the copy

    def __init__(
        self,
        state: Mapping[str, Tensor],
        network: str = "mobile0.25",
        max_side: int = 640,
        threshold: float = 0.8,
        device: torch.device | str = "cpu",
    ) -> None:
        self.max_side = max_side
        self.threshold = threshold
        self.device = torch.device(device)
        self._network = _retinaface(network, self.device)
        try:
            self._network.load_state_dict({key.removeprefix("module."): value for key, value in state.items()})
        except RuntimeError:
            raise WeightsError(
                f"these weights are not RetinaFace {network}; pull the detector's weights again"
            ) from None

    def find(self, image: U8Image) -> list[Face]:
        """uint8 H x W x 3, RGB -> faces; the score is a probability in [threshold, 1]."""
        copy, factors = scaled_copy(image, min(self.max_side, max(image.shape[:2])))
        if min(copy.shape[:2]) < _SHORTEST:
            return []
        with torch.inference_mode():
            # The network wants BGR in 0..255; its result has one row a face: box, score, five points.
            found = self._network.detect_faces(copy[:, :, ::-1], conf_threshold=self.threshold)
        return in_order([self._face(row, factors) for row in np.asarray(found, np.float64).reshape(-1, 15)])

    @staticmethod
    def _face(row: F64Array, factors: F64Array) -> Face:
        left, top, right, bottom = (float(edge) for edge in row[:4] * np.tile(factors, 2))
        # Boxes and points are edge-based shares of the picture; landmarks count from pixel centres.
        landmarks = row[5:].reshape(5, 2) * factors - 0.5
        return Face((left, top, right, bottom), float(row[4]), landmarks.astype(np.float32))


def _retinaface(network: str, device: torch.device) -> Any:
    """facexlib's network, empty: its constructor neither downloads nor prints, unlike its `init_detection_model`."""
    if network not in ("mobile0.25", "resnet50"):
        raise ValueError(f"RetinaFace comes as mobile0.25 or resnet50, not {network!r}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torchvision complains that facexlib still says pretrained=False
        try:
            from facexlib.detection.retinaface import RetinaFace
        except ImportError as error:  # it imports OpenCV, whose wheel wants libraries that small containers lack
            raise UsageError(
                f"the detector facexlib cannot be loaded ({error}): install OpenCV's system libraries "
                "(Debian: apt install libgl1 libglib2.0-0), or use --detector dlib"
            ) from None
        return RetinaFace(network_name=network, device=device).eval().requires_grad_(False)
