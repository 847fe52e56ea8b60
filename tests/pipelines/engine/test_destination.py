"""Outputs that are no folder: tar archives that survive kills byte by byte, and a remote store."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from pipelines.engine.destination import run_to_destination, working_folder
from pipelines.engine.events import ProgressEvent
from pipelines.engine.input.listing import list_input
from pipelines.engine.job import Job
from pipelines.errors import OutputError, UsageError
from pipelines.records.manifest import read_manifest
from pipelines.specs import AlignSpec
from pipelines.storage import remote, webdataset
from pipelines.storage.remote import find_files, read_remote, write_remote
from tests.factories import SIZE, FakeFaces, align_job, edit_job, output_files, write_photo, write_photos

ROOT = Path(__file__).resolve().parents[3]


def spec_of(raw: Path, output: Path | str, **options: Any) -> AlignSpec:
    return AlignSpec(input=raw, output=Path(output), size=SIZE, num_workers=0, **{"items_per_shard": 4} | options)


def faces(spec: AlignSpec, fake: FakeFaces | None = None) -> Job:
    options = spec.model_dump(exclude={"inputs", "output", "size", "num_workers"})
    return align_job(spec.input, spec.output, fake, **options)


def edits(attrs: list[str], spec: AlignSpec) -> Job:
    return edit_job(spec.input, spec.output, attrs, items_per_shard=spec.items_per_shard)


def archives(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.tar"))}


def names(path: Path) -> list[str]:
    with tarfile.open(path) as archive:
        return archive.getnames()


def stop_after(items: int) -> Any:
    """Ctrl-C once so many items are done."""

    def told(event: ProgressEvent) -> None:
        if event.kind == "item" and event.done >= items:
            time.sleep(0.5)  # what is complete is packed meanwhile
            raise KeyboardInterrupt

    return told


def test_archives_in_the_order_of_the_keys(tmp_path: Path) -> None:
    raw = write_photos(tmp_path / "raw", 10)
    (raw / "p01.png").write_bytes(b"")
    write_photo(raw / "p04.x.png", 40)
    spec = spec_of(raw, tmp_path / "out-{000..}.tar")
    summary = run_to_destination(spec, faces)
    assert (summary.ok, summary.failed, summary.output) == (10, 1, str(tmp_path / "out-{000..}.tar"))
    assert list(archives(tmp_path)) == ["out-000.tar", "out-001.tar", "out-002.tar"]
    assert names(tmp_path / "out-000.tar") == [f"p0{n}.{end}" for n in (0, 3, 4) for end in ("json", "png")]
    assert "p04%2Ex.png" in names(tmp_path / "out-001.tar")
    with tarfile.open(tmp_path / "out-000.tar") as archive:
        crop = archive.extractfile("p00.png")
        about = archive.extractfile("p00.json")
        assert crop is not None
        assert about is not None
        assert Image.open(io.BytesIO(crop.read())).size == (SIZE, SIZE)
        assert json.load(about)["key"] == "p00"
    folder = tmp_path / "out.run"
    assert sorted(path.name for path in folder.iterdir() if path.name[0] != ".") == [
        "manifest.jsonl",
        "run.json",
        "shards.jsonl",
    ]
    assert read_manifest(folder)["p00"].outputs == {"face": "../out-000.tar::p00.png"}
    before = archives(tmp_path)
    again = run_to_destination(spec, faces)
    assert (again.skipped, again.failed) == (10, 1)
    assert archives(tmp_path) == before
    assert list_input(tmp_path / "out-{000..002}.tar").photos.first[0].key == "out-000/p00"


def test_an_interrupted_run_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    raw = write_photos(tmp_path / "raw", 14)
    run_to_destination(spec_of(raw, tmp_path / "a" / "o-{00..}.tar"), faces)
    spec = spec_of(raw, tmp_path / "b" / "o-{00..}.tar")
    for items in (6, 3):
        with pytest.raises(KeyboardInterrupt):
            run_to_destination(spec, partial(faces, fake=FakeFaces(pause=0.01)), stop_after(items))
        assert len(archives(tmp_path / "b")) < 4
    summary = run_to_destination(spec, faces)
    assert summary.skipped >= 9
    assert len(archives(tmp_path / "a")) == 4
    assert archives(tmp_path / "a") == archives(tmp_path / "b")


def test_archives_and_uploads_happen_while_the_run_goes_on(bucket: Any, tmp_path: Path) -> None:
    raw = write_photos(tmp_path / "raw", 12)
    seen: list[tuple[int, int]] = []

    def told(event: ProgressEvent) -> None:
        there = sum(name.endswith(".png") for name in find_files("memory://bucket/slow"))
        seen.append((len(archives(tmp_path / "slow")), there))

    slow = partial(faces, fake=FakeFaces(pause=0.1))
    for output in (tmp_path / "slow" / "o-{0..}.tar", "memory://bucket/slow"):
        assert run_to_destination(spec_of(raw, output), slow, told).ok == 12
    assert {count for count, _ in seen} >= {1, 2}
    assert any(0 < count < 12 for _, count in seen)
    run_to_destination(spec_of(raw, tmp_path / "quick" / "o-{0..}.tar"), faces)
    assert archives(tmp_path / "slow") == archives(tmp_path / "quick")
    assert len(find_files("memory://bucket/slow")) == 12 + 2


def test_later_edits_retried_photos_and_lost_archives(tmp_path: Path) -> None:
    raw = write_photos(tmp_path / "raw", 5)
    good = (raw / "p01.png").read_bytes()
    (raw / "p01.png").write_bytes(b"")
    spec = spec_of(raw, tmp_path / "o-{0..}.tar", items_per_shard=3)
    run_to_destination(spec, partial(edits, ["smile=1"]))
    (raw / "p01.png").write_bytes(good)
    run_to_destination(spec, partial(edits, ["smile=1", "age=-1"]))
    assert [name.partition(".")[2] for name in names(tmp_path / "o-0.tar") if name.startswith("p01")] == [
        "age-1.png",
        "inversion.png",
        "json",
        "latents.safetensors",
        "smile+1.png",
    ]
    whole = spec_of(raw, tmp_path / "w" / "o-{0..}.tar", items_per_shard=3)
    run_to_destination(whole, partial(edits, ["smile=1", "age=-1"]))
    assert list(map(names, sorted((tmp_path / "w").glob("*.tar")))) == list(map(names, sorted(tmp_path.glob("*.tar"))))
    (tmp_path / "o-1.tar").unlink()
    summary = run_to_destination(spec, partial(edits, ["smile=1", "age=-1"]))
    assert (summary.ok, summary.skipped) == (2, 3)
    assert names(tmp_path / "o-1.tar") == names(tmp_path / "w" / "o-1.tar")


def test_several_faces_one_archive_and_parts(tmp_path: Path) -> None:
    raw = write_photos(tmp_path / "raw", 4)
    spec = spec_of(raw, tmp_path / "all.tar", faces="all")
    run_to_destination(spec, partial(faces, fake=FakeFaces(count=2)))
    assert [name for name in names(tmp_path / "all.tar") if name.startswith("p00")] == [
        "p00.json",
        "p00.png",
        "p00%2E1.json",
        "p00%2E1.png",
    ]
    for part in ("1/2", "2/2"):
        run_to_destination(spec_of(raw, tmp_path / "o-{0..}.tar", shard=part), faces)
    assert list(archives(tmp_path)) == ["all.tar", "o-1-of-2-0.tar", "o-2-of-2-0.tar"]


def test_archives_of_others_are_not_written_over(tmp_path: Path) -> None:
    raw = write_photos(tmp_path / "raw", 1)
    (tmp_path / "o-0.tar").write_bytes(b"mine")
    (tmp_path / "one.tar").write_bytes(b"mine")
    for output in ("o-{0..}.tar", "one.tar"):
        with pytest.raises(UsageError, match="not written by a run"):
            run_to_destination(spec_of(raw, tmp_path / output), faces)
    with pytest.raises(UsageError, match="as many archives"):
        run_to_destination(spec_of(raw, tmp_path / "o-{0..3}.tar"), faces)
    assert archives(tmp_path) == {"o-0.tar": b"mine", "one.tar": b"mine"}


def test_a_full_disk_stops_the_run_and_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = write_photos(tmp_path / "raw", 8)

    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(webdataset, "_fill", full)
    spec = spec_of(raw, tmp_path / "o-{0..}.tar")
    with pytest.raises(OutputError, match="No space left"):
        run_to_destination(spec, faces)
    monkeypatch.undo()
    assert not list(tmp_path.glob("*.part"))
    summary = run_to_destination(spec, faces)
    assert summary.ok + summary.skipped == 8
    assert len(archives(tmp_path)) == 2


def test_kill_9_then_the_same_archives(tmp_path: Path) -> None:
    raw = write_photos(tmp_path / "raw", 24)
    run_to_destination(spec_of(raw, tmp_path / "a" / "o-{0..}.tar"), faces)
    folder = tmp_path / "b"
    command = [sys.executable, "-m", "tests.pipelines.engine.pack_in_process", str(raw), str(folder / "o-{0..}.tar")]
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    for archives_at_kill in (2,):
        process = subprocess.Popen(command, env=environ, stderr=subprocess.PIPE, text=True)
        deadline = time.monotonic() + 240
        while len(archives(folder)) < archives_at_kill:
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    summary = run_to_destination(spec_of(raw, folder / "o-{0..}.tar"), faces)
    assert 0 < summary.skipped < 24
    assert archives(tmp_path / "a") == archives(folder)
    assert not list(folder.rglob("*.part"))
    assert not list(folder.rglob("*.png"))


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    fsspec = pytest.importorskip("fsspec")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(remote, "PAUSE", 0.001)
    store = fsspec.filesystem("memory")
    store.store.clear()
    yield store
    store.store.clear()


def test_a_bucket_as_output(bucket: Any, tmp_path: Path) -> None:
    raw = write_photos(tmp_path / "raw", 6)
    url = "memory://bucket/faces"
    summary = run_to_destination(spec_of(raw, url), faces)
    assert (summary.ok, summary.output) == (6, url)
    run_to_destination(spec_of(raw, tmp_path / "local"), faces)
    there = {name: read_remote(f"{url}/{name}") for name in find_files(url)}
    local = output_files(tmp_path / "local")
    assert {name: data for name, data in there.items() if name.endswith(".png")} == local
    records = [json.loads(line) for line in there["manifest.jsonl"].splitlines()]
    assert [record["outputs"]["face"] for record in records] == sorted(local)
    [folder] = tmp_path.glob("*.run")
    assert folder == tmp_path / working_folder(spec_of(raw, url))
    assert not list(folder.rglob("*.png"))
    assert run_to_destination(spec_of(raw, url), faces).skipped == 6
    bucket.rm("/bucket/faces/p00.png")
    again = run_to_destination(spec_of(raw, url), faces)
    assert (again.ok, again.skipped) == (1, 5)
    assert read_remote(f"{url}/p00.png") == local["p00.png"]


def test_another_machine_goes_on_from_the_remote_manifest(
    bucket: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = write_photos(tmp_path / "raw", 5)
    url = "memory://bucket/x"
    run_to_destination(spec_of(raw, url, limit=3), faces)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    summary = run_to_destination(spec_of(raw, url), faces)
    assert (summary.ok, summary.skipped) == (2, 3)
    assert len(read_remote(f"{url}/manifest.jsonl").splitlines()) == 5


def test_a_store_that_refuses_stops_the_run(bucket: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = write_photos(tmp_path / "raw", 3)
    kind = type(bucket)
    real = kind.pipe_file

    def refuse(*arguments: object, **more: object) -> None:
        raise ConnectionError("the line is cut")

    monkeypatch.setattr(kind, "pipe_file", refuse)
    with pytest.raises(OutputError, match="the line is cut"):
        run_to_destination(spec_of(raw, "memory://bucket/y"), faces)
    monkeypatch.setattr(kind, "pipe_file", real)
    summary = run_to_destination(spec_of(raw, "memory://bucket/y"), faces)
    assert summary.ok + summary.skipped == 3
    assert {"p00.png", "p01.png", "sub/p02.png"} <= set(find_files("memory://bucket/y"))
    write_remote("memory://bucket/z.txt", b"")
    for output in ("http://host/x", "memory://b/o-{0..}.tar", "nosuch://x"):
        with pytest.raises(UsageError):
            run_to_destination(spec_of(raw, output), faces)
