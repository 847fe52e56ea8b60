"""JPEGs without their end: whole ones are used, others refused."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.errors import PhotoError
from pipelines.images.decode import decode
from pipelines.images.jpeg import END
from tests.fakes.photos import saved

NOISY = np.random.default_rng(1).integers(0, 255, (200, 150, 3)).astype(np.uint8)
SAMSUNG = b"\0\0\x01\n\x0e\0\0\0Image_UTC_Data1609459200000" + bytes(i % 200 for i in range(9000)) + b"SEFT"
KINDS: list[dict[str, object]] = [
    {},
    {"progressive": True},
    {"subsampling": 0, "quality": 95},
    {"restart_marker_rows": 1},
]
TRAILERS = [b"", bytes(5000), SAMSUNG]


@pytest.mark.parametrize("options", KINDS)
@pytest.mark.parametrize("trailer", TRAILERS)
def test_every_pixel_and_no_end_marker(options: dict[str, object], trailer: bytes) -> None:
    whole, notes = saved(NOISY, "JPEG", **options), list[str]()
    assert (decode(whole[:-2] + trailer, notes=notes) == decode(whole)).all()
    assert "without an end marker" in notes[0]
    notes.clear()
    decode(whole + SAMSUNG, notes=notes)
    assert not notes, "a trailer behind the end marker is nothing to speak of"


@pytest.mark.parametrize("options", KINDS)
@pytest.mark.parametrize("trailer", [*TRAILERS, END, END + SAMSUNG])
@pytest.mark.parametrize("share", [0.5, 0.9, 0.98])
def test_lacking_rows_are_refused(options: dict[str, object], trailer: bytes, share: float) -> None:
    whole = saved(NOISY, "JPEG", **options)
    if options.get("progressive") and trailer.startswith(END):
        pytest.skip("the last refinements of a progressive picture are missing, no pixel is")
    with pytest.raises(PhotoError) as caught:
        decode(whole[: int(len(whole) * share)] + trailer)
    assert caught.value.code == "truncated"


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_other_modes(mode: str) -> None:
    whole = saved(Image.fromarray(NOISY).convert(mode), "JPEG")
    assert (decode(whole[:-2]) == decode(whole)).all()
    with pytest.raises(PhotoError):
        decode(whole[: len(whole) // 2])
    with pytest.raises(PhotoError):
        decode(whole[: len(whole) // 2] + END)


def test_reduced_scale_too() -> None:
    whole = saved(NOISY, "JPEG")
    assert (decode(whole[:-2], 2) == decode(whole, 2)).all()
    with pytest.raises(PhotoError):
        decode(whole[: len(whole) * 3 // 4], 2)


def test_a_grey_corner_is_no_reason() -> None:
    grey = NOISY.copy()
    grey[-40:] = 128
    data = saved(grey, "JPEG")
    assert decode(data).shape == grey.shape
    assert decode(data[:-2]).shape == grey.shape


def test_scenes_of_flat_colour_without_end() -> None:
    for level in (0, 127, 128, 255):
        buffer = io.BytesIO()
        Image.new("RGB", (300, 300), (level,) * 3).save(buffer, "JPEG")
        assert decode(buffer.getvalue()[:-2]).shape == (300, 300, 3)


@pytest.mark.parametrize("name", ["no-end-marker.jpg", "no-end-marker-trailer.jpg"])
def test_samples(shared: Path, name: str) -> None:
    notes: list[str] = []
    assert decode((shared / "inputs" / name).read_bytes(), notes=notes).shape == (520, 418, 3)
    assert len(notes) == 1
