"""`Batcher`: batches of faces through the device chain, codes on disk used again where they still hold."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from pipelines.edits import Edit
from pipelines.engine.types import Change, FaceJob, OutFile, Result
from pipelines.errors import PhotoError
from pipelines.images.animation import sweep
from pipelines.images.fetch import fetch, finite, levels, shares
from pipelines.images.pixels import encode, resize_u8
from pipelines.images.png import png_bytes
from pipelines.records.latents import load_inversion, save_inversion
from pipelines.records.manifest import fingerprint
from pipelines.records.outputs import ANIMATION, CODES, INVERSION, LATENTS, MASKS, Output, file_name, mask_of
from pipelines.stages.align.crops import face_batch
from pipelines.stages.chain import Chain
from pipelines.stages.presence import FaceWatch
from pipelines.types import FaceBatch, Failure, Inversion

Item = tuple[FaceJob, Inversion | None]  # a face, and its codes where they are on disk and current


@dataclass(frozen=True)
class ChainSettings:
    """What `Batcher` needs to know of a run.

    Attributes:
        edits: all edits of the run; an item gets those that it lacks.
        batch_size: faces per pass.
        seed: of the chain's random numbers, set before every batch.
        codes: what decides codes (generator, embedder, refiner, weights), hashed; with the crop's pixels it says whether
            codes on disk are current. Of several the first is written, the others are how versions before hashed it.
        folders: where codes may be found, first match first.
        composed: edits are made from the photo itself, and say where they differ from it; else they are compared with
            the inversion when they are pasted, so that what the inversion lost does not count.
    """

    edits: tuple[Edit, ...]
    batch_size: int
    seed: int
    codes: tuple[str, ...]
    folders: tuple[Path, ...] = ()
    composed: bool = False


@dataclass(frozen=True)
class _Made:
    """A batch on the host: n x H x W x 3 pictures and n x H x W masks by their kinds, all uint8; n booleans: lost edits."""

    sound: Tensor
    inversion: Inversion
    pictures: Mapping[str, Tensor]
    masks: Mapping[str, Tensor]
    lost: Mapping[str, Tensor]
    ms: Mapping[str, float]
    notes: Sequence[Mapping[str, float]]


class Batcher:
    """`invert` and `edit`. The chain is built when the first face arrives, after the decoders have been forked.

    Args:
        make_chain: builds the chain on its device.
        device: where tensors go.
        settings: see `ChainSettings`.
        watch: looks for the face in edits beyond their measured range; None: nobody does.

    Attributes:
        stale: how many codes were found on disk but made anew, since pixels, method or weights differ.
        missed: an edit's name -> how many faces were not brought as far as it asks.
        chain: the chain, once built.
    """

    def __init__(
        self,
        make_chain: Callable[[], Chain],
        device: torch.device,
        settings: ChainSettings,
        watch: FaceWatch | None = None,
    ) -> None:
        self.stale = 0
        self.missed: Counter[str] = Counter()
        self.chain: Chain | None = None
        self._make_chain = make_chain
        self._device = device
        self._settings = settings
        self._watch = watch
        self._batch_size = settings.batch_size
        self._waiting: dict[object, list[Item]] = {}  # until they fill a batch, by what can be computed together

    def put(self, face: FaceJob) -> Iterator[Result]:
        """Gives a batch's results when `face` completes it."""
        codes = self._codes_on_disk(face)
        kind = None if codes is None else codes.like()
        waiting = self._waiting.setdefault(kind, [])
        waiting.append((_with_codes(face) if codes is None else face, codes))
        if len(waiting) >= self._batch_size:
            yield from self._run(self._waiting.pop(kind))

    def flush(self) -> Iterator[Result]:
        """The last, partly filled batches."""
        while self._waiting:
            yield from self._run(self._waiting.popitem()[1])

    def _run(self, items: list[Item]) -> Iterator[Result]:
        """One pass; out of memory halves it (and every later one), another trouble is narrowed down to its face."""
        results: Iterable[Result]
        try:
            results = self._pass(items)
        except PhotoError as error:
            results = self._narrowed(items, Failure("invert", error.code, error.message))
        except Exception as error:
            if _is_out_of_memory(error):
                results = self._halved(items)
            elif items[0][1] is not None:  # codes that say the right things and are of another shape all the same
                self.stale += len(items)
                results = self._run([(_with_codes(face), None) for face, _ in items])
            else:
                raise
        yield from results

    def _halved(self, items: list[Item]) -> Iterator[Result]:
        self._batch_size = max(1, min(self._batch_size, len(items) // 2))
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
        message = "one face does not fit the device's memory; try --device cpu"
        return self._narrowed(items, Failure("invert", "out-of-memory", message))

    def _narrowed(self, items: list[Item], trouble: Failure) -> Iterator[Result]:
        if len(items) == 1:
            yield _failed(items[0][0], trouble)
            return
        half = len(items) // 2
        yield from self._run(items[:half])
        yield from self._run(items[half:])

    def _pass(self, items: list[Item]) -> list[Result]:
        faces, codes = [face for face, _ in items], [codes for _, codes in items if codes is not None]
        self.chain = chain = self.chain or self._make_chain()
        batch = face_batch([face.face for face in faces], chain.resolution).to(self._device)
        torch.manual_seed(self._settings.seed)
        started = time.perf_counter()
        inversion = Inversion.cat(codes).to(self._device) if codes else chain.invert(batch).stored()
        ms = {} if codes else {"invert": 1e3 * (time.perf_counter() - started) / len(faces)}
        alike: dict[frozenset[str], list[int]] = {}  # with a plan, or after an earlier run, faces lack different edits
        for place, face in enumerate(faces):
            alike.setdefault(face.edits, []).append(place)
        results = list[Result]()
        for places in alike.values():
            chosen = [faces[place] for place in places]
            at = slice(None) if len(alike) == 1 else torch.tensor(places)
            made = self._made(chain, chosen, batch[at], inversion[at], ms)
            results += [self._result(face, place, made) for place, face in enumerate(chosen)]
        return results

    def _made(
        self, chain: Chain, faces: list[FaceJob], batch: FaceBatch, inversion: Inversion, ms: Mapping[str, float]
    ) -> _Made:
        """The pictures of faces that lack the same edits, on the host."""
        started = time.perf_counter()
        made = chain.edit(batch, inversion, [edit for edit in self._settings.edits if edit.name in faces[0].edits])
        self.missed.update(made.missed)
        if made.base.shape != batch.images.shape:
            raise ValueError("the codes make pictures of another size")
        asked = {output.kind for face in faces for output in face.missing}
        masked = {name for name in made.edits if self._settings.composed or mask_of(name) in asked}
        images = {INVERSION: made.base, **{name: each.image for name, each in made.edits.items()}}
        away = {("sound", ""): finite(inversion.latents, *images.values())}
        away |= {("picture", kind): levels(each) for kind, each in images.items()}
        away |= {("mask", name): shares(made.edits[name].mask) for name in masked}
        away |= {("lost", name): each.lost for name, each in made.edits.items() if each.lost is not None}
        drawn = {name: each.drawn for name, each in made.edits.items() if each.drawn is not None and self._watch}
        away |= {("drawn", name): levels(each) for name, each in drawn.items()}
        count = len(faces) if LATENTS in asked else 0
        stored = [tensor[:count].to(how.disk) if how.disk else tensor for how, _, tensor in inversion.tensors()]
        away |= {("stored", str(place)): tensor for place, tensor in enumerate(stored)}
        here = dict(zip(away, fetch(list(away.values())), strict=True))
        ms = {"edit": 1e3 * (time.perf_counter() - started) / len(faces), **ms}

        def of(group: str) -> dict[str, Tensor]:
            return {name: tensor for (each, name), tensor in here.items() if each == group}

        pictures, lost = of("picture"), of("lost")
        for name, small in of("drawn").items():
            assert self._watch is not None
            lost[name] = lost[name] | self._watch.lost(pictures[INVERSION], small)
        codes_here = list(of("stored").values())
        return _Made(here["sound", ""], inversion.holding(codes_here), pictures, of("mask"), lost, ms, made.notes)

    def _result(self, face: FaceJob, place: int, made: _Made) -> Result:
        if not made.sound[place]:
            message = "the result holds NaN or infinity; try another --method"
            return _failed(face, Failure("invert", "diverged", message))
        lost = [name for name, each in made.lost.items() if each[place]]
        key, files = face.record.key, list[OutFile]()
        for output in face.missing:
            kind, make = output.kind, None
            if set(output.edits) & set(lost):
                continue
            if kind in made.pictures:
                make = partial(encode, made.pictures[kind][place].numpy(), output.suffix[1:])
            elif kind == LATENTS:
                about = {"fingerprint": self._codes_fingerprints(face)[0], "source": face.record.digest}
                make = partial(bytes, save_inversion(made.inversion, place, about))
            elif kind == ANIMATION:
                frames = [made.pictures[edit][place].numpy() for edit in output.edits]
                make = partial(sweep, frames, "mp4" if output.suffix == ".mp4" else "webp")
            elif kind.startswith(MASKS):
                make = partial(png_bytes, made.masks[output.edits[0]][place].numpy()[:, :, None])
            if make is not None:
                files.append(OutFile(output, output.path(key, face.number), make))
        scores = {name: float(values[place]) for name, values in made.inversion.scores.items()}
        scores |= made.notes[place] if made.notes else {}
        record = replace(face.record, scores={**face.record.scores, **scores}, ms={**face.record.ms, **made.ms})
        if lost:
            message = f"no face is left at {', '.join(lost)}; choose a strength nearer to 0 (ranges: --list-attrs)"
            record = replace(record, status="failed", error=Failure("edit", "noise", message))
        return Result(record, tuple(files), place=face.place, changes=self._changes(face, place, made))

    def _changes(self, face: FaceJob, place: int, made: _Made) -> tuple[Change, ...]:
        """What is pasted into the face's photo."""
        if face.place is None:
            return ()
        base = made.pictures[INVERSION][place].numpy()
        original = resize_u8(face.face.crop, len(base), len(base)) if self._settings.composed else base
        changes = []
        for output in face.missing:
            if output.per != "photo" or not output.edits:
                continue
            edit = output.edits[0]
            if not (edit in made.lost and made.lost[edit][place]):
                mask = made.masks[edit][place].numpy() if self._settings.composed else None
                changes.append(Change(output, made.pictures[edit][place].numpy(), original, mask))
        return tuple(changes)

    def _codes_fingerprints(self, face: FaceJob) -> list[str]:
        return [fingerprint(face.face.pixels, codes, self._settings.seed) for codes in self._settings.codes]

    def _codes_on_disk(self, face: FaceJob) -> Inversion | None:
        """Current codes from the first folder that has them; damaged or stale ones are made again."""
        for folder in self._settings.folders:
            try:
                data = (folder / file_name(face.record.key, CODES)).read_bytes()
                inversion, about = load_inversion(data)
            except (FileNotFoundError, NotADirectoryError):
                continue
            except (OSError, PhotoError):
                self.stale += 1
                continue
            if about.get("fingerprint") in self._codes_fingerprints(face):
                return inversion
            self.stale += 1
        return None


def _with_codes(face: FaceJob) -> FaceJob:
    """The face with codes to be written, also where a file of them is there, which could not be used."""
    mark = face.record.prints.get(LATENTS)
    if mark is None:
        return face
    return replace(face, missing=(*face.missing, Output(LATENTS, "face", CODES, mark)))


def _failed(face: FaceJob, trouble: Failure) -> Result:
    return Result(replace(face.record, status="failed", error=trouble), place=face.place)


def _is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    text = str(error).lower() if isinstance(error, RuntimeError) else ""
    return "out of memory" in text or "can't allocate memory" in text
