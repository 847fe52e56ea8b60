"""Random commands over odd inputs, interrupted in every way, for as long as asked; after each, what must hold is looked at.

    python -m benchmarks.soak --minutes 60 --seed 1
    python -m benchmarks.soak --minutes 5 --photos FOLDER --odd FOLDER    other faces, other odd files

A round makes an input (a folder, a list, an archive, a run's folder) of a few photos with faces and some odd or broken
files, runs a command over it, disturbs that (a signal, two, a closed stream, a full disk or a limit on files), and runs
the same command again until it comes to its end by itself. Then: no process is left; nothing outside of the output has
changed; no exit code but a documented one, and no bug; nothing half-written; no key twice; every finished item has its
files, and they are those of an undisturbed run. Faults are printed with the round's number: --only N does it again.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import random
import resource
import secrets
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.factories import output_files
from tests.fuzz.corpus import corpus

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"
CODES = {0, 2, 3, 4, 5, 6, 129, 130, 141, 143, -signal.SIGKILL, -signal.SIGPIPE}
MARK = "GANINV_SOAK"
STARTING = 4.0  # seconds in which the tool may still be loading its libraries
TOOL = "import sys; from ganinv_cli.app import main; sys.exit(main())"
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL)
COMMANDS: tuple[tuple[str, ...], ...] = (
    ("align", "--size", "256"),
    ("align", "--size", "128", "--faces", "all", "--format", "jpg"),
    ("align", "--size", "256", "--device", "cpu:2"),
    ("align", "--size", "256", "--num-workers", "0"),
    ("align", "--size", "128", "--shard", "1/2", "--device", "cpu:2"),
    ("align", "--size", "128", "--limit", "2", "--faces", "all"),
    ("invert", "--align", "--method", "e4e"),
    ("edit", "--align", "--method", "lsap", "--attr", "smile=+2"),
)
WEIGHTS = (6, 4, 5, 2, 2, 2, 1, 1)


@dataclass
class Book:
    """What was done and what was wrong."""

    counts: collections.Counter[str] = field(default_factory=collections.Counter)
    faults: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Disturbance:
    """How a command is troubled: a name, the seconds and signals, its streams, the room that its files have."""

    name: str
    signals: tuple[tuple[float, int], ...] = ()
    closed: str = ""
    room: int = 0
    limit: int = 0


def disturbance(chance: random.Random) -> Disturbance:
    """One of all kinds."""
    kind = chance.choice(["none", "signal", "signal", "signal", "two signals", "stream", "disk", "limit"])
    if kind == "signal" or kind == "two signals":
        count = 1 + (kind == "two signals")
        sent = tuple((chance.uniform(0, 8), chance.choice(SIGNALS)) for _ in range(count))
        return Disturbance("+".join(signal.Signals(number).name for _, number in sent), sent)
    if kind == "stream":
        closed = chance.choice(["<&-", ">&-", "2>&-", ">/dev/full", "2>/dev/full", "<&- >&- 2>&-"])
        return Disturbance(closed, closed=closed)
    if kind == "disk":
        return Disturbance("small disk", room=chance.choice([16, 64, 200, 800]) << 10)
    if kind == "limit":
        return Disturbance("RLIMIT_FSIZE", limit=chance.choice([1, 20, 100, 400]) << 10)
    return Disturbance("none")


def make_input(folder: Path, chance: random.Random, photos: list[Path], odd: list[Path]) -> Path:
    """A few photos and some odd files as a folder, a list or an archive; what to give as INPUT."""
    raw = folder / "raw"
    raw.mkdir(parents=True)
    for number, path in enumerate(chance.sample(photos, chance.randrange(1, min(5, len(photos)) + 1))):
        below = raw / chance.choice(["", "sub", "ä b"])
        below.mkdir(exist_ok=True)
        shutil.copyfile(path, below / f"{number}{path.suffix}")
    for path in chance.sample(odd, min(len(odd), chance.randrange(0, 3))):
        shutil.copyfile(path, raw / f"odd-{path.name}")
    for sample in chance.sample(corpus(), chance.randrange(0, 4)):
        (raw / sample.name).write_bytes(sample.data)
    kind = chance.choice(["folder", "folder", "list", "archive"])
    files = sorted(path for path in raw.rglob("*") if path.is_file() and "\n" not in path.name)
    if kind == "list":
        names = [os.fsencode(path.relative_to(raw)) for path in files] + [b"gone.jpg"] * chance.randrange(2)
        (raw / "list.txt").write_bytes(b"\n".join(names) + b"\n" * chance.randrange(2))
        return raw / "list.txt"
    if kind == "archive":
        with tarfile.open(folder / "raw.tar", "w") as archive:
            for path in files:
                archive.add(path, path.relative_to(raw).as_posix())
        if chance.random() < 0.2:  # cut off
            os.truncate(folder / "raw.tar", (folder / "raw.tar").stat().st_size * 2 // 3)
        return folder / "raw.tar"
    return raw


def command_line(command: tuple[str, ...], source: Path, output: Path) -> list[str]:
    """The words of a run."""
    return [sys.executable, "-c", TOOL, command[0], str(source), "-o", str(output), *command[1:]]


def run(words: list[str], trouble: Disturbance, mark: str, book: Book) -> tuple[int, str]:
    """Exit status and what was said. The process has its own session; what is left of it is a fault, and ended."""
    environ = {**os.environ, MARK: mark, "GANINV_OFFLINE": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}

    def limit() -> None:
        if trouble.limit:
            resource.setrlimit(resource.RLIMIT_FSIZE, (trouble.limit, trouble.limit))

    shell = ["sh", "-c", f'exec "$@" {trouble.closed}', "sh", *words] if trouble.closed else words
    process = subprocess.Popen(
        shell, env=environ, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        start_new_session=True, preexec_fn=limit, errors="replace", text=True,
    )  # fmt: skip
    started = time.monotonic()
    for seconds, number in sorted(trouble.signals):
        try:
            process.wait(max(0.0, seconds - (time.monotonic() - started)))
        except subprocess.TimeoutExpired:
            process.send_signal(number)
    try:
        said = process.communicate(timeout=600)[0] or ""
    except subprocess.TimeoutExpired:
        said = "hangs"
        book.faults.append(f"hangs: {words}")
    left = _left(mark)
    deadline = time.monotonic() + 15  # a killed run's helpers see within a second that it is gone
    while left and time.monotonic() < deadline:
        time.sleep(0.2)
        left = _left(mark)
    if left:
        named = [Path(f"/proc/{pid}/cmdline").read_bytes()[:200] for pid in left if Path(f"/proc/{pid}").exists()]
        book.faults.append(f"processes left after {trouble.name}: {named}")
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    return process.wait(), said


def _left(mark: str) -> list[int]:
    """The processes of a run, by what stands in their environment."""
    word, found = f"{MARK}={mark}".encode(), []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if word in path.read_bytes().split(b"\0") and "\nState:\tZ" not in (path.parent / "status").read_text():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def snapshot(folder: Path) -> dict[str, tuple[int, int]]:
    """What lies there, outputs aside."""
    found = {}
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        if not name.startswith(("out", "whole")):
            status = path.lstat()
            found[name] = (0 if path.is_dir() else status.st_size, 0 if path.is_dir() else status.st_mtime_ns)
    return found


def check_output(out: Path, whole: dict[str, bytes] | None, tell: Callable[[str], None]) -> None:
    """What must hold of a folder; `whole`: the files of an undisturbed run, where the command has come to its end."""
    lines = (out / "manifest.jsonl").read_bytes().split(b"\n") if (out / "manifest.jsonl").is_file() else []
    bodies = [json.loads(line) for line in lines if line.strip()]
    keys = [body["key"] for body in bodies]
    if len(keys) != len(set(keys)):
        tell(f"keys twice: {keys}")
    for body in bodies:
        for path in body["outputs"].values() if body["status"] == "ok" else ():
            if not (out / path).is_file() or not (out / path).stat().st_size:
                tell(f"{path} is noted and not there")
    if whole is None:
        return
    left = [path.name for path in out.rglob("*") if path.suffix == ".part" or path.name == "manifest.d"]
    if left:
        tell(f"half-written: {left}")
    found = output_files(out) if out.is_dir() else {}
    for name in sorted(whole.keys() ^ found.keys()):
        tell(f"{name} is {'lost' if name in whole else 'too much'}")
    differing = [name for name in whole.keys() & found.keys() if whole[name] != found[name]]
    if differing:
        tell(f"other bytes than an undisturbed run's: {differing}")


@contextmanager
def small_disk(place: Path, room: int) -> Iterator[bool]:
    """A file system of so many bytes there, where one can be mounted."""
    place.mkdir()
    mounted = bool(room) and os.system(f"mount -t tmpfs -o size={room} tmpfs '{place}' 2>/dev/null") == 0
    try:
        yield mounted
    finally:
        if mounted:
            os.system(f"umount -l '{place}'")


def one_round(number: int, seed: int, photos: list[Path], odd: list[Path], book: Book) -> None:
    """One input, one command, one trouble, and the same command again."""
    chance = random.Random(f"{seed} {number}")
    with tempfile.TemporaryDirectory(prefix="soak-") as name:
        folder, mark = Path(name), secrets.token_hex(8)
        source = make_input(folder, chance, photos, odd)
        command, trouble = chance.choices(COMMANDS, WEIGHTS)[0], disturbance(chance)
        if trouble.signals and command[0] != "align":
            trouble = Disturbance(trouble.name, tuple((3 * seconds, sent) for seconds, sent in trouble.signals))
        label = f"round {number}: {' '.join(command)} of a {source.suffix or 'folder'}, {trouble.name}"

        def tell(what: str) -> None:
            book.faults.append(f"{label}: {what}")

        def look(code: int, said: str, expected: set[int]) -> None:
            book.counts[f"exit {code}"] += 1
            if code not in expected or "Traceback" in said or "this is a bug" in said:
                tell(f"exit code {code}: {said[-1500:]}")

        before = snapshot(folder)
        whole_code, said = run(command_line(command, source, folder / "whole"), Disturbance("none"), mark, book)
        look(whole_code, said, {0, 3, 4})
        whole = output_files(folder / "whole") if (folder / "whole").is_dir() else {}
        with small_disk(folder / "out-disk", trouble.room) as mounted:
            out = folder / "out-disk" / "out" if mounted else folder / "out"
            code, said = run(command_line(command, source, out), trouble, mark, book)
            # The second ends a run at once, and before a run has begun nobody listens: a shell says 130, 143 or 129 then, too.
            at_once = len(trouble.signals) > 1 or any(seconds < STARTING for seconds, _ in trouble.signals)
            look(code, said, CODES | ({-sent for sent in SIGNALS} if at_once else set()))
            if out.is_dir():
                check_output(out, None, tell)
            if mounted:
                os.system(f"mount -o remount,size=1g '{folder / 'out-disk'}'")
            code, said = run(command_line(command, source, out), Disturbance("none"), mark, book)
            look(code, said, {whole_code} if whole_code != 4 else {whole_code, 3})
            check_output(out, whole, tell)
        if (after := snapshot(folder)) != before:
            tell(f"changed outside of the output: {sorted(set(after.items()) ^ set(before.items()))[:6]}")
        book.counts[command[0]] += 1
        book.counts[trouble.name] += 1
        book.counts["rounds"] += 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, help="this round alone")
    parser.add_argument("--photos", type=Path, default=SHARED / "photos" / "eval", help="photos with faces")
    parser.add_argument("--odd", type=Path, default=SHARED / "inputs", help="further odd files")
    given = parser.parse_args()
    photos = sorted(path for path in given.photos.glob("*.*") if path.suffix in (".jpg", ".png"))
    odd = (
        sorted(path for path in given.odd.glob("*.*") if path.suffix in (".jpg", ".png")) if given.odd.is_dir() else []
    )
    if not photos:
        parser.error(f"no photos in {given.photos}")
    book, number, deadline = Book(), given.only or 0, time.monotonic() + 60 * given.minutes
    while time.monotonic() < deadline:
        known = len(book.faults)
        one_round(number, given.seed, photos, odd, book)
        for fault in book.faults[known:]:
            print(fault, flush=True)
        number += 1
        if given.only is not None:
            break
    print(", ".join(f"{name}: {count}" for name, count in sorted(book.counts.items())))
    print(f"{len(book.faults)} faults")
    return bool(book.faults)


if __name__ == "__main__":
    sys.exit(main())
