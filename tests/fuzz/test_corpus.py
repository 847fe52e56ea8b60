"""The corpus through the whole command line: every file is accounted for, no good one is lost, nothing else breaks."""

from __future__ import annotations

import io
import os
import tarfile
import time
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from ganinv_cli.app import app
from pipelines.images.decode import decode
from pipelines.records.manifest import Record, read_manifest
from pipelines.stages.align.detectors import Detector, detectors
from pipelines.storage.names import tidy
from pipelines.types import Face, U8Image
from tests.fuzz.corpus import Sample, corpus

OURS_TO_BLAME = {"unexpected", "decode-crashed", "decode-timeout", "crashed", "out-of-memory"}


class OneFace:
    """Finds a face in the middle of every picture."""

    name = "fake"
    version = "1"

    def find(self, image: U8Image) -> list[Face]:
        height, width = image.shape[:2]
        shares = np.array([[-0.5, -0.4], [0.5, -0.4], [0, 0], [-0.4, 0.6], [0.4, 0.6]])
        points = (np.array([width / 2, height / 2]) + shares * 0.3 * min(width, height)).astype(np.float32)
        return [Face((0.0, 0.0, float(width), float(height)), 1.0, points)]


@pytest.fixture(scope="module")
def samples() -> list[Sample]:
    return corpus()


@pytest.fixture(autouse=True)
def fake_detector(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(detectors._entries, "dlib", Detector((), "fake", lambda store, largest: OneFace()))
    monkeypatch.setenv("GANINV_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("GANINV_OFFLINE", "1")
    monkeypatch.chdir(tmp_path)


def align(*words: str) -> Result:
    result = CliRunner().invoke(app, ["align", *words, "--size", "32", "--timeout", "20"])
    assert "Traceback" not in result.output
    assert "this is a bug" not in result.output
    return result


def judge(samples: list[Sample], records: dict[str, Record], out: Path) -> None:
    wrong = []
    for sample in samples:
        key = tidy(sample.name.rpartition(".")[0])
        record = records.get(key)
        if record is None:
            wrong.append(f"{sample.name!r}: no record")
        elif sample.fate not in ("either", record.status):
            wrong.append(f"{sample.name!r}: {record.status} ({record.error}), not {sample.fate}")
        elif record.status == "ok":
            crop = decode((out / record.outputs["face"]).read_bytes())
            wrong += [] if crop.shape == (32, 32, 3) else [f"{sample.name!r}: {crop.shape}"]
        elif record.error is None or record.error.code in OURS_TO_BLAME or "\n" in record.error.code:
            wrong.append(f"{sample.name!r}: {record.error}")
    assert not wrong, "\n".join(wrong)


def test_the_corpus_is_large_and_made_the_same_every_time(samples: list[Sample]) -> None:
    assert len(samples) >= 300
    assert len({sample.name.rpartition(".")[0] for sample in samples}) == len(samples)
    fates = [sample.fate for sample in samples]
    assert min(map(fates.count, ("ok", "failed", "either"))) >= 80


def test_every_file_of_a_folder_is_accounted_for(samples: list[Sample], tmp_path: Path) -> None:
    raw, out = tmp_path / "raw", tmp_path / "out"
    raw.mkdir()
    for sample in samples:
        (raw / sample.name).write_bytes(sample.data)
    odd = [Sample(name, b"", "failed") for name in ("broken.png", "circle.jpg", "pipe.jpg", "far.jpg")]
    (raw / "broken.png").symlink_to(raw / "nowhere.png")
    (raw / "circle.jpg").symlink_to(raw / "circle.jpg")
    (raw / "far.jpg").symlink_to("/dev/zero")
    os.mkfifo(raw / "pipe.jpg")
    (raw / "folder.jpg").mkdir()
    started = time.monotonic()
    result = align("raw", "-o", "out", "-j", "1")
    assert time.monotonic() - started < 120, "an endless one would never end; 30 s on a busy machine"
    assert result.exit_code == 3, result.output
    records = read_manifest(out)
    judge(samples + odd, records, out)
    assert len(records) == len(samples) + len(odd)
    assert not list(out.rglob("*.part"))
    again = align("raw", "-o", "out", "-j", "0", "--json")
    good = sum(record.status == "ok" for record in records.values())
    assert f'"skipped": {good}' in again.stdout


def test_every_member_of_an_archive_is_accounted_for(samples: list[Sample], tmp_path: Path) -> None:
    some = [sample for sample in samples if "/" not in sample.name][::3]
    with tarfile.open(tmp_path / "raw.tar", "w") as archive:
        for sample in some:
            entry = tarfile.TarInfo(sample.name)
            entry.size = len(sample.data)
            archive.addfile(entry, io.BytesIO(sample.data))
    assert align("raw.tar", "-o", "out", "-j", "0").exit_code == 3
    judge(some, read_manifest(tmp_path / "out"), tmp_path / "out")


def test_broken_archives_and_lists(tmp_path: Path) -> None:
    """Damaged archives and lists of nonsense end in a sentence or in records, never in a traceback."""
    with tarfile.open(tmp_path / "whole.tar", "w", format=tarfile.PAX_FORMAT) as archive:
        for n in range(3):
            entry = tarfile.TarInfo(f"{'ü' * 120}{n}.png")
            entry.size = len(data := corpus_picture())
            archive.addfile(entry, io.BytesIO(data))
    whole = (tmp_path / "whole.tar").read_bytes()
    random = np.random.default_rng(0)
    for n in range(12):
        damaged = bytearray(whole[: int(len(whole) * random.uniform(0.1, 1.0))])
        for place in random.integers(0, len(damaged), 12):
            damaged[place] = int(random.integers(256))
        (tmp_path / "a.tar").write_bytes(damaged)
        assert align("a.tar", "-o", f"out{n}", "-j", "0").exit_code in (0, 2, 3, 4)
    for n, lines in enumerate(
        (b"\0\n", b"\xff\xfe\n", b"a\0b.png\nc.png\n", b"../../x.png\n//\n", b"s3:\nfoo://\n", b"." * 5000)
    ):
        (tmp_path / "list.txt").write_bytes(lines)
        assert align("list.txt", "-o", f"list{n}", "-j", "0").exit_code in (2, 4)


def corpus_picture() -> bytes:
    from tests.fakes.photos import saved, scene

    return saved(scene(), "PNG")
