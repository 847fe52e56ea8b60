"""YuNet (Wu, Peng, Yu 2023, "YuNet: A Tiny Millisecond-level Face Detector"): faces with 5 landmarks, in 10 ms a window.

The network is anchor-free: each cell of three grids (strides 8, 16 and 32 px) says how likely it is that it lies in a face,
where that face's box is and where its points are, all counted from the cell's corner in strides.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime as ort
import torch
from torchvision.ops import nms

from pipelines.errors import WeightsError
from pipelines.models.faces.finders import F64Array, in_order, scaled_copy
from pipelines.types import F32Array, Face, U8Image

WINDOW: Final = 640  # px, the side of what the network sees at once
_STRIDES: Final = (8, 16, 32)
_KINDS: Final = ("cls", "obj", "bbox", "kps")
_OVERLAP: Final = 0.3  # boxes that share more than this are one face


class YuNetFinder:
    """The network on the CPU; `find` searches a copy of at most 640 px, where faces of about 12 px and more are found.

    Args:
        path: ``face_detection_yunet_2023mar.onnx``.
        threshold: least score of a face.

    Raises:
        WeightsError (at the first search): the file is missing or is not that network.
    """

    name = "yunet"
    version = "1"

    def __init__(self, path: Path, threshold: float = 0.8) -> None:
        self.path = Path(path)
        self.threshold = threshold
        self._session: ort.InferenceSession | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Workers open the network themselves: a session does not travel."""
        return {**self.__dict__, "_session": None}

    def find(self, image: U8Image) -> list[Face]:
        """uint8 H x W x 3, RGB -> faces, the largest first; the score is in [threshold, 1]."""
        copy, factors = scaled_copy(image, min(WINDOW, max(image.shape[:2])))
        return [scaled(face, factors) for face in self.look(copy)]

    def look(self, window: U8Image, threshold: float | None = None) -> list[Face]:
        """The faces of a picture of at most 640 x 640 px, searched as it is. Raises ValueError for a larger one."""
        height, width = window.shape[:2]
        if max(height, width) > WINDOW:
            raise ValueError(f"the network sees {WINDOW} x {WINDOW} px, not {width} x {height}")
        planes = np.zeros((1, 3, WINDOW, WINDOW), np.float32)
        planes[0, :, :height, :width] = window[:, :, ::-1].transpose(2, 0, 1)  # BGR in 0..255
        found = self._open().run([f"{kind}_{stride}" for stride in _STRIDES for kind in _KINDS], {"input": planes})
        rows = np.concatenate([_rows(stride, *found[4 * at : 4 * at + 4]) for at, stride in enumerate(_STRIDES)])
        rows = rows[rows[:, 4] >= (self.threshold if threshold is None else threshold)]
        kept = nms(torch.from_numpy(rows[:, :4]), torch.from_numpy(rows[:, 4]), _OVERLAP).numpy()
        return in_order([_face(row) for row in rows[kept]])

    def _open(self) -> ort.InferenceSession:
        if self._session is None:
            options = ort.SessionOptions()
            options.intra_op_num_threads = options.inter_op_num_threads = 1  # the other decoders have the other cores
            options.log_severity_level = 3
            try:
                session = ort.InferenceSession(str(self.path), options, providers=["CPUExecutionProvider"])
            except Exception as error:  # onnxruntime raises a class per status code, without a common public base
                raise WeightsError(f"'{self.path}' cannot be opened as YuNet ({error}); pull it again") from None
            names = {output.name for output in session.get_outputs()}
            if not names >= {f"{kind}_{stride}" for stride in _STRIDES for kind in _KINDS}:
                raise WeightsError(f"'{self.path}' is another network than YuNet; pull it again")
            self._session = session
        return self._session


def _rows(stride: int, inside: F32Array, certain: F32Array, boxes: F32Array, points: F32Array) -> F32Array:
    """One grid's answers (each 1 x cells x n) -> cells x 15: box (left, top, right, bottom), score, five points."""
    side = WINDOW // stride
    down, across = np.divmod(np.arange(side * side, dtype=np.float32), np.float32(side))
    corner = np.stack([across, down], 1)
    centre, size = boxes[0, :, :2] + corner, np.exp(boxes[0, :, 2:])
    score = np.sqrt(np.clip(inside[0], 0, 1) * np.clip(certain[0], 0, 1))
    places = points[0] + np.tile(corner, 5)
    rows = np.concatenate([centre - size / 2, centre + size / 2, score, places], 1)
    rows[:, :4] *= stride
    rows[:, 5:] *= stride
    return np.asarray(rows, np.float32)


def _face(row: F32Array) -> Face:
    left, top, right, bottom = (float(edge) for edge in row[:4])
    # The network counts from the window's edge; landmarks count from pixel centres.
    return Face((left, top, right, bottom), float(row[4]), row[5:].reshape(5, 2) - np.float32(0.5))


def scaled(face: Face, factors: F64Array) -> Face:
    """A face of a copy in the pixels of its picture, which is `factors` (x, y) times as large."""
    across, down = float(factors[0]), float(factors[1])
    left, top, right, bottom = face.box
    points = (face.landmarks + 0.5) * np.array([across, down]) - 0.5
    return Face((left * across, top * down, right * across, bottom * down), face.score, points.astype(np.float32))
