"""Apparent age and gender from face chips: Cydral's small residual networks of dlib's model collection, as ONNX."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import onnxruntime as ort

from pipelines.errors import WeightsError
from pipelines.types import F32Array, U8Image

PADDING: Final = 0.2  # margin of the chips around dlib's five-point mean face
_MEANS: Final = np.array((122.782, 117.001, 104.298), dtype=np.float32)  # of the training pictures, RGB bytes
_YEARS: Final = np.array((0.25, *range(1, 81)), dtype=np.float32)  # the middle of each of the 81 classes
_TINY: Final = 1e-30  # keeps the logit finite; both classes are stored, so the small one is exact far below 1e-7


class DlibAge:
    """Apparent age, on the CPU.

    Args:
        path: ``age-v1.onnx``.
        threads: CPU threads.

    Raises:
        WeightsError: the file is missing or is not that network.
    """

    chip: Final = 64  # px

    def __init__(self, path: Path, threads: int = 1) -> None:
        self._network = _session(path, threads, self.chip, len(_YEARS))

    def measure(self, chips: Sequence[U8Image]) -> F32Array:
        """n chips 64 x 64 x 3, RGB, cut on dlib's five points with padding 0.2 (`extract_chips(..., five_points(landmarks),
        DlibAge.chip, PADDING)`), -> n years, the expected value over the 81 classes (0 to 80).

        Raises:
            ValueError: a chip has another size.
        """
        years: F32Array = (_run(self._network, chips, self.chip) @ _YEARS).astype(np.float32)
        return years


class DlibGender:
    """Apparent gender, on the CPU; arguments and errors as of `DlibAge`, of ``gender-v1.onnx``."""

    chip: Final = 32  # px

    def __init__(self, path: Path, threads: int = 1) -> None:
        self._network = _session(path, threads, self.chip, 2)

    def measure(self, chips: Sequence[U8Image]) -> F32Array:
        """n chips 32 x 32 x 3, cut as `DlibAge`'s, -> n logits of "male" (natural log of the odds): positive male, negative
        female, within 69. Raises as `DlibAge.measure`."""
        female, male = np.clip(_run(self._network, chips, self.chip), _TINY, 1).T
        return np.asarray(np.log(male / female), np.float32)


def _session(path: Path, threads: int, size: int, classes: int) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    try:
        session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises a class per status code, without a common public base
        raise WeightsError(f"{path.name} cannot be read as an ONNX network: {str(error).splitlines()[0]}") from None
    inputs, outputs = session.get_inputs(), session.get_outputs()
    if [i.shape[1:] for i in inputs] != [[3, size, size]] or [o.shape[1:] for o in outputs] != [[classes]]:
        raise WeightsError(f"{path.name} is another network: it should map 3 x {size} x {size} to {classes} classes")
    return session


def _run(session: ort.InferenceSession, chips: Sequence[U8Image], size: int) -> F32Array:
    """n chips -> n x classes probabilities."""
    for chip in chips:
        if chip.shape != (size, size, 3) or chip.dtype != np.uint8:
            raise ValueError(f"a chip must be uint8 {size} x {size} x 3, not {chip.dtype} {chip.shape}")
    if not chips:
        return np.zeros((0, session.get_outputs()[0].shape[1]), np.float32)
    pixels = (np.stack(chips).astype(np.float32) - _MEANS) / 256
    batch = np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))
    probabilities: F32Array = session.run(None, {session.get_inputs()[0].name: batch})[0]
    return probabilities
