"""Which device a worker of this machine computes on: the first to come takes the first, and keeps it while it lives."""

from __future__ import annotations

import os
from collections.abc import Sequence

from pipelines.engine.output.run_lock import try_lock

_taken: dict[str, tuple[int, str]] = {}  # folder -> the open lock file, which must stay open, and the device


def take_seat(folder: str, devices: Sequence[str]) -> str:
    """The device of this process, the same at every call. A process that ends gives its device free.

    Args:
        folder: a run's own, on this machine; one lock file for each device is made there.
        devices: one for each process; where more processes come, they begin again with the first.
    """
    if folder not in _taken:
        for file, _ in _taken.values():  # of another run
            os.close(file)
        _taken.clear()
        _taken[folder] = _take(folder, devices)
    return _taken[folder][1]


def _take(folder: str, devices: Sequence[str]) -> tuple[int, str]:
    for number, device in enumerate(devices):
        file = os.open(os.path.join(folder, f"seat-{number}"), os.O_RDWR | os.O_CREAT, 0o600)
        if try_lock(file, exclusive=True):
            return file, device
        os.close(file)
    return os.open(os.devnull, os.O_RDONLY), devices[os.getpid() % len(devices)]
