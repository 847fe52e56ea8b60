"""Which device a worker of this machine computes on: the first to come takes the first, and keeps it while it lives."""

from __future__ import annotations

import os
from collections.abc import Sequence

from pipelines.records.run_lock import try_lock


def claim_device(folder: str, devices: Sequence[str]) -> str:
    """A device for this process; to be called once. A process that ends gives its device free.

    Args:
        folder: a run's own, on this machine; one lock file for each device is made there.
        devices: one for each process; where more processes come, they begin again with the first.
    """
    for number, device in enumerate(devices):
        file = os.open(os.path.join(folder, f"device-{number}"), os.O_RDWR | os.O_CREAT, 0o600)
        if try_lock(file, exclusive=True):
            return device  # the file stays open, and locked
        os.close(file)
    return devices[os.getpid() % len(devices)]
