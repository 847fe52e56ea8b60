"""`ChainWork`: batches of faces through the device chain, codes on disk used again where they still hold."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pipelines.edits import Edit
from pipelines.engine.output.writer import OutFile, Result
from pipelines.engine.reading.reader import LoadedFace
from pipelines.engine.stage import WorkFace
from pipelines.errors import PhotoError
from pipelines.images.pixels import encode, resize_u8, to_tensor, to_uint8
from pipelines.records.latents import load_inversion, save_inversion
from pipelines.records.manifest import fingerprint
from pipelines.stages.chain import Chain
from pipelines.types import FaceBatch, Failure, Inversion, U8Image

Paster = Callable[[WorkFace, dict[str, U8Image]], tuple[OutFile, ...]]


@dataclass(frozen=True)
class ChainSettings:
    """What `ChainWork` needs to know of a run.

    Attributes:
        edits: all edits of the run; an item gets those that it lacks.
        format: of the pictures.
        batch_size: faces per pass.
        seed: of the chain's random numbers, set before every batch.
        codes: decides codes (generator, embedder, refiner, weights), hashed; with the crop's pixels it says whether
            codes on disk are current.
        folders: where codes may be found, first match first.
    """

    edits: tuple[Edit, ...]
    format: str
    batch_size: int
    seed: int
    codes: str
    folders: tuple[Path, ...] = ()


@dataclass
class _Waiting:
    """Faces of one kind (with or without current codes) until they fill a batch."""

    faces: list[WorkFace] = field(default_factory=list)
    codes: list[Inversion] = field(default_factory=list)


class ChainWork:
    """`invert` and `edit`. The chain is built when the first face arrives, after the decoders have been forked.

    Args:
        make_chain: builds the chain on its device.
        device: where tensors go.
        settings: see `ChainSettings`.
        paste: makes the files of pasted photos from an item's edited crops; None: no pasting.

    Attributes:
        stale: how many codes were found on disk but made anew, since pixels, method or weights differ.
        chain: the chain, once built.
    """

    def __init__(
        self,
        make_chain: Callable[[], Chain],
        device: torch.device,
        settings: ChainSettings,
        paste: Paster | None = None,
    ) -> None:
        self.stale = 0
        self.chain: Chain | None = None
        self._make_chain = make_chain
        self._device = device
        self._settings = settings
        self._paste = paste
        self._batch_size = settings.batch_size
        self._fresh, self._coded = _Waiting(), _Waiting()

    def put(self, face: WorkFace) -> Iterator[Result]:
        """Gives a batch's results when `face` completes it."""
        codes = self._codes_on_disk(face)
        waiting = self._coded if codes is not None else self._fresh
        if codes is not None:
            if waiting.codes and codes.like() != waiting.codes[0].like():
                yield from self._empty(waiting)
            waiting.codes.append(codes)
        waiting.faces.append(face)
        if len(waiting.faces) >= self._batch_size:
            yield from self._empty(waiting)

    def flush(self) -> Iterator[Result]:
        """The last, partly filled batches."""
        yield from self._empty(self._fresh)
        yield from self._empty(self._coded)

    def _empty(self, waiting: _Waiting) -> Iterator[Result]:
        faces, codes = waiting.faces, waiting.codes
        waiting.faces, waiting.codes = [], []
        if faces:
            yield from self._run(faces, codes)

    def _run(self, faces: list[WorkFace], codes: list[Inversion]) -> Iterator[Result]:
        """One pass; out of memory halves it (and every later one), another trouble is narrowed down to its face."""
        trouble: Failure | None = None
        try:
            results = self._pass(faces, codes)
        except PhotoError as error:
            trouble = Failure("invert", error.code, error.message)
        except (MemoryError, RuntimeError) as error:
            if not _is_out_of_memory(error):
                raise
            self._batch_size = max(1, min(self._batch_size, len(faces) // 2))
            trouble = Failure("invert", "out-of-memory", "one face does not fit the device's memory; try --device cpu")
        if trouble is None:
            yield from results
        elif len(faces) == 1:
            yield Result(replace(faces[0].record, status="failed", error=trouble))
        else:
            if trouble.code == "out-of-memory" and self._device.type == "cuda":
                torch.cuda.empty_cache()
            half = len(faces) // 2
            yield from self._run(faces[:half], codes[:half])
            yield from self._run(faces[half:], codes[half:])

    def _pass(self, faces: list[WorkFace], codes: list[Inversion]) -> list[Result]:
        chain = self._open()
        batch = self._batch(faces, chain.resolution)
        torch.manual_seed(self._settings.seed)
        started = time.perf_counter()
        inversion = Inversion.cat(codes).to(self._device) if codes else chain.invert(batch).stored()
        inverted = time.perf_counter()
        edits = self._edits(faces)
        made = chain.edit(batch, inversion, edits)
        sound = _finite(made.base, inversion.latents, *(made.edits[edit.name].image for edit in edits))
        tidy = to_uint8 if all(sound) else _without_nan
        pictures = {"inversion": tidy(made.base)}
        pictures |= {edit.name: tidy(made.edits[edit.name].image) for edit in edits}
        share = 1e3 / len(faces)
        ms = {"edit": share * (time.perf_counter() - inverted)}
        if not codes:
            ms["invert"] = share * (inverted - started)
        stored = inversion.to(torch.device("cpu"))
        return [self._result(face, i, sound[i], pictures, stored, ms) for i, face in enumerate(faces)]

    def _open(self) -> Chain:
        if self.chain is None:
            self.chain = self._make_chain()
        return self.chain

    def _batch(self, faces: list[WorkFace], resolution: int) -> FaceBatch:
        crops = [resize_u8(face.face.crop, resolution, resolution) for face in faces]
        landmarks = torch.from_numpy(np.stack([_landmarks(face.face) for face in faces]))
        return FaceBatch(to_tensor(crops), landmarks).to(self._device)

    def _edits(self, faces: list[WorkFace]) -> list[Edit]:
        """The edits that some face of the batch lacks (a pasted photo needs its edit's picture too)."""
        missing = {kind.removeprefix("photos/") for face in faces for kind in face.missing}
        return [edit for edit in self._settings.edits if edit.name in missing]

    def _result(
        self,
        face: WorkFace,
        place: int,
        sound: bool,
        pictures: dict[str, list[U8Image]],
        inversion: Inversion,
        ms: dict[str, float],
    ) -> Result:
        if not sound:
            failure = Failure("invert", "diverged", "the result holds NaN or infinity; try another --method")
            return Result(replace(face.record, status="failed", error=failure))
        key, own = face.record.key, {kind: images[place] for kind, images in pictures.items()}
        files = [
            OutFile(kind, f"{kind}/{key}.{self._settings.format}", partial(encode, image, self._settings.format))
            for kind, image in own.items()
            if kind in face.missing
        ]
        if "latents" in face.missing:
            about = {"fingerprint": self._codes_fingerprint(face), "source": face.record.digest}
            data = save_inversion(inversion, place, about)
            files.append(OutFile("latents", f"latents/{key}.safetensors", lambda: data))
        if self._paste is not None:
            files.extend(self._paste(face, own))
        scores = {name: float(values[place]) for name, values in inversion.scores.items()}
        record = replace(face.record, scores={**face.record.scores, **scores}, ms={**face.record.ms, **ms})
        return Result(record, tuple(files))

    def _codes_fingerprint(self, face: WorkFace) -> str:
        return fingerprint(face.face.pixels, self._settings.codes, self._settings.seed)

    def _codes_on_disk(self, face: WorkFace) -> Inversion | None:
        """Current codes from the first folder that has them; damaged or stale ones are made again."""
        for folder in self._settings.folders:
            try:
                data = (folder / f"{face.record.key}.safetensors").read_bytes()
                inversion, about = load_inversion(data)
            except FileNotFoundError:
                continue
            except (OSError, PhotoError):
                self.stale += 1
                continue
            if about.get("fingerprint") == self._codes_fingerprint(face):
                return inversion
            self.stale += 1
        return None


def _landmarks(face: LoadedFace) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    if face.landmarks is None:
        return np.full((68, 2), np.nan, np.float32)
    return np.asarray(face.landmarks, np.float32)


def _finite(*tensors: Tensor) -> list[bool]:
    """Per face: whether every number is finite (one that is not leaves no sum finite)."""
    checks = [tensor.flatten(1).sum(1).isfinite() for tensor in tensors]
    return torch.stack(checks).all(0).tolist()


def _without_nan(images: Tensor) -> list[U8Image]:
    """For batches in which some face diverged: the others' pictures are wanted all the same."""
    return to_uint8(torch.nan_to_num(images))


def _is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    text = str(error).lower()
    return "out of memory" in text or "can't allocate memory" in text
