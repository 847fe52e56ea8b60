"""A few threads that encode and write one item each; the manifest line comes last."""

from __future__ import annotations

import errno
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from pipelines.engine.device.priority import stand_back
from pipelines.engine.output.paste import Paster
from pipelines.engine.types import Result
from pipelines.errors import OutputError, PhotoError
from pipelines.files import write_atomic
from pipelines.records.manifest import ManifestWriter, Record
from pipelines.stages.paste import PhotoStyle
from pipelines.types import Failure

_THREADS = 2  # that encode at once


class Writer:
    """Writes results in the background; a bounded number waits.

    Args:
        output: the run's folder.
        manifest: where finished items are noted.
        style: how pasted photos are written.
    """

    def __init__(self, output: Path, manifest: ManifestWriter, style: PhotoStyle | None = None) -> None:
        self._output = output
        self._manifest = manifest
        self._paster = Paster(output, style)
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="write", initializer=stand_back)
        self._room = threading.BoundedSemaphore(2 * _THREADS)
        self._finished: queue.SimpleQueue[Result] = queue.SimpleQueue()
        self._fatal: BaseException | None = None

    def submit(self, result: Result) -> None:
        """Queues a result; waits while too many are waiting. Raises what stopped the writing (disk full)."""
        self._room.acquire()
        try:
            self.check()
            self._pool.submit(self._work, result)
        except BaseException:
            self._room.release()
            raise

    def check(self) -> None:
        """Raises what stopped the writing, if anything did."""
        if self._fatal is not None:
            raise self._fatal

    def finished(self) -> Iterator[Result]:
        """The results that were noted since the last call, with the records as they were noted."""
        while not self._finished.empty():
            yield self._finished.get()

    def close(self) -> None:
        """Waits for what is queued; raises nothing (`check` does)."""
        self._pool.shutdown(wait=True)
        self._guarded(lambda: self._note(self._paster.left()))

    def _work(self, result: Result) -> None:
        self._guarded(lambda: self._note(self._paster.take(result, self._write(result))))
        self._room.release()

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            if self._fatal is None:
                work()
        except BaseException as error:
            self._fatal = self._fatal or error

    def _note(self, noted: Iterable[tuple[Result, Record]]) -> None:
        for result, record in noted:
            self._manifest.append(record)
            self._finished.put(replace(result, record=record, files=(), changes=()))

    def _write(self, result: Result) -> Record:
        record, started = result.record, time.perf_counter()
        outputs, prints, failure = dict(record.outputs), dict(record.prints), record.error
        for file in result.files:
            try:
                write_atomic(self._output / file.path, file.make())
                outputs[file.output.kind], prints[file.output.kind] = file.path, file.output.fingerprint
            except PhotoError as error:
                failure = failure or Failure("write", error.code, error.message)
            except OutputError as error:
                if not _name_too_long(error):
                    raise
                failure = failure or Failure("write", "name-too-long", str(error))
        ms = {**record.ms, "write": 1e3 * (time.perf_counter() - started)} if result.files else record.ms
        status = "failed" if failure else record.status
        return replace(record, outputs=outputs, prints=prints, ms=ms, error=failure, status=status)


def _name_too_long(error: OutputError) -> bool:
    """A name that is one item's own trouble, unlike a full disk."""
    return isinstance(error.__cause__, OSError) and error.__cause__.errno == errno.ENAMETOOLONG
