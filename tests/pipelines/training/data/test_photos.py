"""Training faces from folders and tars."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pipelines.errors import UsageError
from pipelines.training.data.augment import degrade
from pipelines.training.data.photos import FacePhotos, check_alignment
from pipelines.types import Face, U8Image


def jpeg(i: int, side: int = 32, wide: int = 0) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (side + wide, side), (i, 2 * i, 90)).save(buffer, "PNG")
    return buffer.getvalue()


def make_tar(path: Path, count: int) -> Path:
    with tarfile.open(path, "w") as archive:
        for i in range(count):
            info = tarfile.TarInfo(f"{i:03}.png")
            data = jpeg(i)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def test_a_tar_and_a_folder_hold_the_same_pictures(tmp_path: Path) -> None:
    folder = tmp_path / "faces" / "a"
    folder.mkdir(parents=True)
    for i in range(50):
        (folder / f"{i:03}.png").write_bytes(jpeg(i))
    packed, loose = FacePhotos([make_tar(tmp_path / "b.tar", 50)]), FacePhotos([tmp_path / "faces"])
    assert len(packed.train) + len(packed.held_out) == len(loose.train) + len(loose.held_out) == 50
    by_name = {file.key.split("/")[-1]: file.read() for file in packed.train}
    same = [file for file in loose.train if file.key.split("/")[-1] in by_name]
    assert len(same) > 40
    assert all(np.array_equal(file.read(), by_name[file.key.split("/")[-1]]) for file in same)
    assert same[0].read().shape == (256, 256, 3)


def test_batches_are_a_function_of_the_step(tmp_path: Path) -> None:
    photos = FacePhotos([make_tar(tmp_path / "b.tar", 50)])
    again = FacePhotos([tmp_path / "b.tar"])
    assert torch.equal(photos.batch(5, 4, 0), again.batch(5, 4, 0))
    assert not torch.equal(photos.batch(5, 4, 0), photos.batch(6, 4, 0))
    assert photos.digest() == again.digest()
    epoch = {float(face[0, 0, 0]) for step in range(7) for face in photos.batch(step, 7, 1)}
    assert len(epoch) == 49, "one epoch shows every face once"


def test_too_few_missing_or_odd_data(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="at least 40"):
        FacePhotos([make_tar(tmp_path / "few.tar", 10)])
    with pytest.raises(UsageError, match="does not exist"):
        FacePhotos([tmp_path / "nowhere"])
    (tmp_path / "odd.tar").write_bytes(b"not a tar" * 200)
    with pytest.raises(UsageError, match="neither a folder nor a plain"):
        FacePhotos([tmp_path / "odd.tar"])


def test_a_bad_or_unsquare_picture_is_named(tmp_path: Path) -> None:
    for i in range(41):
        (tmp_path / f"{i:03}.png").write_bytes(jpeg(i))
    photos = FacePhotos([tmp_path])
    Path(photos.train[3].path).write_bytes(b"broken")
    with pytest.raises(UsageError, match=photos.train[3].key):
        photos.train[3].read()
    Path(photos.train[4].path).write_bytes(jpeg(1, wide=9))
    with pytest.raises(UsageError, match="not square"):
        photos.train[4].read()


def test_photos_are_read_as_inference_reads_them(tmp_path: Path) -> None:
    for i in range(40):
        (tmp_path / f"{i:03}.png").write_bytes(jpeg(i))
    upper = Image.new("RGB", (64, 64))
    upper.paste((255, 255, 255), (0, 0, 64, 32))
    exif = Image.Exif()
    exif[0x0112] = 3  # lying on its head
    upper.save(tmp_path / "turned.jpg", exif=exif)
    photos = FacePhotos([tmp_path])
    [file] = [f for f in [*photos.train, *photos.held_out] if "turned" in f.key]
    seen = file.read()
    assert seen[:100].max() < 30
    assert seen[-100:].min() > 220


class Finder:
    name, version = "fake", "1"

    def __init__(self, faces: list[Face]) -> None:
        self.faces = faces

    def find(self, image: U8Image) -> list[Face]:
        return self.faces


def test_faceless_or_unaligned_data_is_refused(tmp_path: Path) -> None:
    photos = FacePhotos([make_tar(tmp_path / "b.tar", 45)])
    with pytest.raises(UsageError, match="no face"):
        check_alignment(photos, Finder([]), 4)
    corner = Face((0, 0, 40, 40), 1.0, (np.random.default_rng(0).random((68, 2)) * 30).astype(np.float32))
    with pytest.raises(UsageError, match="not placed"):
        check_alignment(photos, Finder([corner]), 4)


def test_damage_is_seeded_and_keeps_the_range() -> None:
    faces = torch.rand(6, 3, 64, 64) * 2 - 1
    first, second = (degrade(faces, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(first, second)
    assert not torch.equal(first, degrade(faces, torch.Generator().manual_seed(4)))
    assert first.shape == faces.shape
    assert float(first.abs().max()) <= 1
    assert float((first - faces).abs().mean()) > 0.01
