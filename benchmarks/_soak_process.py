"""The tool as a process of its own, and what a soak does to it: signals, closed streams, small disks, limits."""

from __future__ import annotations

import contextlib
import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MARK = "GANINV_SOAK"
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL)
_TOOL = "import sys; from ganinv_cli.__main__ import main; sys.exit(main())"
_STREAMS = ("<&-", ">&-", "2>&-", ">/dev/full", "2>/dev/full", "<&- >&- 2>&-")
_KINDS = ("stream", "signal", "disk", "none", "two signals", "stream", "signal", "limit")
_HANGS = 1800.0  # s: on a machine that others keep busy one photo was seen to take more than 600


@dataclass(frozen=True)
class Disturbance:
    """How a command is troubled.

    Attributes:
        name: its kind in words, for counting.
        signals: (when, number): `when` as a share of the time that the undisturbed command takes.
        closed: redirections of a shell.
        room: bytes of the disk that the output is on; 0: the usual one.
        limit: bytes that a file of the process may have; 0: any.
    """

    name: str = "none"
    signals: tuple[tuple[float, int], ...] = ()
    closed: str = ""
    room: int = 0
    limit: int = 0


NONE = Disturbance()


@dataclass(frozen=True)
class Ended:
    """How a command ended.

    Attributes:
        code: its exit status; of a signal that ended it minus its number.
        said: stdout and stderr.
        seconds: how long it ran.
        left: command lines of processes that outlived it; they have been ended.
        unheard: signals that came before the tool listened for them, or after the first: a shell's way to end a program.
    """

    code: int
    said: str
    seconds: float
    left: tuple[str, ...] = ()
    unheard: frozenset[int] = frozenset()


def disturbance(chance: random.Random, number: int) -> Disturbance:
    """One of all kinds; the kinds take turns by the round's number, so that a short soak meets every one of them."""
    kind = _KINDS[number % len(_KINDS)]
    if kind in ("signal", "two signals"):
        count = 1 + (kind == "two signals")
        sent = tuple(sorted((chance.uniform(0, 1.1), chance.choice(SIGNALS)) for _ in range(count)))
        return Disturbance("+".join(signal.Signals(number).name for _, number in sent), sent)
    if kind == "stream":
        closed = chance.choice(_STREAMS)
        return Disturbance(closed, closed=closed)
    if kind == "disk":
        return Disturbance("small disk", room=chance.choice([16, 64, 200, 800, 3000]) << 10)
    if kind == "limit":
        return Disturbance("RLIMIT_FSIZE", limit=chance.choice([1, 20, 100, 400, 2000]) << 10)
    return NONE


def run(words: list[str], trouble: Disturbance, mark: str, usual: float, environ: Mapping[str, str]) -> Ended:
    """The tool with these words, in a session of its own.

    Args:
        words: after the program's name.
        mark: stands in the environment of the process and of all its children.
        usual: seconds that the undisturbed command takes.
        environ: variables beside the usual ones.
    """
    line = [sys.executable, "-c", _TOOL, *words]
    shell = ["sh", "-c", f'exec "$@" {trouble.closed}', "sh", *line] if trouble.closed else line
    settings = {MARK: mark, "GANINV_OFFLINE": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    started = time.monotonic()
    process = subprocess.Popen(
        shell, env={**os.environ, **settings, **environ}, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, start_new_session=True, preexec_fn=lambda: _limit(trouble), errors="replace", text=True,
    )  # fmt: skip
    unheard = _signalled(process, trouble, started, usual)
    try:
        said = process.communicate(timeout=_HANGS)[0] or ""
    except subprocess.TimeoutExpired:
        said = "this is a bug: it hangs"
    seconds = time.monotonic() - started
    left = _end_left(mark)
    return Ended(process.wait(), said, seconds, left, unheard)


def _limit(trouble: Disturbance) -> None:
    if trouble.limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (trouble.limit, trouble.limit))


def _signalled(process: subprocess.Popen[str], trouble: Disturbance, started: float, usual: float) -> frozenset[int]:
    """Sends the signals when their time has come; which ones the tool could not answer in its own way."""
    unheard = set()
    for place, (share, number) in enumerate(trouble.signals):
        try:
            process.wait(max(0.0, share * usual - (time.monotonic() - started)))
        except subprocess.TimeoutExpired:
            if place or not _listens(process.pid):
                unheard.add(number)
            process.send_signal(number)
    return frozenset(unheard)


def _listens(pid: int) -> bool:
    """Whether the process has its own answer to signals: Python itself answers SIGINT, but nothing else."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("SigCgt:"):
                return bool(int(line.split()[1], 16) >> (signal.SIGTERM - 1) & 1)
    return False


def _end_left(mark: str) -> tuple[str, ...]:
    """Waits for a run's processes, as a killed run's helpers see within a second that it is gone; then ends and names them."""
    deadline = time.monotonic() + 15
    while (left := _marked(mark)) and time.monotonic() < deadline:
        time.sleep(0.2)
    named = []
    for pid in left:
        with contextlib.suppress(OSError):
            named.append(Path(f"/proc/{pid}/cmdline").read_text(errors="replace")[:200].replace("\0", " "))
            os.kill(pid, signal.SIGKILL)
    return tuple(named)


def _marked(mark: str) -> list[int]:
    """The processes of a run, by what stands in their environment."""
    word, found = f"{MARK}={mark}".encode(), []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if word in path.read_bytes().split(b"\0") and "\nState:\tZ" not in (path.parent / "status").read_text():
                found.append(int(path.parent.name))
    return found


@contextmanager
def small_disk(place: Path, room: int) -> Iterator[bool]:
    """A file system of so many bytes there, where one can be mounted; whether it could."""
    place.mkdir()
    mounted = bool(room) and os.system(f"mount -t tmpfs -o size={room} tmpfs '{place}' 2>/dev/null") == 0
    try:
        yield mounted
    finally:
        if mounted:
            os.system(f"umount -l '{place}'")


def grow_disk(place: Path) -> None:
    """Room for everything on a small disk."""
    os.system(f"mount -o remount,size=2g '{place}'")
