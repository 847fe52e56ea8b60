"""Apparent age and gender from face chips: Cydral's small residual networks of dlib's model collection, as ONNX."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import onnxruntime as ort

from pipelines.errors import WeightsError
from pipelines.types import F32Array, U8Image

AGE_CHIP: Final = 64  # px
GENDER_CHIP: Final = 32  # px
PADDING: Final = 0.2  # margin of the chips around dlib's five-point mean face
_MEANS: Final = np.array((122.782, 117.001, 104.298), dtype=np.float32)  # of the training pictures, RGB bytes
_YEARS: Final = np.array((0.25, *range(1, 81)), dtype=np.float32)  # the middle of each of the 81 classes
_TINY: Final = 1e-30  # keeps the logit finite; both classes are stored, so the small one is exact far below 1e-7


class AgeGender:
    """The two networks, on the CPU.

    Args:
        age_path: ``age-v1.onnx``.
        gender_path: ``gender-v1.onnx``.
        threads: CPU threads per network.

    Raises:
        WeightsError: a file is missing or is not that network.
    """

    def __init__(self, age_path: Path, gender_path: Path, threads: int = 1) -> None:
        self._age = _session(age_path, threads, AGE_CHIP, len(_YEARS))
        self._gender = _session(gender_path, threads, GENDER_CHIP, 2)

    def measure(self, age_chips: Sequence[U8Image], gender_chips: Sequence[U8Image]) -> tuple[F32Array, F32Array]:
        """Measures n faces.

        Args:
            age_chips: n chips 64 x 64 x 3, RGB, cut on dlib's five points with padding 0.2
                (`extract_chips(..., five_points(landmarks), AGE_CHIP, PADDING)`).
            gender_chips: the same faces at 32 x 32 x 3.

        Returns:
            ages: n, years, the expected value over the 81 classes (0 to 80).
            genders: n, logit of "male" (natural log of the odds): positive male, negative female, within 69.

        Raises:
            ValueError: a chip has another size, or the two sequences differ in length.
        """
        if len(age_chips) != len(gender_chips):
            raise ValueError(f"{len(age_chips)} age chips but {len(gender_chips)} gender chips")
        if not age_chips:
            return np.zeros(0, np.float32), np.zeros(0, np.float32)
        ages = _run(self._age, age_chips, AGE_CHIP) @ _YEARS
        female, male = np.clip(_run(self._gender, gender_chips, GENDER_CHIP), _TINY, 1).T
        return ages.astype(np.float32), np.log(male / female).astype(np.float32)


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
    pixels = (np.stack(chips).astype(np.float32) - _MEANS) / 256
    batch = np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))
    probabilities: F32Array = session.run(None, {session.get_inputs()[0].name: batch})[0]
    return probabilities
