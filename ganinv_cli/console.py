"""What a person sees: results on stdout and nothing else there; progress and complaints on stderr."""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from pipelines.errors import GanInvError

if TYPE_CHECKING:
    from pipelines.engine.events import ProgressEvent
    from pipelines.weights.download import FetchEvent

out = Console()
err = Console(stderr=True)

LINE_EVERY_S = 30.0  # off a terminal progress is a line now and then, fit for a log file
FAILURES_SHOWN = 20  # of one run; all of them are in the manifest


class Level:
    """How much is said. `quiet`: the result and errors alone; `verbose`: every item, tracebacks, library warnings."""

    quiet = False
    verbose = False


level = Level()


def set_level(quiet: bool, verbose: bool) -> None:
    """Set how much is said from here on; libraries' warnings are only for `verbose`."""
    level.quiet, level.verbose = quiet, verbose
    if not verbose:
        warnings.simplefilter("ignore")
        logging.getLogger().setLevel(logging.ERROR)


def shown(text: object) -> str:
    """`text` with control characters and undecodable bytes escaped: a file name cannot rule the terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in str(text))


def say(message: object, style: str | None = None) -> None:
    """One line on stderr, never wrapped or read as markup."""
    with contextlib.suppress(OSError, ValueError):  # a stderr that takes nothing is no reason to stop a run
        if err.is_terminal:  # through rich, which lifts a live bar out of the way
            err.print(Text(shown(message), style or ""), soft_wrap=True)
        else:
            print(shown(message), file=sys.stderr, flush=True)


def note(message: object) -> None:
    """One line on stderr that `--quiet` leaves out."""
    if not level.quiet:
        say(message)


class PrintError(GanInvError):
    """The result cannot be written to stdout, which is full or gone; the work itself is done."""

    exit_code = 7


@contextlib.contextmanager
def printing() -> Iterator[None]:
    """Around whatever writes to stdout.

    Raises:
        PrintError: stdout does not take it (a reader that left early stays a BrokenPipeError).
    """
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise PrintError(f"the result cannot be printed ({error.strerror}); the run itself is done") from None


def line(text: str) -> None:
    """One line of a result on stdout, as it is."""
    with printing():
        print(text, flush=True)


def print_json(value: Any) -> None:
    """`value` as one JSON document on stdout; NaN and infinity, which JSON lacks, become null."""
    line(json.dumps(_plain(value), indent=2))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(inner) for inner in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, (str, int, bool)) else str(value)


def table(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A table on stdout: ruled on a terminal; elsewhere plain padded columns, never cut to a width."""
    cells = [[_cell(value) for value in row] for row in rows]
    if out.is_terminal:
        ruled = Table(*headers, header_style="bold")
        for row in cells:
            ruled.add_row(*(Text(cell) for cell in row))
        with printing():
            out.print(ruled)
        return
    lines = [list(headers), *cells]
    widths = [max(len(row[column]) for row in lines) for column in range(len(headers))]
    padded = ("  ".join(c.ljust(width) for c, width in zip(row, widths, strict=True)).rstrip() for row in lines)
    line("\n".join(padded))


def _cell(value: object) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else shown(value)


@contextlib.contextmanager
def clean_stdout() -> Iterator[None]:
    """While inside, all that is written to stdout, by Python, C or child processes, goes to stderr.

    Detectors and metric networks print while they load; `--json` must stay one JSON document.
    """
    try:
        sys.stdout.flush()
        kept = os.dup(1)
        os.dup2(2, 1)
    except (OSError, ValueError):  # a closed stream: there is nothing to protect at that level
        kept = -1
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        close()
        if kept >= 0:
            os.dup2(kept, 1)
            os.close(kept)


class _Bars:
    """The progress bars of the moment: one live display, however many reporters draw in it."""

    def __init__(self) -> None:
        self._progress: Progress | None = None

    @property
    def live(self) -> bool:
        return self._progress is not None

    def add(self, label: str, total: float | None, unit: str) -> TaskID:
        if self._progress is None:
            columns = (TextColumn("{task.description}"), BarColumn(), _Amount(), TimeRemainingColumn())
            self._progress = Progress(*columns, console=err, transient=True, redirect_stdout=False)
            self._progress.start()
        return self._progress.add_task(shown(label).replace("[", "\\["), total=total, unit=unit)

    def update(self, task: TaskID, **fields: Any) -> None:
        if self._progress is not None and task in self._progress.task_ids:
            self._progress.update(task, **fields)

    def remove(self, task: TaskID) -> None:
        if self._progress is not None and task in self._progress.task_ids:
            self._progress.remove_task(task)

    def stop(self) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = None


class _Amount(ProgressColumn):
    """Bytes for downloads, counts for everything else."""

    def __init__(self) -> None:
        super().__init__()
        self._bytes, self._count = DownloadColumn(), MofNCompleteColumn()

    def render(self, task: Any) -> Text:
        text: Text = (self._bytes if task.fields.get("unit") == "bytes" else self._count).render(task)
        return text


_bars = _Bars()


def close() -> None:
    """Take any progress bar off the screen; safe to call at any time."""
    _bars.stop()


def megabytes(count: int) -> str:
    """Bytes for a person, e.g. ``32.0 MB`` (10^6); ``size unknown`` for 0."""
    return f"{count / 1e6:.1f} MB" if count else "size unknown"


def fetch_reporter() -> Callable[[FetchEvent], None]:
    """A reporter of downloads: licence and size at the first fetch; then a bar on a terminal, else plain lines."""
    tasks: dict[str, TaskID] = {}

    def report(event: FetchEvent) -> None:
        name = event.entry.name
        if event.kind == "licence":
            marked = " [non-commercial]" if event.entry.noncommercial else ""
            note(f"{name}: {megabytes(event.entry.bytes)}, licence: {event.entry.licence}{marked}")
        elif event.kind == "failed":
            note(f"{name}: {event.message}")
        elif level.quiet:
            return
        elif err.is_terminal:
            _draw_fetch(tasks, name, event)
        elif event.kind == "start":
            note(f"fetching {name} {event.message}".rstrip())

    return report


def _draw_fetch(tasks: dict[str, TaskID], name: str, event: FetchEvent) -> None:
    if event.kind == "done":
        if name in tasks:
            _bars.remove(tasks.pop(name))
        return
    if name not in tasks:
        tasks[name] = _bars.add(name, event.total or None, "bytes")
    _bars.update(tasks[name], completed=event.done, total=event.total or None)


class _Run:
    """Shows one run: a bar or a line every 30 s; failures and warnings as they come."""

    def __init__(self, verb: str) -> None:
        self._verb = verb
        self._task: TaskID | None = None
        self._told = time.monotonic()
        self._failures = 0

    def __call__(self, event: ProgressEvent) -> None:
        if event.kind == "warning":
            note(f"warning: {event.message}")
        elif event.kind == "item":
            self._item(event)
        self._progress(event)

    def _item(self, event: ProgressEvent) -> None:
        if not event.message:
            if level.verbose:
                say(f"done: {event.item}")
            return
        self._failures += 1
        if level.verbose or self._failures <= FAILURES_SHOWN:
            say(f"failed: {event.item}: {event.message}", "red")
        elif self._failures == FAILURES_SHOWN + 1:
            papers = "metrics.json" if self._verb == "evaluate" else "the output's manifest.jsonl"
            say(f"more items fail; all of them are in {papers}, with the reason", "red")

    def _progress(self, event: ProgressEvent) -> None:
        finished = event.done + event.failed + event.skipped
        if level.quiet or event.kind == "end":
            return
        if err.is_terminal:
            if self._task is None or not _bars.live:
                self._task = _bars.add(self._verb, event.total or None, "items")
            _bars.update(self._task, completed=finished, total=event.total or None)
        elif time.monotonic() - self._told >= LINE_EVERY_S:
            self._told = time.monotonic()
            parts = f"{event.done} done, {event.failed} failed, {event.skipped} done before"
            say(f"{self._verb}: {finished} of {event.total} ({parts})")


def run_reporter(verb: str = "working") -> Callable[[ProgressEvent], None]:
    """A reporter of a run's events: a bar on a terminal, else a line every 30 s; failures with their reason."""
    return _Run(verb)
