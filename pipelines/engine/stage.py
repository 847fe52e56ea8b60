"""What stands between reader and writer: it takes faces one at a time, and hands out results when it has them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from pipelines.engine.types import FaceJob, Result


class Work(Protocol):
    """`put` gives no result (the batch is not full) or several, `flush` the rest; memory is bounded by one batch."""

    def put(self, face: FaceJob) -> Iterator[Result]: ...

    def flush(self) -> Iterator[Result]: ...
