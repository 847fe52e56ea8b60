"""One output folder, one run: a lock that ends with its process, however that dies.

POSIX record locks: the kernel drops them with the process, decoders that the process forked do not inherit them (an
orphan would otherwise block the next run for seconds), and they work on network disks. They are lost when *any*
descriptor of the file is closed, so each lock file is opened exactly once.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipelines.errors import OutputError, UsageError

try:
    import fcntl
except ImportError:  # pragma: no cover (Windows has no such locks: two runs at once are the user's care there)
    fcntl = None  # type: ignore[assignment]

LOCK = ".ganinv.lock"
ORPHAN_SECONDS = 30.0  # how long the next run waits for the workers of a killed one: they see it within a second
_held: set[str] = set()
_guard = threading.Lock()


class RunLock:
    """One run's lock on its folder; made by `exclusive_run`.

    A run without shards holds the folder alone. Shards share it, and each holds its own number; only a shard that is
    alone at that moment may merge the manifest's parts.
    """

    def __init__(self, output: Path, shard: tuple[int, int] | None) -> None:
        self._shared = shard is not None
        self._files = [os.open(output / LOCK, os.O_RDWR | os.O_CREAT, 0o666)]
        self.alone = self.try_alone()
        free = self.alone
        if shard is not None:
            self._files.append(os.open(output / f"{LOCK}.{shard[0]}-of-{shard[1]}", os.O_RDWR | os.O_CREAT, 0o666))
            free = (self.alone or try_lock(self._files[0], exclusive=False)) and try_lock(
                self._files[1], exclusive=True
            )
        self.free = free

    def try_alone(self) -> bool:
        """Whether no other run is in the folder; if so, none can enter before `share` or the end."""
        return try_lock(self._files[0], exclusive=True)

    def share(self) -> None:
        """Lets other shards in again (nothing where the run has no shards)."""
        if self._shared:
            try_lock(self._files[0], exclusive=False)

    def close(self) -> None:
        for file in self._files:
            os.close(file)


@contextmanager
def exclusive_run(output: Path, shard: tuple[int, int] | None = None) -> Iterator[RunLock]:
    """Makes the folder and holds it while the body runs.

    Raises:
        UsageError: another run works in this folder (in this process, or in another).
        OutputError: the folder cannot be made or written.
    """
    name = os.path.realpath(output)
    with _guard:
        if name in _held:
            raise _busy(output)
        _held.add(name)
    lock = None
    try:
        lock = _enter(output, shard)
        if not lock.free:
            raise _busy(output)
        _outlast_workers(output, None if lock.alone else shard)
        yield lock
    finally:
        if lock is not None:
            lock.close()
        with _guard:
            _held.discard(name)


def _enter(output: Path, shard: tuple[int, int] | None) -> RunLock:
    try:
        output.mkdir(parents=True, exist_ok=True)
        return RunLock(output, shard)
    except OSError as error:
        raise OutputError(f"cannot write to '{output}': {error.strerror}; choose another folder with -o") from error


class WorkerLock:
    """A worker's lock on its run's folder: the next run waits until every worker of a killed one has let go.

    Args:
        output: the run's folder.
        shard: the run's shard.
    """

    def __init__(self, output: Path, shard: tuple[int, int] | None) -> None:
        self._parent = output / (LOCK if shard is None else f"{LOCK}.{shard[0]}-of-{shard[1]}")
        self._file = os.open(output / _workers_name(shard), os.O_RDWR | os.O_CREAT, 0o666)
        try_lock(self._file, exclusive=False)
        self._locks_work = not self._parent_let_go()

    def abandoned(self) -> bool:
        """Whether the run that this worker belongs to has ended; False where the disk has no locks to tell."""
        return self._locks_work and self._parent_let_go()

    def close(self) -> None:
        os.close(self._file)

    def _parent_let_go(self) -> bool:
        file = os.open(self._parent, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            return try_lock(file, exclusive=False)
        finally:
            os.close(file)


def _workers_name(shard: tuple[int, int] | None) -> str:
    return f"{LOCK}.workers" if shard is None else f"{LOCK}.workers.{shard[0]}-of-{shard[1]}"


def _outlast_workers(output: Path, shard: tuple[int, int] | None) -> None:
    """Waits for the workers of a killed run: all of them where no other run may have any, else those of the shard."""
    names = [path.name for path in output.glob(f"{LOCK}.workers*")] if shard is None else [_workers_name(shard)]
    deadline = time.monotonic() + ORPHAN_SECONDS
    for name in names:
        file = os.open(output / name, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            while not try_lock(file, exclusive=True):
                if time.monotonic() > deadline:
                    raise UsageError(f"workers of a run that was killed still work in '{output}'; end them first")
                time.sleep(0.1)
        finally:
            os.close(file)


def _busy(output: Path) -> UsageError:
    return UsageError(f"another run works in '{output}'; wait for it, or choose another folder with -o")


def try_lock(file: int, exclusive: bool) -> bool:
    """Locks an open file without waiting; False: another process has it. True where there are no locks."""
    if fcntl is None:  # pragma: no cover
        return True
    try:
        fcntl.lockf(file, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:  # a file system without locks: better to run unguarded than not at all
        return True
    return True
