"""Runs made by hand: real files and manifests."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from pipelines.evaluation.specs import EvaluateSpec
from pipelines.images.pixels import encode
from pipelines.records.manifest import ManifestWriter, Record
from pipelines.types import U8Image
from tests.pipelines.metrics.fakes import noisy, picture

SIZE = 256


def save(path: Path, image: U8Image) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode(image, "png"))
    return path


def record(folder: Path, source: Path, key: str, results: dict[str, U8Image], **more: Any) -> Record:
    outputs = {edit: f"{edit}/{key}.png" for edit in results}
    for edit, image in results.items():
        save(folder / outputs[edit], image)
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    return Record(key, str(source), digest, outputs={**outputs, "latents": f"latents/{key}.safetensors"}, **more)


def manifest(folder: Path, records: list[Record]) -> None:
    writer = ManifestWriter(folder)
    for record in records:
        writer.append(record)
    writer.close()


def make_run(tmp_path: Path, count: int = 3, edits: tuple[str, ...] = ("smile+2",)) -> Path:
    """A run of `count` faces whose inversions get noisier with the number, edits noisier still."""
    folder, records = tmp_path / "edits", []
    for number in range(count):
        source = save(tmp_path / "faces" / f"{number:03}.png", picture(number, SIZE))
        made = {"inversion": noisy(picture(number, SIZE), 4 + 4 * number, number)}
        made |= {edit: noisy(picture(number, SIZE), 40 + 4 * number, number) for edit in edits}
        records.append(record(folder, source, f"{number:03}", made))
    manifest(folder, records)
    return folder


def make_spec(run: Path, *metrics: str, **more: Any) -> EvaluateSpec:
    return EvaluateSpec(run=run, metrics=metrics or ("mse", "psnr"), device="cpu", **more)
