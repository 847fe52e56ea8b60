"""Run a method over faces in microbatches of a fixed width, so that a face's result never depends on its batch.

Optimisation amplifies rounding: the same face in a batch of 4 and of 8 takes other kernels and drifts by grey levels
in a few dozen steps. Microbatches have one width per device (1 on a CPU, where wider ones buy no speed); a last, partly
filled one is padded with its own first face.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pipelines.types import Inversion

CUDA_WIDTH = 8


def microbatch_width(device: torch.device) -> int:
    return CUDA_WIDTH if device.type == "cuda" else 1


def in_microbatches(run: Callable[[Tensor], Inversion], count: int, device: torch.device) -> Inversion:
    """Call `run` with index tensors that cover 0..count-1, each as long as the device's width; join the results."""
    width = microbatch_width(device)
    parts = []
    for start in range(0, count, width):
        real = list(range(start, min(start + width, count)))
        padded = real + [real[0]] * (width - len(real))
        parts.append(run(torch.tensor(padded, device=device))[: len(real)])
    return Inversion.cat(parts)
