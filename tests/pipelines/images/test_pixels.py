"""Tensors and back, resizing, encoding; files that are read or written whole or not at all."""

from __future__ import annotations

import builtins
import errno
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pipelines.errors import OutputError, PhotoError, UsageError
from pipelines.files import write_atomic
from pipelines.images.pixels import (
    IMAGE_SUFFIXES,
    decode,
    encode,
    read_photo,
    resize_area,
    resize_u8,
    to_tensor,
    to_uint8,
)
from pipelines.types import U8Image
from tests.fakes.photos import scene


def distance(image: U8Image, other: U8Image) -> int:
    assert image.shape == other.shape
    return int(np.abs(image.astype(int) - other).max())


def test_read_photo_says_what_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good = tmp_path / "a.jpg"
    good.write_bytes(b"x")
    assert read_photo(good) == b"x"
    os.mkfifo(tmp_path / "pipe.jpg")
    wrong = {"vanished": tmp_path / "gone.jpg", "not-a-file": tmp_path}
    for code, path in [*wrong.items(), ("not-a-file", tmp_path / "pipe.jpg"), ("vanished", good / "b.jpg")]:
        with pytest.raises(PhotoError, match=str(path)) as caught:
            read_photo(path)
        assert caught.value.code == code

    def denied(path: Path) -> bytes:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", denied)
    with pytest.raises(PhotoError, match="Permission denied") as caught:
        read_photo(good)
    assert caught.value.code == "unreadable"


def test_suffixes_cover_what_cameras_and_phones_write() -> None:
    assert {".jpg", ".jpeg", ".png", ".webp", ".heic", ".tif", ".avif", ".bmp", ".gif", ".jp2"} <= IMAGE_SUFFIXES
    assert all(suffix == suffix.lower() and suffix.startswith(".") for suffix in IMAGE_SUFFIXES)


def test_tensor_round_trip_is_exact_for_every_level() -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    images = [np.stack([levels, levels[::-1], levels.T], axis=2), scene(16, 16)]
    tensor = to_tensor(images)
    assert tensor.shape == (2, 3, 16, 16)
    assert tensor.dtype == torch.float32
    assert tensor.is_contiguous()
    assert (float(tensor.min()), float(tensor.max())) == (-1.0, 1.0)
    assert tensor[0, 0, 0, 1] == pytest.approx(1 / 127.5 - 1)
    assert all((back == image).all() for back, image in zip(to_uint8(tensor), images, strict=True))


def test_to_uint8_rounds_clamps_and_refuses_nan() -> None:
    tensor = torch.tensor([-7.0, -1.0, 0.0, 0.00384, 9.0, float("inf")]).view(1, 1, 1, 6).expand(1, 3, 1, 6)
    assert to_uint8(tensor)[0][0, :, 0].tolist() == [0, 0, 128, 128, 255, 255]
    with pytest.raises(ValueError, match="NaN"):
        to_uint8(torch.full((1, 3, 2, 2), float("nan")))


def test_to_tensor_refuses_mixed_sizes() -> None:
    with pytest.raises(ValueError, match="shape"):
        to_tensor([scene(16, 16), scene(18, 16)])


def test_resize_area_is_the_mean_of_each_cell() -> None:
    tensor = torch.rand(2, 3, 64, 64)
    expected = tensor.view(2, 3, 16, 4, 16, 4).mean((3, 5))
    torch.testing.assert_close(resize_area(tensor, 16), expected)
    assert resize_area(tensor, 64) is tensor


@pytest.mark.parametrize("size", [48, 100])
def test_resize_area_keeps_the_mean_and_does_not_alias(size: int) -> None:
    stripes = torch.arange(256).remainder(2).float().expand(1, 3, 256, 256) * 2 - 1
    small = resize_area(stripes, size)
    assert small.shape[-2:] == (size, size)
    assert float(small[..., 4:-4, 4:-4].abs().max()) < 0.2, (
        "the finest stripes must turn grey, not into coarser stripes"
    )


def test_pictures_that_cannot_be_shown_are_told_apart() -> None:
    large = torch.full((1, 3, 8, 8), 3.0e38)  # its sum is beyond float32, its levels are not
    assert (to_uint8(large)[0] == 255).all()
    assert (to_uint8(torch.full((1, 3, 8, 8), -torch.inf))[0] == 0).all()
    with pytest.raises(ValueError, match="NaN"):
        to_uint8(torch.full((1, 3, 8, 8), torch.nan))


@pytest.mark.parametrize("size", [(64, 64), (50, 30), (90, 110), (33, 17)])
def test_resizing_gives_pillows_levels(size: tuple[int, int]) -> None:
    image = scene(64, 64)
    turned = image[::-1, ::-1]
    turned.flags.writeable = False
    expected = np.array(Image.fromarray(turned).resize(size, Image.Resampling.LANCZOS))
    assert distance(resize_u8(turned, *size), expected) <= 2


def test_host_and_device_shrink_alike() -> None:
    image = scene(128, 128)
    device = to_uint8(resize_area(to_tensor([image]), 32))[0]
    assert distance(resize_u8(image, 32, 32), device) <= 1
    assert resize_u8(image, 50, 30).shape == (30, 50, 3)


def test_encode() -> None:
    assert distance(decode(encode(scene(), "png")), scene()) == 0
    for format in ("jpg", "webp"):
        data = encode(scene(), format)
        assert distance(decode(data), scene()) <= 12
        assert data == encode(scene(), format)
        assert len(encode(scene(), format, quality=30)) < len(data)
    with pytest.raises(UsageError, match="png, jpg, webp"):
        encode(scene(), "jpgg")


def test_write_atomic_replaces_and_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "new" / ("ü" * 100 + ".png")
    write_atomic(path, b"one", durable=True)
    write_atomic(path, b"two")
    assert path.read_bytes() == b"two"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(
    ("number", "words"),
    [(errno.ENOSPC, "disk is full"), (errno.EROFS, "read-only"), (errno.EACCES, "permission"), (errno.EIO, "error")],
)
def test_failed_write_keeps_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, words: str
) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"old")
    real_open = builtins.open

    class Failing:
        """A file that breaks at the first write, as a full disk does."""

        def __init__(self, file: object) -> None:
            self.file = file

        def __enter__(self) -> Failing:
            return self

        def __exit__(self, *trouble: object) -> None:
            self.file.close()  # type: ignore[attr-defined]

        def write(self, data: bytes) -> None:
            raise OSError(number, os.strerror(number))

    monkeypatch.setattr(builtins, "open", lambda *arguments: Failing(real_open(*arguments)))
    with pytest.raises(OutputError, match=words) as caught:
        write_atomic(path, b"new")
    monkeypatch.undo()
    assert str(path) in str(caught.value)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_write_below_a_file_is_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"")
    with pytest.raises(OutputError, match="cannot write"):
        write_atomic(tmp_path / "a" / "b.png", b"x")
