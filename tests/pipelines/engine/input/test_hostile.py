"""Inputs that were damaged, or made to harm: each costs its own photos, nothing is read or written outside, all ends."""

from __future__ import annotations

import io
import json
import os
import socket
import tarfile
import tracemalloc
from pathlib import Path

import pytest

from pipelines.engine.input.listing import InputOptions, list_input
from pipelines.engine.run import run_job
from pipelines.errors import UsageError
from pipelines.records.manifest import read_manifest
from pipelines.storage.names import tidy, unsafe_name
from tests.factories import GivenCrops, align_job, edit_job, write_photo, write_photos
from tests.pipelines.storage.test_tar_index import photo

BLOCK = 512
GOOD = "good.png"


def header(name: str, size: int = 0, kind: bytes = tarfile.REGTYPE) -> bytes:
    entry = tarfile.TarInfo(name)
    entry.size, entry.type = size, kind
    return entry.tobuf(tarfile.GNU_FORMAT)


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % BLOCK)


def checked(block: bytearray) -> bytes:
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def negative_size() -> bytes:
    """A header whose size leads back to itself."""
    block = bytearray(header("loop.png"))
    block[124:136] = (-BLOCK).to_bytes(12, "big", signed=True)
    return checked(block)


def chained_names() -> bytes:
    return b"".join(header("././@LongLink", 8, tarfile.GNUTYPE_LONGNAME) + padded(b"n%05d\0" % n) for n in range(3000))


def huge_name() -> bytes:
    return header("././@LongLink", 6 << 30, tarfile.GNUTYPE_LONGNAME)


def deep_name() -> bytes:
    name = b"d/" * 2000 + b"x.png\0"
    data = photo(1)
    long = header("././@LongLink", len(name), tarfile.GNUTYPE_LONGNAME) + padded(name)
    return long + header("short.png", len(data)) + padded(data)


@pytest.mark.parametrize(
    ("odd", "failures"),
    [
        (negative_size(), {"truncated": 1}),
        (chained_names(), {}),
        (huge_name(), {"truncated": 1}),
        (deep_name(), {"too-deep": 1}),
        (header("././@LongLink", 9000, tarfile.GNUTYPE_LONGNAME) + padded(b"n" * 9000) + header("cut.png"), {}),
    ],
    ids=["negative", "chained", "huge", "deep", "long"],
)
def test_archives_made_to_harm(odd: bytes, failures: dict[str, int], tmp_path: Path) -> None:
    data = photo(1)
    raw = tmp_path / "raw"
    raw.mkdir()
    (raw / "odd.tar").write_bytes(header(GOOD, len(data)) + padded(data) + odd + header("z.png", 0) + bytes(2 * BLOCK))
    write_photo(raw / "next.png", 2)
    tracemalloc.start()
    summary = run_job(align_job(raw, tmp_path / "out"))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    summary.failures.pop("unreadable", None)  # the empty one behind, where it is reached
    summary.failures.pop("empty", None)
    assert {"odd/good", "next"} <= {k for k, r in read_manifest(tmp_path / "out").items() if r.status == "ok"}
    assert {code: summary.failures.get(code) for code in failures} == failures
    assert peak < 50 << 20


def test_keys_of_a_run_folder_lead_nowhere(tmp_path: Path) -> None:
    """Records that lead out, or are no records, cost their own items; the rest is edited, inside the output."""
    raw, faces, edits = write_photos(tmp_path / "raw", 3), tmp_path / "faces", tmp_path / "deep" / "edits"
    run_job(align_job(raw, faces))
    manifest = faces / "manifest.jsonl"
    lines = [json.loads(line) for line in manifest.read_text().splitlines()]
    evil = [lines[0] | {"key": key} for key in ("../../pwned/escape", "/abs", "nul\0", "half\ud800")]
    secret = lines[0] | {"key": "secret", "outputs": {"face": "../raw/p01.png"}}
    text = [json.dumps(line) for line in (*lines, *evil, secret)]
    manifest.write_text("\n".join([text[0], "{damaged", *text[1:]]) + "\n")
    listing = list_input(faces, InputOptions(use_run=True))
    assert [each.key for each in listing.photos] == ["p00", "p01", "sub/p02"]
    summary = run_job(edit_job(faces, edits, fake=GivenCrops()))
    assert (summary.ok, summary.failed) == (3, 0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["deep", "faces", "raw"]
    with pytest.raises(UsageError, match="is a run's record, not a picture; give its folder"):
        list_input(manifest)


def test_damaged_records_of_an_inverted_folder_cost_their_items(tmp_path: Path) -> None:
    raw, edits = write_photos(tmp_path / "raw", 3), tmp_path / "edits"
    run_job(edit_job(raw, edits))
    manifest = edits / "manifest.jsonl"
    first, second, third = manifest.read_text().splitlines()
    escape = json.dumps(json.loads(second) | {"key": "../../escape"})
    manifest.write_text(f"{first}\n{escape}\n{third}\n{third[:40]}\n")
    listing = list_input(edits, InputOptions(use_run=True))
    assert [each.key for each in listing.photos] == ["p00", "sub/p02"]
    assert any("damaged" in note for note in listing.notes), listing.notes


@pytest.mark.parametrize("line", ["../../up.png", "a/../../../up.png"])
def test_lists_lead_nowhere(line: str, tmp_path: Path) -> None:
    """What lies outside of the list's folder is called by its whole path."""
    write_photo(tmp_path / "up.png", 1)
    names = tmp_path / "x" / "y" / "list.txt"
    names.parent.mkdir(parents=True)
    names.write_text(f"{line}\n")
    (key,) = (each.key for each in list_input(names).photos)
    assert unsafe_name(key) == ""
    assert key.endswith("up")
    assert tidy(os.path.abspath(names.parent / line)).endswith(f"{key}.png")


def test_offline_no_connection_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[object] = []

    def connect(self: socket.socket, address: object) -> None:
        opened.append(address)
        raise OSError("no")

    monkeypatch.setattr(socket.socket, "connect", connect)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **options: opened.append(args) or [])
    here = write_photo(tmp_path / "here.png", 1)
    stream = io.StringIO(f"https://example.org/a.png\n{here}\nhttp://127.0.0.1:9/b.tar\ns3://bucket/c.png\n")
    photos = list(list_input(Path("-"), InputOptions(stdin=stream, offline=True)).photos)
    assert [each.trouble and each.trouble.code for each in photos] == ["offline", None, "offline", "offline"]
    assert photos[0].trouble is not None
    assert "--offline" in photos[0].trouble.message
    assert "https://example.org/a.png" in photos[0].trouble.message
    for url in ("https://example.org/a.png", "https://example.org/list.txt", "s3://bucket/x", "https://e.org/a.tar"):
        with pytest.raises(UsageError, match="--offline"):
            list_input(Path(url), InputOptions(offline=True))
    assert opened == []


def test_many_links_out_are_told_once(tmp_path: Path) -> None:
    write_photo(tmp_path / "in" / "a.png", 1)
    for n in range(5):
        (tmp_path / "in" / f"etc{n}").symlink_to("/etc")
    listing = list_input(tmp_path / "in")
    assert [each.key for each in listing.photos] == ["a"]
    assert listing.notes == [
        "5 links lead out of the input (--follow-links follows them) and were left out, for example "
        "'etc0', 'etc1', 'etc2'"
    ]
