"""A run's bookkeeping without its pictures: what listing an input and keeping a manifest cost, a photo."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from benchmarks._figures import Figures
from pipelines.engine.input.listing import list_input
from pipelines.records.manifest import ManifestWriter, Record, merge_parts, read_manifest

PER_FOLDER = 1000


def books(folder: Path, count: int, template: Record) -> Figures:
    """Lists `count` empty files in sub-folders of 1,000, writes, reads and merges as many records.

    Args:
        folder: is filled with them.
        template: a record as runs write it; key and source are replaced.

    Returns:
        Photos listed per second; facts of one photo: list_seconds, list_bytes (memory that its entry holds),
        read_seconds, read_bytes (memory of its record), merge_seconds, record_bytes (its manifest line).
    """
    raw = empty_files(folder / "raw", count)
    seconds = {}
    started = time.perf_counter()
    photos = list_input(raw).photos
    seconds["list_seconds"] = time.perf_counter() - started
    writer = ManifestWriter(folder)
    for photo in photos:
        writer.append(replace(template, key=photo.key, source=photo.path))
    writer.close()
    size = writer.path.stat().st_size
    del photos
    for name, work in (("read_seconds", read_manifest), ("merge_seconds", merge_parts)):
        started = time.perf_counter()
        work(folder)
        seconds[name] = time.perf_counter() - started
    held = {"list_bytes": _held(partial(list_input, raw)), "read_bytes": _held(partial(read_manifest, folder))}
    costs = {**seconds, **held, "record_bytes": size}
    facts = {name: value / count for name, value in costs.items()}
    return Figures(count, count / seconds["list_seconds"], facts=facts)


def empty_files(folder: Path, count: int) -> Path:
    """`count` files with a picture's suffix, 1,000 in a folder; returns `folder`."""
    for number in range(count):
        path = folder / f"{number // PER_FOLDER:05d}" / f"{number:08d}.png"
        if number % PER_FOLDER == 0:
            path.parent.mkdir(parents=True)
        path.touch()
    return folder


def usual_record(attr: str) -> Record:
    """A record of the size that `edit` writes for one edit of an aligned face."""
    kinds = ("inversion", "latents", attr)
    return Record(
        key="0",
        source="0",
        digest="0" * 64,
        outputs={kind: f"{kind}/00000/00000000.png" for kind in kinds},
        scores={"faces": 1, "misalignment": 0.0123456789},
        fingerprint="0" * 64,
        ms=dict.fromkeys(("decode", "align", "edit", "invert", "write"), 1234.5),
        stat=(1_000_000, 1_700_000_000_000_000_000),
    )


def _held(make: Callable[[], object]) -> float:
    """Bytes of Python objects that the result of `make` keeps alive."""
    tracemalloc.start()
    kept = make()
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    del kept
    return float(held)
