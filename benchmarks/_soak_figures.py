"""Rounds of `evaluate` and `compare` over a run's folder, whole or spoiled."""

from __future__ import annotations

import json
import os
import random
import shutil
from pathlib import Path
from typing import Any

from benchmarks._soak_process import disturbance, grow_disk, small_disk
from benchmarks._soak_round import Round, differing, snapshot

OPTIONS: tuple[tuple[str, ...], ...] = (
    ("--metrics", "psnr,ssim,mse"),
    ("--metrics", "id,psnr"),
    ("--metrics", "lpips-st-alex,mse-outside"),
    ("--metrics", "skin-tone,detail,sharpness"),
    ("--metrics", "psnr", "--require", "psnr>=1"),
    ("--metrics", "psnr", "--require", "psnr>=90", "--allow-missing"),
    ("--metrics", "mse", "--no-report", "--json"),
    ("--metrics", "psnr", "--num-workers", "1", "--batch-size", "1"),
)
SPOILS = ("", "", "source", "result", "cut", "line", "torn", "foreign report", "foreign metrics", "brackets")
PAPERS = ("metrics.json", "report.html", "contact.png", "evaluation")


def figures_round(this: Round, prepared: Path) -> None:
    """`prepared`: holds ``raw`` and ``edits``, made from it; neither lies where the manifest says."""
    chance = this.chance
    options, spoil, trouble = chance.choice(OPTIONS), chance.choice(SPOILS), disturbance(chance, this.number)
    this.label += f": evaluate {' '.join(options)}, spoiled: {spoil or 'nothing'}, {trouble.name}"
    this.count("rounds", "evaluate", trouble.name)
    whole = this.folder / "whole"
    _copy(prepared, whole, spoil, chance)
    words = ["evaluate", str(whole / "edits"), *options]
    expected = this.undisturbed(words, {0, 2, 3, 4, 6})
    made = _figures(whole / "edits")
    size = sum(path.stat().st_blocks * 512 for path in whole.rglob("*"))
    with small_disk(this.folder / "out", trouble.room and size + trouble.room) as mounted:
        project = this.folder / "out" / "project"
        shutil.copytree(whole, project, ignore=shutil.ignore_patterns(*PAPERS))
        for path in _foreign(whole / "edits"):
            shutil.copy2(path, project / "edits")
        before = snapshot(project / "edits", PAPERS)
        words[1] = str(project / "edits")
        this.disturbed(words, trouble)
        for path in _foreign(whole / "edits"):
            if (project / "edits" / path.name).read_bytes() != path.read_bytes():
                this.tell(f"{path.name} of somebody else was written over")
        if mounted:
            grow_disk(this.folder / "out")
        this.undisturbed(words, {expected.code})
        if _figures(project / "edits") != made:
            this.tell("other figures than an undisturbed evaluation's")
        if names := differing(before, snapshot(project / "edits", PAPERS)):
            this.tell(f"changed in the run: {names}")
    if made is not None and chance.random() < 0.5:
        this.count("compare")
        shutil.copytree(whole / "edits", this.folder / "again")
        both = [str(whole / "edits"), str(this.folder / "again")]
        this.disturbed(["compare", *both, "-o", str(this.folder / "comparison")], trouble)
        this.undisturbed(["compare", *both, "-o", str(this.folder / "comparison")], {0})


def _copy(prepared: Path, whole: Path, spoil: str, chance: random.Random) -> None:
    """The project with one thing wrong."""
    shutil.copytree(prepared / "raw", whole / "raw")
    shutil.copytree(prepared / "edits", whole / "edits")
    manifest = whole / "edits" / "manifest.jsonl"
    lines = manifest.read_bytes().splitlines(keepends=True)
    results = sorted((whole / "edits" / "smile+1").iterdir())
    if spoil == "source":
        chance.choice(sorted((whole / "raw").iterdir())).unlink()
    elif spoil == "result":
        chance.choice(results).unlink()
    elif spoil == "cut":
        os.truncate(chance.choice(results), 1000)
    elif spoil == "line":
        manifest.write_bytes(b"".join([b'{"v":1,"key":"\n', *lines[1:]]))
    elif spoil == "torn":
        manifest.write_bytes(b"".join(lines)[:-40])
    elif spoil == "brackets":
        manifest.write_bytes(b"".join([*lines, b"[" * 100_000 + b"\n"]))
    elif spoil == "foreign report":
        (whole / "edits" / "report.html").write_bytes(b"mine")
    elif spoil == "foreign metrics":
        (whole / "edits" / "metrics.json").write_bytes(b"[" * 100_000)


def _foreign(folder: Path) -> list[Path]:
    """Files under the papers' names that nobody but the round itself wrote."""
    return [
        path for name in PAPERS[:2] if (path := folder / name).is_file() and path.read_bytes()[:4] in (b"mine", b"[[[[")
    ]


def _figures(run: Path) -> Any:
    """What an evaluation of that folder wrote, without places; None where it wrote none."""
    for path in (run / "evaluation" / "metrics.json", run / "metrics.json"):
        if path.is_file() and path.read_bytes()[:4] != b"[[[[":
            body = json.loads(path.read_text(encoding="ascii"))
            return {name: body[name] for name in ("count", "edits", "missing")}
    return None
