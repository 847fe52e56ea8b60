"""How many steps a fit may make: as planned, or fewer where a face has only so many seconds."""

from __future__ import annotations

import time
from collections.abc import Iterator

import torch


def paced(steps: int, seconds: float | None, device: torch.device) -> Iterator[tuple[int, int]]:
    """Steps of a plan, one after the other; with too little time some are left out, evenly, so that the plan still ends.

    Args:
        steps: of the plan.
        seconds: for all of them; None: as long as they take, and the results are the same everywhere.
        device: is waited for where time counts.

    Yields:
        How many steps were made so far, and which step of the plan (0..steps-1) comes now.
    """
    started, made, planned = time.monotonic(), 0, 0
    while planned < steps:
        yield made, planned
        made, planned = made + 1, planned + 1
        if seconds is not None:
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            planned = max(planned, int(steps * (time.monotonic() - started) / seconds))


def budget(seconds: float | None, faces: int) -> float | None:
    """Seconds of faces that are fitted together."""
    return None if seconds is None else seconds * faces
