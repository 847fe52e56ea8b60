"""What a measured run says: rates once warm, mean time of each stage, peak memory of a whole tree of processes."""

from __future__ import annotations

import os
import statistics
import subprocess
import threading
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pipelines.records.manifest import Record


@dataclass(frozen=True)
class Figures:
    """One way of doing the work, measured.

    Attributes:
        photos: how many were timed, warm-up aside.
        rate: photos per second once warm (models loaded, first batch done).
        whole: photos per second from start to end, loading included; 0: not asked.
        gpu_mb: most memory that torch held on the GPU; 0 on a CPU.
        peak_mb: most memory of the process and all its children at one time.
        stages: stage -> mean milliseconds of a photo, as the manifest notes them.
        facts: other numbers that this way found out (bytes, seconds, counts).
    """

    photos: int
    rate: float
    whole: float = 0.0
    gpu_mb: float = 0.0
    peak_mb: float = 0.0
    stages: Mapping[str, float] = field(default_factory=dict)
    facts: Mapping[str, float] = field(default_factory=dict)

    def shares(self) -> dict[str, float]:
        """Stage -> its part of all stages' time, in [0, 1]."""
        total = sum(self.stages.values())
        return {name: value / total for name, value in self.stages.items()} if total else {}


def rate_of(seconds: Sequence[float], warm: int = 1) -> float:
    """Photos per second from the seconds of each, the first `warm` left out; ValueError where none is left."""
    timed = seconds[warm:]
    if not timed:
        raise ValueError(f"{len(seconds)} photos are too few: the first {warm} only warm up; give more with --photos")
    return len(timed) / sum(timed)


def steady_rate(shares: Iterable[Sequence[float]], warm: int) -> float:
    """Photos per second of processes that work side by side, once each has done its first batch.

    Args:
        shares: of each process, the moments (seconds, any origin) at which its photos were finished.
        warm: photos of a first batch; the clock starts when the last of them is finished.

    Raises:
        ValueError: a process did nothing but warm up.
    """
    total = 0.0
    for moments in shares:
        ordered = sorted(moments)
        if len(ordered) <= warm:
            raise ValueError(f"a process had {len(ordered)} photos, of which {warm} warm up; give more with --photos")
        total += (len(ordered) - warm) / (ordered[-1] - ordered[warm - 1])
    return total


def shared_out(keys: Iterable[str], count: int) -> list[list[str]]:
    """The keys that each of `count` processes got: contiguous runs of the sorted keys, as the engine divides them."""
    ordered = sorted(keys)
    return [ordered[len(ordered) * n // count : len(ordered) * (n + 1) // count] for n in range(count)]


def finish_times(folder: Path, records: Mapping[str, Record]) -> dict[str, float]:
    """Key -> the moment (seconds) at which the last of its files was written."""
    return {
        key: max((folder / path).stat().st_mtime_ns for path in record.outputs.values()) / 1e9
        for key, record in records.items()
        if record.outputs
    }


def stage_means(records: Iterable[Record]) -> dict[str, float]:
    """Stage -> mean milliseconds over the finished items, in the order in which the stages were first noted."""
    noted: defaultdict[str, list[float]] = defaultdict(list)
    for record in records:
        if record.status == "ok":
            for stage, value in record.ms.items():
                noted[stage].append(value)
    return {stage: statistics.mean(values) for stage, values in noted.items()}


def middle(rounds: Sequence[Figures]) -> Figures:
    """The round whose rate is the median (the lower one of two)."""
    return sorted(rounds, key=lambda figures: figures.rate)[(len(rounds) - 1) // 2]


class PeakMemory:
    """Watches the memory of a process and of all its descendants together; used as a context.

    Counts the proportional set size: a page that n processes share counts 1/n in each, so that decoders, which are
    forks of their parent, do not count its memory again. Linux only; elsewhere `mb` stays 0.

    Attributes:
        mb: the largest sum seen, MB.

    Args:
        process: the one to watch.
        every: seconds between two looks; each takes up to 30 ms of a core, which the measured way wants too.
    """

    def __init__(self, process: subprocess.Popen[bytes], every: float = 2.0) -> None:
        self.mb = 0.0
        self._every = every
        self._pid = process.pid
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, name="peak-memory", daemon=True)

    def __enter__(self) -> PeakMemory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while True:
            self.mb = max(self.mb, tree_mb(self._pid))
            if self._over.wait(self._every):
                return


def tree_mb(pid: int) -> float:
    """MB that a process and its descendants hold now (proportional set size); 0 where the system does not tell."""
    total, waiting = 0.0, [pid]
    while waiting:
        folder = Path("/proc") / str(waiting.pop())
        try:
            lines = (folder / "smaps_rollup").read_text().splitlines()
            total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024
            for task in os.listdir(folder / "task"):
                waiting += [int(child) for child in (folder / "task" / task / "children").read_text().split()]
        except (OSError, ValueError):  # it ended meanwhile, or there is no /proc
            continue
    return total
