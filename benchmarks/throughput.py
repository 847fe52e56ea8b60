"""The whole stream against the bare models, the naive loop and FFHQ's way of aligning, in one run on one machine.

    python -m benchmarks.throughput                                  everything; made-up photos
    python -m benchmarks.throughput --photos 64 --batch-size 8 --device cuda
    python -m benchmarks.throughput --method feature --photos 3 --cases models,stream
    python -m benchmarks.throughput --rates earlier.json --device-rate 40      earlier figures, another plan

Every way of doing the work has a process of its own, one after the other, `--rounds` times in turn (the median round
counts). Rates are those once warm: models loaded, first batch done. `peak` is the memory of all its processes together.

The ways: `generator`, the generator's forward alone; `models`, the same chain on tensors in memory; `stream`, `ganinv
edit` from files to files; `naive`, one photo after the other in one thread, same files; `naive-plain`, with Pillow's own
PNG; `align` and `align-ffhq`, on camera photos and one core; `cpu:N`, the stream over N processes, the cores divided;
`books`, listing and manifest alone. From these follows a paper model of a large run (`benchmarks/_plan.py`).

Without `--method` it is `e4e` where its weights are installed, else `untrained`: the same network with random weights,
whose speed is the same. Never a timed test: machines differ.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from benchmarks._cases import CASES, DEVICE_STAGES, case
from benchmarks._figures import Figures, PeakMemory, middle
from benchmarks._plan import Campaign, Rates, make_plan
from benchmarks._settings import Settings
from benchmarks._table import figure_rows, plan_rows
from pipelines.stages.embed.encoder import ASSETS
from pipelines.stages.methods import methods
from pipelines.weights.assets import packed_path

STDERR = 2  # the file descriptor
ROOT = Path(__file__).resolve().parents[1]
RATIOS = (
    ("stream", "models"),
    ("stream", "generator"),
    ("stream", "naive"),
    ("stream", "naive-plain"),
    ("align", "align-ffhq"),
)
BOOKS = ("record_bytes", "list_seconds", "list_bytes", "read_seconds", "read_bytes", "merge_seconds")


def measured(name: str, settings: Settings, threads: int | None) -> Figures:
    """One way of doing the work, in a fresh process. SystemExit where it fails: its own words are on stderr."""
    work = Path(settings.work)
    work.mkdir(parents=True, exist_ok=True)
    (work / "settings.json").write_text(json.dumps(asdict(settings)))
    command = [sys.executable, "-m", "benchmarks.throughput", "--case", name, "--work", str(work)]
    environ = {**os.environ, **({"OMP_NUM_THREADS": str(threads)} if threads else {})}
    print(f"{name} ...", file=sys.stderr, flush=True)
    child = subprocess.Popen(command, cwd=ROOT, env=environ, stdout=STDERR)  # ours carries the result alone
    with PeakMemory(child) as memory:
        status = child.wait()
    if status:
        raise SystemExit(f"the measurement '{name}' ended with status {status}")
    return replace(Figures(**json.loads((work / "result.json").read_text())), peak_mb=memory.mb)


def run_case(name: str, work: Path) -> None:
    """The measuring process: settings in, figures out, by files (libraries may print while they load)."""
    settings = Settings(**json.loads((work / "settings.json").read_text()))
    (work / "result.json").write_text(json.dumps(asdict(case(name)(settings))))


def measure_all(names: Sequence[str], settings: Settings, rounds: int, threads: int | None) -> dict[str, Figures]:
    """Way -> figures of its median round."""
    measured("inputs", settings, threads)
    found: dict[str, list[Figures]] = {name: [] for name in names}
    for _ in range(rounds):
        with tempfile.TemporaryDirectory(dir=settings.work) as folder:
            for name in names:
                found[name].append(measured(name, replace(settings, work=folder), threads))
    return {name: middle(rounds) for name, rounds in found.items()}


def ratios(figures: Mapping[str, Figures]) -> dict[str, float]:
    """``a / b`` -> how many times as quick a is, for the pairs that were measured; and how busy the device was."""
    pairs = [*RATIOS, *((name, "cpu:1") for name in figures if name.startswith("cpu:") and name != "cpu:1")]
    found = {f"{a} / {b}": figures[a].rate / figures[b].rate for a, b in pairs if a in figures and b in figures}
    if "stream" in figures:
        busy = sum(figures["stream"].stages.get(stage, 0.0) for stage in DEVICE_STAGES) / 1e3
        found["stream: device busy"] = busy * figures["stream"].rate
    return found


def rates_of(figures: Mapping[str, Figures]) -> Rates | None:
    """What the paper model needs; None where `stream`, `align` or `books` was left out."""
    if not {"stream", "align", "books"} <= figures.keys():
        return None
    edit, align, books = figures["stream"], figures["align"], figures["books"].facts
    # Stages of a stream also wait for cores. `align` has one core to itself, and writes one picture.
    host = 1e3 / align.rate + (edit.facts["pictures"] - 1) * edit.facts["encode ms"]
    return Rates(
        device=edit.rate,
        host_seconds=host / 1e3,
        photo_bytes=align.facts["photo bytes"],
        picture_bytes={name: edit.facts[name] for name in ("png", "jpg", "webp")},
        latents_bytes=edit.facts["latents bytes"],
        **{name: books[name] for name in BOOKS},
    )


def default_method() -> str:
    """`e4e` where it is installed with its weights, else `untrained`."""
    return "e4e" if packed_path(f"{ASSETS['e4e']}.safetensors").is_file() and "e4e" in methods else "untrained"


def machine(device: str, threads: int | None = None) -> dict[str, Any]:
    """What the figures belong to."""
    cuda = torch.cuda.is_available() and not device.startswith("cpu")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "device": torch.cuda.get_device_name() if cuda else processor(),
        "cores": cores,
        "threads": threads or torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def processor() -> str:
    """The processor's name as the system tells it, else its family."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--photos", type=int, default=0, help="aligned faces (default: six batches, 8 at least)")
    made.add_argument("--raw-photos", type=int, default=4, help="camera photos for align")
    made.add_argument("--faces", type=Path, help="a folder of aligned faces in place of generated ones")
    made.add_argument("--raw", type=Path, help="a folder of photos to align in place of the sample portrait")
    made.add_argument("--megapixels", type=float, default=12.0, help="size of the sample portrait")
    made.add_argument("--method", help="a method of `ganinv edit`, or untrained")
    made.add_argument("--attr", default="smile=+2")
    made.add_argument("--format", default="png", choices=("png", "jpg", "webp"))
    made.add_argument("--device", default="auto")
    made.add_argument("--batch-size", type=int, default=0, help="faces per pass (0: the device's default)")
    made.add_argument("--processes", default="1,2,4", help="CPU processes to scale over; empty: none")
    made.add_argument("--cases", help="only these ways, by commas")
    made.add_argument("--records", type=int, default=20_000, help="files and records for books")
    made.add_argument("--rounds", type=int, default=1)
    made.add_argument("--threads", type=int, help="of torch, in the ways of one process (default: all cores)")
    made.add_argument("--work", type=Path, help="where to write (default: the system's temporary folder)")
    made.add_argument("--json", action="store_true", help="one JSON object on stdout in place of the tables")
    made.add_argument("--case", help=argparse.SUPPRESS)
    paper = made.add_argument_group("paper model")
    paper.add_argument("--rates", type=Path, help="an earlier --json output: measure nothing, show it and plan anew")
    paper.add_argument("--device-rate", type=float, help="photos per second of one device, in place of the measured")
    paper.add_argument("--host-seconds", type=float, help="core-seconds of one photo, in place of the measured")
    paper.add_argument("--photo-bytes", type=float, help="of one input file, in place of the measured")
    paper.add_argument("--plan-photos", type=int, default=Campaign.photos)
    paper.add_argument("--plan-devices", type=int, default=Campaign.devices)
    paper.add_argument("--plan-cores", type=int, default=Campaign.cores, help="of each device")
    paper.add_argument("--plan-part", type=int, default=Campaign.part, help="photos of one run, where it is cut up")
    return made


def chosen_cases(options: argparse.Namespace) -> list[str]:
    """The ways to measure, in order. SystemExit for an unknown one."""
    scaling = [f"cpu:{int(count)}" for count in options.processes.split(",") if count.strip()]
    known = [name for name in CASES if name not in ("inputs", "books")] + scaling + ["books"]
    if not options.cases:
        return known
    names: list[str] = options.cases.split(",")
    if unknown := [name for name in names if name not in known and not name.removeprefix("cpu:").isdecimal()]:
        raise SystemExit(f"unknown ways: {', '.join(unknown)}; known: {', '.join(known)}")
    return names


def settings_of(options: argparse.Namespace, work: Path) -> Settings:
    """The settings that the command line means; given folders decide how many photos there are at the most."""
    settings = Settings(
        work=str(work),
        faces=str((options.faces or work / "faces").absolute()),
        raw=str((options.raw or work / "raw").absolute()),
        method=options.method or default_method(),
        attr=options.attr,
        format=options.format,
        device=options.device,
        batch_size=options.batch_size,
        raw_photos=options.raw_photos,
        megapixels=options.megapixels,
        records=options.records,
    )
    return replace(settings, photos=options.photos or max(8, 6 * settings.batch()))


def check_counts(settings: Settings, names: Sequence[str]) -> None:
    """SystemExit where some way would have nothing left to time after its first batch."""
    shares = [(int(name[4:]), settings.batch_on("cpu")) for name in names if name.startswith("cpu:")]
    least = max(processes * (batch + 1) for processes, batch in [(1, settings.batch()), *shares])
    if settings.photos < least or settings.raw_photos < 2:
        raise SystemExit(f"first batches only warm up: give at least --photos {least} and --raw-photos 2")


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Runs everything; plain values."""
    with tempfile.TemporaryDirectory(dir=options.work) as folder:
        settings = settings_of(options, Path(folder))
        names = chosen_cases(options)
        check_counts(settings, names)
        figures = measure_all(names, settings, options.rounds, options.threads)
    rates = rates_of(figures)
    return {
        "machine": machine(options.device, options.threads),
        "settings": {name: value for name, value in asdict(settings).items() if name not in ("work", "faces", "raw")},
        "figures": {name: asdict(each) for name, each in figures.items()},
        "ratios": ratios(figures),
        "rates": asdict(rates) if rates else None,
    }


def add_plan(body: dict[str, Any], options: argparse.Namespace) -> None:
    """Puts ``plan`` and the rates that it rests on into `body`, where there are rates."""
    if body.get("rates") is None:
        return
    given = {"device": options.device_rate, "host_seconds": options.host_seconds, "photo_bytes": options.photo_bytes}
    rates = replace(Rates(**body["rates"]), **{name: value for name, value in given.items() if value is not None})
    campaign = Campaign(
        photos=options.plan_photos,
        devices=options.plan_devices,
        cores=options.plan_cores,
        part=options.plan_part,
        format=options.format,
    )
    body |= {"rates": asdict(rates), "campaign": asdict(campaign), "plan": make_plan(campaign, rates).as_dict()}


def main(arguments: Sequence[str] | None = None) -> None:
    options = parser().parse_args(arguments)
    if options.case:
        run_case(options.case, options.work)
        return
    body = json.loads(options.rates.read_text()) if options.rates else measure(options)
    add_plan(body, options)
    if options.json:
        print(json.dumps(body))
        return
    print("\n".join([*figure_rows(body), *plan_rows(body)]))


if __name__ == "__main__":
    main()
