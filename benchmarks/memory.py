"""Peak memory over 10,000 photos against 100, and the time of a resume over 100,000 finished ones; tiny models.

    python -m benchmarks.memory            both, with the design's budgets
    python -m benchmarks.memory --items 1000 --finished 10000     smaller

Each figure is of a process of its own (the peak resident size of its life). The photos are hard links to one small
file, the models stand-ins: what is measured is the engine's own memory, which must not depend on how many files there
are. The resume's clock starts before the input is listed and stops when the run says that nothing is to do.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from pipelines.engine.run import run_job
from pipelines.records.manifest import MANIFEST, Record
from tests.factories import align_job, edit_job, write_photo

PER_FOLDER = 1000


def photos(folder: Path, count: int) -> Path:
    """`count` times one 64 px picture, 1,000 in a folder, by hard links."""
    for number in range(count):
        path = folder / "raw" / f"{number // PER_FOLDER:04d}" / f"{number:07d}.png"
        if number % PER_FOLDER == 0:
            first = write_photo(path, 0)  # a file system allows some 65,000 links to one file
        else:
            os.link(first, path)
    return folder / "raw"


def peak_of_run(count: int) -> dict[str, float]:
    """Runs a whole edit in this process: its peak in MB, its seconds."""
    with tempfile.TemporaryDirectory() as folder:
        raw, started = photos(Path(folder), count), time.monotonic()
        summary = run_job(edit_job(raw, Path(folder) / "out"))
        assert summary.ok == count, summary
        seconds = time.monotonic() - started
    return {"items": count, "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, "seconds": seconds}


def seconds_of_resume(count: int) -> dict[str, float]:
    """A run over `count` photos that are all done: listing, manifest, stats and all."""
    with tempfile.TemporaryDirectory() as folder:
        raw = photos(Path(folder), count)
        template = _finished_template(Path(folder))
        out = Path(folder) / "out"
        lines = []
        for path in sorted(raw.rglob("*.png")):
            key = path.relative_to(raw).with_suffix("").as_posix()
            target = out / f"{key}.png"
            target.parent.mkdir(parents=True, exist_ok=True)
            os.link(path, target)
            stat = path.stat()
            record = {**template, "key": key, "source": str(path), "outputs": {"face": f"{key}.png"}}
            lines.append(json.dumps(record | {"stat": [stat.st_size, stat.st_mtime_ns]}) + "\n")
        (out / MANIFEST).write_text("".join(lines))
        del lines
        started, busy = time.monotonic(), time.process_time()
        summary = run_job(align_job(raw, out))
        assert (summary.skipped, summary.ok, summary.failed) == (count, 0, 0), summary
        return {"items": count, "seconds": time.monotonic() - started, "busy": time.process_time() - busy}


def _finished_template(folder: Path) -> dict[str, object]:
    """A true record of one finished photo: the links have its bytes, so its digest and fingerprint are theirs."""
    write_photo(folder / "one" / "p.png", 0)
    run_job(align_job(folder / "one", folder / "one-out"))
    body: dict[str, object] = json.loads((folder / "one-out" / MANIFEST).read_text())
    Record.from_json(body)
    return body


TASKS: dict[str, Callable[[int], dict[str, float]]] = {"run": peak_of_run, "resume": seconds_of_resume}


def measured(task: str, count: int) -> dict[str, float]:
    """A figure from a fresh process."""
    command = [sys.executable, "-m", "benchmarks.memory", "--only", task, "--items", str(count)]
    made = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    figures: dict[str, float] = json.loads(made.stdout)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=10_000)
    parser.add_argument("--finished", type=int, default=100_000)
    parser.add_argument("--only", choices=TASKS, help="one figure, in this process, as JSON")
    given = parser.parse_args()
    if given.only:
        print(json.dumps(TASKS[given.only](given.items)))
        return
    few, many = measured("run", 100), measured("run", given.items)
    ratio = many["peak_mb"] / few["peak_mb"]
    print(
        f"peak memory: {few['peak_mb']:.0f} MB over 100 photos, {many['peak_mb']:.0f} MB over {given.items}: ", end=""
    )
    print(f"ratio {ratio:.3f} (budget 1.1); {1e3 * many['seconds'] / given.items:.1f} ms a photo")
    resume = measured("resume", given.finished)
    print(
        f"resume over {given.finished} finished photos: {resume['seconds']:.2f} s (budget 5 s), "
        f"{resume['busy']:.2f} s of a core"
    )


if __name__ == "__main__":
    main()
