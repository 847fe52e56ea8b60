"""Reading and writing files stands back behind the models' threads, and nothing else does."""

from __future__ import annotations

import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from pipelines.engine.device.priority import STEP, stand_back
from pipelines.engine.output.writer import Writer
from pipelines.engine.reading.decoder_pool import DecoderPool
from pipelines.engine.reading.reader import PhotoReader
from pipelines.engine.types import OutFile, Result, Task
from pipelines.records.manifest import ManifestWriter, Record
from pipelines.records.outputs import Output
from pipelines.records.photos import Photo
from tests.factories import FakeFaces, make_reader, write_photos

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="priorities by thread are Linux's")


def niceness() -> int:
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


def noting_reader(note: Path) -> PhotoReader:
    note.write_text(str(niceness()))
    return make_reader(FakeFaces())


def test_a_thread_stands_back_alone() -> None:
    before = niceness()

    def work() -> int:
        stand_back()
        return niceness()

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(work).result() == min(19, before + STEP)
    assert niceness() == before


def test_where_it_is_forbidden_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "setpriority", refuse)
    before = niceness()
    stand_back()
    assert niceness() == before


@pytest.mark.parametrize("workers", [0, 1])
def test_decoding_stands_back(tmp_path: Path, workers: int) -> None:
    raw, before = write_photos(tmp_path / "raw", 1), niceness()
    photo = next(raw.glob("*.png"))
    stream = DecoderPool([Task(0, Photo(photo.stem, str(photo)))], partial(noting_reader, tmp_path / "note"), workers)
    assert [each.failure for each in stream] == [None]
    stream.close()
    assert int((tmp_path / "note").read_text()) == min(19, before + STEP)
    assert niceness() == before


def test_encoding_stands_back(tmp_path: Path) -> None:
    seen, before = list[int](), niceness()

    def make() -> bytes:
        seen.append(niceness())
        return b"x"

    writer = Writer(tmp_path, ManifestWriter(tmp_path))
    writer.submit(Result(Record("a", "a.png"), (OutFile(Output("inversion", "face", ".png", ""), "a.png", make),)))
    writer.close()
    writer.check()
    assert seen == [min(19, before + STEP)]
    assert niceness() == before
