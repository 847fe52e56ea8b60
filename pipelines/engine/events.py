"""What a run tells while it works, and what it has to say at its end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from pipelines.records.manifest import Record


@dataclass(frozen=True)
class ProgressEvent:
    """One step of a run. Counts are of items (faces); `total` grows when a photo turns out to hold several.

    Attributes:
        kind: ``start``, ``item`` (one was finished, failed or skipped), ``warning`` (see `message`), ``end``.
        done: items finished in this run.
        failed, skipped: items that failed, and that were done before.
        total: items known so far.
        item: the key, or "".
        message: one sentence: why the item failed, or what the warning is.
    """

    kind: Literal["start", "item", "warning", "end"]
    done: int
    failed: int
    skipped: int
    total: int
    item: str = ""
    message: str = ""


OnEvent = Callable[[ProgressEvent], None]


@dataclass
class RunSummary:
    """The outcome of a run.

    Attributes:
        command: align, invert or edit.
        output: the run's folder.
        ok, failed, skipped, total: items; skipped were done before.
        failures: error code -> items.
        warnings: sentences for a person.
        seconds: wall time.
        unknown: keys of the run's plan that no photo has.
        complete: False where the run stopped early (`max_errors`), or a worker died over items that it left undone.
    """

    command: str
    output: str
    ok: int = 0
    failed: int = 0
    skipped: int = 0
    total: int = 0
    failures: dict[str, int] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    seconds: float = 0.0
    unknown: int = 0
    complete: bool = True

    @property
    def exit_code(self) -> int:
        """0 all done; 3 some failed, photos of a plan are not there, or the run stopped early; 4 nothing succeeded."""
        if (self.failed or self.unknown) and not (self.ok or self.skipped):
            return 4
        return 3 if self.failed or self.unknown or not self.complete else 0

    def as_dict(self) -> dict[str, Any]:
        """The summary as plain values, `exit_code` included, for `--json`."""
        return {**vars(self), "exit_code": self.exit_code}


class Progress:
    """Counts items as they end and tells `on_event`. Not thread-safe: the engine calls it from one thread."""

    def __init__(self, summary: RunSummary, on_event: OnEvent | None) -> None:
        self.summary = summary
        self._on_event = on_event

    def start(self, total: int) -> None:
        self.summary.total = total
        self.tell("start")

    def add(self, items: int, skipped: int = 0) -> None:
        """The input turned out to hold `items` more (or, counted anew, fewer), `skipped` of them done before."""
        self.summary.total += items
        self.summary.skipped += skipped

    def skip(self, key: str, items: int = 1) -> None:
        self.summary.skipped += items
        self.tell("item", key)

    def take(self, key: str, items: int) -> None:
        """A photo's `items` faces are in work from here on; only a run of several processes needs to know."""

    def finish(self, record: Record) -> None:
        """An item is finished, or failed, as its record says."""
        error = record.error
        if error:
            self.summary.failed += 1
            self.summary.failures[error.code] = self.summary.failures.get(error.code, 0) + 1
        else:
            self.summary.ok += 1
        self.tell("item", record.key, error.message if error else "")

    def warn(self, *messages: str) -> None:
        """Each sentence but once."""
        for message in messages:
            if message not in self.summary.warnings:
                self.summary.warnings.append(message)
                self.tell("warning", message=message)

    def tell(self, kind: Literal["start", "item", "warning", "end"], item: str = "", message: str = "") -> None:
        if self._on_event is not None:
            s = self.summary
            self._on_event(ProgressEvent(kind, s.ok, s.failed, s.skipped, s.total, item, message))
