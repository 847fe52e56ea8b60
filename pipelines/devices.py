"""Devices by their names, what each takes at a pass, and an allocator that keeps what it has.

glibc maps every large buffer afresh and unmaps it when it is freed, so a network on a CPU touches new, zeroed pages at
every layer: measured here, that is two thirds of the time of a training step (docs/decisions/0009). And every thread but
the first gets an arena of its own, made of 64 MB pieces, in which large buffers do not fit. Other systems and allocators
are left as they are.
"""

from __future__ import annotations

import ctypes
import os
import re
import sys

import torch

from pipelines.errors import UsageError

_MMAP_MAX, _TRIM_THRESHOLD, _TOP_PAD, _ARENA_MAX = -4, -1, -2, -8  # names of mallopt(3)
_KEEP = 2**31 - 1
_GROW = 64 << 20
MOST_PROCESSES = 256


def keep_freed_memory() -> bool:
    """Tell this process's allocator to re-use what it has; True where it could be told. Safe to call again.

    Threads that have allocated before keep their arenas: call it before those begin that compute.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # musl and others have no such call
        return False
    settings = ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, _KEEP), (_TOP_PAD, _GROW), (_ARENA_MAX, 1))
    taken = [mallopt(name, value) for name, value in settings]  # each is asked for, whatever became of the one before
    return all(taken)


def cores() -> int:
    """Cores that this process may use (a container's or a job's share, where the system tells)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def resolve_device(name: str) -> torch.device:
    """``auto`` (CUDA, else MPS, else CPU) or a device's name -> the device.

    Raises:
        UsageError: no such device here, or several at once.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    if "," in name:
        raise UsageError(f"--device {name}: one device per run; start one run per device, each with its --shard I/N")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UsageError(f"unknown device '{name}'; known: auto, cpu, cuda, cuda:N, mps") from None
    if device.type not in ("cpu", "cuda", "mps"):
        raise UsageError(f"unknown device '{name}'; known: auto, cpu, cuda, cuda:N, mps")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UsageError(f"--device {name}: torch sees {torch.cuda.device_count()} CUDA devices here; try --device cpu")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise UsageError("--device mps: torch sees no Apple GPU here; try --device cpu")
    return device


def default_batch(device: torch.device) -> int:
    """Faces per pass: a GPU is full at 8; on a CPU larger batches buy no speed and cost memory."""
    return {"cuda": 8, "mps": 4}.get(device.type, 1)


def device_names(name: str) -> tuple[str, ...]:
    """What ``--device`` means: ``cuda:0,1`` -> ``cuda:0``, ``cuda:1``; ``cpu:2`` -> ``cpu`` twice; else the name.

    Raises:
        UsageError: not of a known form, or no such device here.
    """
    if match := re.fullmatch(r"cpu:(\d+)", name):
        count = int(match[1])
        if not 1 <= count <= MOST_PROCESSES:
            raise UsageError(f"--device {name}: the number of processes must lie between 1 and {MOST_PROCESSES}")
        return ("cpu",) * count
    if match := re.fullmatch(r"cuda:(\d+(?:,\d+)+)", name):
        names = tuple(f"cuda:{int(number)}" for number in match[1].split(","))
        if len(set(names)) < len(names):
            raise UsageError(f"--device {name}: each device once, please")
        for each in names:
            resolve_device(each)
        return names
    return (str(resolve_device(name)),)
