"""Real aligned faces for training: folders and tars, read one picture at a time, with a held-out part."""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pipelines.errors import PhotoError, UsageError
from pipelines.images.decode import IMAGE_SUFFIXES, decode
from pipelines.stages.align.aligner import ALIGNED_LIMIT, locate, misalignment
from pipelines.types import F32Array, FaceFinder, U8Image

SIDE = 256
HELD_OUT_ONE_IN = 40
LEAST = 40  # fewer faces than this are learnt by heart


@dataclass(frozen=True)
class FaceFile:
    """One picture: a file of its own (size -1), or the bytes `offset`..`offset + size` of a tar."""

    key: str
    path: str
    offset: int = 0
    size: int = -1

    def read(self) -> U8Image:
        """uint8 256 x 256 x 3, sRGB and upright, as inference reads photos; other squares are resized (Lanczos).

        Raises:
            UsageError: the file cannot be read as a picture, or is not square.
        """
        try:
            with open(self.path, "rb") as file:
                file.seek(self.offset)
                picture = decode(file.read(self.size))
        except (OSError, PhotoError) as error:
            raise UsageError(f"the training face '{self.key}' in {self.path} cannot be read ({error})") from None
        height, width = picture.shape[:2]
        if width != height:
            raise UsageError(f"the training face '{self.key}' is not square: align the photos first (ganinv align)")
        if width == SIDE:
            return picture
        return np.array(Image.fromarray(picture).resize((SIDE, SIDE), Image.Resampling.LANCZOS))


class FacePhotos:
    """The training faces and, apart from them, those held out for validation (one in forty, chosen by key)."""

    def __init__(self, sources: Sequence[Path]) -> None:
        """List every picture of folders and tars; nothing is decoded.

        Raises:
            UsageError: a source is missing, is no folder or tar, or there are too few pictures.
        """
        files = sorted((file for source in sources for file in _list(source)), key=lambda file: (file.key, file.path))
        if len(files) < LEAST:
            raise UsageError(f"the training data holds {len(files)} pictures: give at least {LEAST} aligned faces")
        chosen = {id(file) for file in sorted(files, key=_lot)[: max(1, len(files) // HELD_OUT_ONE_IN)]}
        self.train = [file for file in files if id(file) not in chosen]
        self.held_out = [file for file in files if id(file) in chosen]

    def digest(self) -> str:
        """Names of the whole set, hashed: a run that goes on must see the same one."""
        names = "\n".join(f"{file.key} {file.size}" for file in (*self.train, *self.held_out))
        return hashlib.sha256(names.encode()).hexdigest()[:16]

    def batch(self, step: int, count: int, seed: int) -> Tensor:
        """Faces of one step, count x 3 x 256 x 256 in [-1, 1]; every epoch has an order of its own, half are mirrored.

        A function of its arguments alone: a run that goes on sees what an undisturbed one sees.
        """
        pictures = []
        for place in range(step * count, (step + 1) * count):
            epoch, index = divmod(place, len(self.train))
            order = np.random.default_rng((seed, 1, epoch)).permutation(len(self.train))
            picture = self.train[order[index]].read()
            mirrored = np.random.default_rng((seed, 2, place)).random() < 0.5
            pictures.append(picture[:, ::-1] if mirrored else picture)
        return as_tensor(pictures)

    def validation(self, count: int) -> Tensor:
        """The first `count` held-out faces, n x 3 x 256 x 256 in [-1, 1]."""
        return as_tensor([file.read() for file in self.held_out[:count]])


def as_tensor(pictures: Sequence[U8Image]) -> Tensor:
    """uint8 pictures -> n x 3 x H x W float32 in [-1, 1]."""
    stacked = np.stack([np.ascontiguousarray(picture) for picture in pictures])
    return torch.from_numpy(stacked).permute(0, 3, 1, 2).float() / 127.5 - 1


def check_alignment(photos: FacePhotos, finder: FaceFinder, count: int = 48) -> F32Array:
    """Look at some of the faces; returns their mean landmarks, 68 x 2 in shares of the side.

    Raises:
        UsageError: faces are missing in most of them, or they are not placed as FFHQ places faces.
    """
    spread = np.linspace(0, len(photos.train) - 1, min(count, len(photos.train))).astype(int)
    seen = [locate(photos.train[i].read(), finder) for i in spread]
    off = [misalignment(landmarks) for landmarks in seen]
    if np.mean(np.isinf(off)) > 0.5:
        raise UsageError("no face is found in most of the training pictures: give aligned face photos (ganinv align)")
    good = [landmarks for landmarks, value in zip(seen, off, strict=True) if value <= ALIGNED_LIMIT]
    if len(good) < len(seen) / 2:
        raise UsageError("most training faces are not placed as the generator expects: run ganinv align on them first")
    mean: F32Array = np.mean(good, axis=0).astype(np.float32)
    return mean


def _lot(file: FaceFile) -> str:
    return hashlib.sha256(file.key.encode()).hexdigest()


def _list(source: Path) -> list[FaceFile]:
    if source.is_dir():
        found = [path for path in source.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file()]
        return [FaceFile(path.relative_to(source).as_posix(), str(path)) for path in found]
    if not source.is_file():
        raise UsageError(f"the training data '{source}' does not exist; give a folder or a .tar of aligned faces")
    try:
        with tarfile.open(source, "r:") as archive:
            members = [
                member for member in archive if member.isreg() and member.name.lower().endswith(tuple(IMAGE_SUFFIXES))
            ]
    except tarfile.TarError as error:
        raise UsageError(f"'{source}' is neither a folder nor a plain .tar ({error})") from None
    return [FaceFile(f"{source.stem}/{m.name}", str(source), m.offset_data, m.size) for m in members]
