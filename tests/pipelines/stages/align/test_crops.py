"""Large JPEGs are decoded at a reduced scale where no pixel that counts is lost, and only there."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.engine.reading import reader as reader_module
from pipelines.engine.reading.reader import PhotoReader
from pipelines.engine.types import Task
from pipelines.errors import PhotoError
from pipelines.images.decode import decode
from pipelines.images.geometry import side
from pipelines.records.photos import Origin, Photo
from pipelines.stages.align.aligner import Aligner
from pipelines.stages.align.crops import DetectedCrops, ExistingCrops, LoadedFace, least_side, pixel_digest, reduction
from pipelines.types import Face, U8Image
from tests.fakes.photos import saved

SIZE = 128


@pytest.fixture(scope="module")
def portrait(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A JPEG of 2600 x 2000 px with soft colours and fine grey detail; turned by EXIF."""
    coarse = np.random.default_rng(0).integers(0, 200, (50, 65, 3), dtype=np.uint8)
    fine = np.random.default_rng(1).integers(0, 50, (500, 650), dtype=np.uint8)
    big = np.asarray(Image.fromarray(coarse).resize((2600, 2000), Image.Resampling.BICUBIC)).astype(np.int16)
    big += np.asarray(Image.fromarray(fine).resize((2600, 2000), Image.Resampling.BICUBIC))[:, :, None]
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path_factory.mktemp("photos") / "a.jpg"
    picture = Image.fromarray(np.clip(big, 0, 255).astype(np.uint8))
    path.write_bytes(saved(picture, "JPEG", quality=92, exif=exif))
    return str(path)


@dataclass
class Finder:
    """Finds one upright face in the middle; `span` is the distance between its eyes as a share of the width."""

    span: float
    name: str = "fake"
    version: str = "1"
    searched: list[tuple[int, int]] = field(default_factory=list)

    def find(self, image: U8Image) -> list[Face]:
        height, width = image.shape[:2]
        self.searched.append((width, height))
        step = self.span * width
        middle = np.array([width / 2 - 0.5, height / 2 - 0.5])
        shares = np.array([[-0.5, 0], [0.5, 0], [0, 0.5], [-0.4, 1.0], [0.4, 1.0]])
        points = (middle + shares * step).astype(np.float32)
        return [Face((0.0, 0.0, 1.0, 1.0), 1.0, points)]


def searched(finder: Finder, size: int | None = SIZE) -> DetectedCrops:
    aligner = Aligner(finder, size=SIZE)

    def align(picture: U8Image, thorough: bool) -> list[LoadedFace]:
        faces = aligner(picture, thorough)
        return [LoadedFace(face.crop, face.quad, pixels=pixel_digest(face.crop)) for face in faces]

    return DetectedCrops(align, size)


def loaded(source: DetectedCrops | ExistingCrops, photo: Photo) -> LoadedFace:
    result = PhotoReader(source)(Task(0, photo))
    assert result.failure is None
    return result.faces[0]


def test_a_large_face_comes_from_a_reduced_decode_and_looks_the_same(portrait: str) -> None:
    finder = Finder(0.2)
    face = loaded(searched(finder), Photo("a", portrait))
    assert finder.searched == [(1000, 1300)]
    whole = loaded(searched(finder, None), Photo("a", portrait))
    assert finder.searched[1:] == [(2000, 2600)]
    assert face.quad is not None
    assert whole.quad is not None
    assert side(whole.quad) >= 2 * least_side(SIZE)
    np.testing.assert_allclose(face.quad, whole.quad, atol=1e-2)
    error = np.mean((face.crop.astype(float) - whole.crop) ** 2)
    assert 10 * math.log10(255**2 / error) > 45


def test_a_small_face_comes_from_the_whole_photo(portrait: str) -> None:
    finder = Finder(0.05)
    face = loaded(searched(finder), Photo("a", portrait))
    assert finder.searched == [(1000, 1300), (2000, 2600)]
    whole = loaded(searched(finder, None), Photo("a", portrait))
    assert (face.quad, face.pixels) == (whole.quad, whole.pixels)


def test_no_face_in_the_reduced_photo_means_one_more_look(portrait: str) -> None:
    class Shy(Finder):
        def find(self, image: U8Image) -> list[Face]:
            found = super().find(image)
            return found if max(image.shape) > 2000 else []

    assert loaded(searched(Shy(0.2)), Photo("a", portrait)).quad is not None
    blind = PhotoReader(searched(Finder(0.0)))(Task(0, Photo("a", portrait)))
    assert blind.failure is not None
    assert blind.failure.code == "no-face"


def test_landmarks_are_searched_where_somebody_wants_them(tmp_path: Path) -> None:
    crop = str(tmp_path / "a.png")
    Image.new("RGB", (SIZE, SIZE)).save(crop)
    for trusted, check, wanted, searches in (
        (True, True, False, 0),
        (False, False, False, 0),
        (False, True, False, 1),
        (True, True, True, 1),
    ):
        finder = Finder(0.2)
        face = loaded(ExistingCrops(SIZE, finder, check, landmarks=wanted), Photo("a", crop, trusted=trusted))
        assert len(finder.searched) == searches
        assert (face.landmarks is None) == (searches == 0)
        assert ("misalignment" in face.scores) == (check and not trusted)


@pytest.mark.parametrize("span", [0.2, 0.05])
def test_a_face_that_is_cut_again_has_the_same_pixels(portrait: str, span: float) -> None:
    face = loaded(searched(Finder(span)), Photo("a", portrait))
    assert face.quad is not None
    result = PhotoReader(searched(Finder(span)))(Task(0, Photo("a", portrait)))
    cut = Origin(portrait, result.digest, face.quad)
    again = loaded(ExistingCrops(SIZE, Finder(0.2), check=False), Photo("a", portrait, cut=cut))
    assert (again.quad, again.pixels) == (face.quad, face.pixels)


def test_only_large_jpegs_and_small_targets_are_reduced(portrait: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert reduction(4000, 3000, 256) == 2
    assert reduction(4000, 3000, 1024) == 1, "a 1024 px crop needs the pixels"
    assert reduction(16320, 12240, 1024) == 2
    assert reduction(16320, 12240, 256) == 8
    assert reduction(1024, 1024, 256) == 1
    given = ExistingCrops(SIZE, Finder(0.2), check=False)
    assert given.shrink(Photo("a", portrait), 4096, 4096) == 4
    small = Origin(portrait, "", ((0, 0), (0, 900), (900, 900), (900, 0)))
    assert given.shrink(Photo("a", portrait, cut=small), 4000, 3000) == 1
    scales: list[int] = []

    def noting(data: bytes, shrink: int = 1, notes: list[str] | None = None) -> U8Image:
        scales.append(shrink)
        return decode(data, shrink, notes)

    monkeypatch.setattr(reader_module, "decode", noting)
    png = Photo("b", portrait.replace("a.jpg", "b.png"))
    Image.new("RGB", (2100, 2100)).save(png.path)
    PhotoReader(searched(Finder(0.2)))(Task(0, png))
    PhotoReader(searched(Finder(0.2), None))(Task(0, Photo("a", portrait)))
    assert scales == [1, 1]
    PhotoReader(searched(Finder(0.2)))(Task(0, replace(png, path=portrait)))
    assert scales == [1, 1, 2]


def test_a_cut_off_jpeg_is_refused_at_every_scale(portrait: str) -> None:
    data = open(portrait, "rb").read()  # noqa: SIM115
    for shrink in (1, 2, 4, 8):
        with pytest.raises(PhotoError) as caught:
            decode(data[: len(data) // 2], shrink)
        assert caught.value.code == "truncated"
