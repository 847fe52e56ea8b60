"""Rounds of `align`, `invert` and `edit`: an input, a command, a trouble, and the same command again to its end."""

from __future__ import annotations

import json
import os
import random
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

from benchmarks._soak_process import disturbance, grow_disk, small_disk
from benchmarks._soak_round import Round, differing, snapshot
from benchmarks._toy_parts import OPTIONS as TOY
from tests.factories import output_files, plain
from tests.fuzz.corpus import corpus

OF_PHOTOS: tuple[tuple[int, tuple[str, ...]], ...] = (
    (6, ("align", "--size", "256")),
    (4, ("align", "--size", "128", "--faces", "all", "--format", "jpg")),
    (4, ("align", "--size", "256", "--device", "cpu:2")),
    (2, ("align", "--size", "256", "--num-workers", "0")),
    (2, ("align", "--size", "128", "--shard", "1/2", "--device", "cpu:2")),
    (2, ("align", "--size", "128", "--limit", "2", "--faces", "all")),
    (3, ("invert", "--align", *TOY)),
    (5, ("edit", "--align", "--attr", "smile=+1", "--masks", *TOY)),
    (4, ("edit", "--align", "--attr", "smile=-1:1:1", "--paste", "--faces", "all", "--compose", "none", *TOY)),
    (2, ("edit", "--align", "--attr", "age=+1", "--device", "cpu:2", "--batch-size", "1", *TOY)),
    (3, ("invert", "--align", "--method", "e4e")),
    (6, ("edit", "--align", "--attr", "smile=+2", "--paste")),
)
OF_RUNS: tuple[tuple[int, tuple[str, ...]], ...] = (
    (2, ("invert", *TOY)),
    (4, ("edit", "--attr", "smile=+1", "--attr", "age=-1", *TOY)),
    (3, ("edit", "--attr", "smile=+1", "--paste", "--format", "webp", *TOY)),
    (5, ("edit", "--attr", "yaw=+1")),
)
PAPERS = {"run.json", "manifest.jsonl", "shards.jsonl", ".ganinv.lock"}


def run_round(this: Round, photos: list[Path], odd: list[Path], prepared: Path) -> None:
    """`prepared`: holds ``faces`` and ``inversions``, which runs wrote."""
    chance = this.chance
    if chance.random() < 0.25:
        source = _run_folder(this.folder, chance, prepared)
        rows, kind = OF_RUNS, "run"
    else:
        source = _input(this.folder, chance, photos, odd)
        rows, kind = OF_PHOTOS, source.suffix[1:] or "folder"
    command = chance.choices([words for _, words in rows], [weight for weight, _ in rows])[0]
    packed = chance.random() < 0.2
    options = (*command[1:], "--items-per-shard", "2") if packed else command[1:]
    trouble = disturbance(chance, this.number)
    this.label += f": {' '.join(command)} of a {kind}{' into archives' if packed else ''}, {trouble.name}"
    networks = "toy" if TOY[0] in command or command[0] == "align" else "real"
    this.count("rounds", command[0], trouble.name, f"input: {kind}", f"networks: {networks}")
    this.count(*(["output: archives"] if packed else []))

    def words(out: Path) -> list[str]:
        out.mkdir(exist_ok=True)
        return [command[0], str(source), "-o", str(out / "o-{000..}.tar" if packed else out / "o"), *options]

    before = snapshot(this.folder, ("out", "whole"))
    whole = this.undisturbed(words(this.folder / "whole"), {0, 3, 4})
    files = _files(this.folder / "whole")
    with small_disk(this.folder / "out", trouble.room) as mounted:
        out = this.folder / "out"
        this.disturbed(words(out), trouble)
        _check(out, this.tell)
        if mounted:
            grow_disk(out)
        this.undisturbed(words(out), {whole.code} if whole.code != 4 else {4, 3})
        _check(out, this.tell)
        _compare(out, files, this.tell)
    if names := differing(before, snapshot(this.folder, ("out", "whole"))):
        this.tell(f"changed outside of the output: {names}")


def _input(folder: Path, chance: random.Random, photos: list[Path], odd: list[Path]) -> Path:
    """A few photos and some odd files as a folder, a list or an archive; what to give as INPUT."""
    raw = folder / "raw"
    raw.mkdir(parents=True)
    for number, path in enumerate(chance.sample(photos, chance.randrange(1, min(4, len(photos)) + 1))):
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


def _run_folder(folder: Path, chance: random.Random, prepared: Path) -> Path:
    """What `align` or `invert` wrote, sometimes with a damaged manifest, a picture less or codes that are none."""
    source = folder / chance.choice(["faces", "inversions"])
    shutil.copytree(prepared / source.name, source, copy_function=shutil.copy2)
    spoil = chance.choice(["", "", "line", "torn", "picture", "codes"])
    lines = (source / "manifest.jsonl").read_bytes().splitlines(keepends=True)
    if spoil == "line":
        lines[0] = lines[0][: len(lines[0]) // 2] + b"\n"
    if spoil == "torn":
        lines[-1] = lines[-1][: len(lines[-1]) // 2]
    (source / "manifest.jsonl").write_bytes(b"".join(lines))
    found = sorted(source.rglob("*.safetensors" if spoil == "codes" else "*.png"))
    if spoil == "codes" and found:
        found[0].write_bytes(chance.randbytes(500))
    elif spoil == "picture":
        found[0].unlink()
    return source


def _files(out: Path) -> dict[str, bytes]:
    """What a command left, as names and contents; of archives their members."""
    found = {name: data for name, data in output_files(out).items() if Path(name).name not in PAPERS}
    for path in sorted(out.glob("*.tar")):
        del found[path.name]
        with tarfile.open(path) as archive:
            for member in archive:
                handle = archive.extractfile(member)
                data = handle.read() if handle else b""
                found[f"{path.name}::{member.name}"] = (
                    b"" if member.name.endswith(".json") else plain(member.name, data)
                )
    return found


def _check(out: Path, tell: Callable[[str], None]) -> None:
    """What must hold at any moment: every line whole, no key twice, all that is noted is there."""
    for manifest in out.glob("*/manifest.jsonl"):
        bodies = [json.loads(line) for line in manifest.read_bytes().split(b"\n") if line.strip()]
        keys = [body["key"] for body in bodies]
        if len(keys) != len(set(keys)):
            tell(f"keys twice: {keys}")
        for body in bodies:
            for name in body["outputs"].values() if body["status"] == "ok" else ():
                path = manifest.parent / name.partition("::")[0]
                if not path.is_file() or not path.stat().st_size:
                    tell(f"{name} is noted and not there")


def _compare(out: Path, whole: dict[str, bytes], tell: Callable[[str], None]) -> None:
    """What must hold at the end: the files of an undisturbed run, and nothing half-written."""
    left = [path.name for path in out.rglob("*") if path.suffix == ".part" or path.name == "manifest.d"]
    if left:
        tell(f"half-written: {left}")
    found = _files(out)
    for name in sorted(whole.keys() ^ found.keys()):
        tell(f"{name} is {'lost' if name in whole else 'too much'}")
    changed = [name for name in whole.keys() & found.keys() if whole[name] != found[name]]
    if changed:
        tell(f"other bytes than an undisturbed run's: {changed}")
