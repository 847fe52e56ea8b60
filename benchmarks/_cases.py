"""The measured ways of doing the work, each a function that runs in a process of its own and gives `Figures`."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch

from benchmarks._books import books, usual_record
from benchmarks._ffhq import FullSizeFinder, ffhq_align
from benchmarks._figures import Figures, finish_times, rate_of, shared_out, stage_means, steady_rate
from benchmarks._inputs import camera_photos, generated_faces
from benchmarks._naive import naive_edit, plain_png
from benchmarks._settings import Settings, open_store
from pipelines.api import align, edit
from pipelines.devices import device_names
from pipelines.engine.events import RunSummary
from pipelines.images.decode import decode
from pipelines.images.pixels import encode, resize_u8, to_tensor
from pipelines.records.manifest import Record, read_manifest
from pipelines.specs import AlignSpec
from pipelines.stages.align.aligner import locate
from pipelines.stages.align.detectors import LANDMARKS, build_locator
from pipelines.stages.build import build_chain, plan_chain
from pipelines.stages.chain import Chain
from pipelines.types import FaceBatch

DEVICE_STAGES = ("invert", "edit")


def inputs(s: Settings) -> Figures:
    """Makes the photos that are not there yet: generated faces, and a portrait at a camera's size."""
    if not Path(s.faces).exists():
        generated_faces(_chain(s).generator, Path(s.faces), s.photos, s.seed)
    if not Path(s.raw).exists():
        portrait = open_store().path("sample-astronaut").read_bytes()
        camera_photos(portrait, Path(s.raw), s.raw_photos, s.megapixels)
    return Figures(0, 0.0)


def generator_alone(s: Settings) -> Figures:
    """The generator's forward and nothing else: as many pictures as the edits of `photos` faces need."""
    chain, device = _chain(s), s.torch_device()
    spec, batch = s.spec("generator"), s.batch()
    z = torch.randn(batch, 512, generator=torch.Generator().manual_seed(s.seed)).to(device)
    with torch.no_grad():
        w = chain.generator.map(z)

    def one() -> None:
        with torch.no_grad():
            for _ in range(1 + len(spec.edits)):
                chain.generator.synthesize(w)

    return _repeated(one, s.photos, batch, device)


def models_alone(s: Settings) -> Figures:
    """Invert and edit on tensors that lie on the device already: the same chain, batch and device as the stream's."""
    chain, device, batch, spec = _chain(s), s.torch_device(), s.batch(), s.spec("models")
    find = partial(locate, finder=build_locator(open_store()))
    paths = s.face_paths()[:batch]
    crops = [resize_u8(decode(path.read_bytes()), chain.resolution, chain.resolution) for path in paths]
    images = to_tensor(crops).to(device)
    landmarks = torch.from_numpy(np.stack([find(crop) for crop in crops])).to(device)
    faces = FaceBatch(images, landmarks)

    def one() -> None:
        torch.manual_seed(s.seed)
        chain.edit(faces, chain.invert(faces).stored(), spec.edits)

    return _repeated(one, s.photos, len(paths), device)


def stream(s: Settings, processes: int = 0) -> Figures:
    """`ganinv edit` on aligned faces, files and manifest included; `processes` > 0: so many on the CPU."""
    name = f"stream-{processes}"
    spec = s.spec(name, f"cpu:{processes}" if processes else None)
    return of_run(edit(spec, open_store()), spec, len(device_names(spec.device)), s.batch_on(spec.device))


def naive(s: Settings, plain: bool = False) -> Figures:
    """The research script's loop through the same models, one photo at a time; `plain`: with Pillow's own PNG."""
    chain, device, spec = _chain(s), s.torch_device(), s.spec("naive")
    find = partial(locate, finder=build_locator(open_store()))
    save = plain_png if plain else partial(encode, format=spec.format)
    suffix = "png" if plain else spec.format
    seconds = naive_edit(chain, device, find, s.face_paths(), spec.output, spec.edits, save, suffix, s.seed)
    return Figures(len(seconds) - 1, rate_of(seconds), gpu_mb=_gpu_mb(device))


def align_stream(s: Settings) -> Figures:
    """`ganinv align` on camera photos, on one core."""
    _on_one_core()
    output = Path(s.work) / "aligned"
    spec = AlignSpec(input=Path(s.raw), output=output, num_workers=0, device="cpu", format="png", limit=s.raw_photos)
    return of_run(align(spec, open_store()), spec, 1, 1)


def align_as_ffhq(s: Settings) -> Figures:
    """FFHQ's own procedure on the same photos, on one core."""
    _on_one_core()
    finder = FullSizeFinder(open_store().path(LANDMARKS))
    seconds = ffhq_align(finder, s.raw_paths(), Path(s.work) / "ffhq")
    return Figures(len(seconds) - 1, rate_of(seconds))


def bookkeeping(s: Settings) -> Figures:
    """Listing and manifest alone (`benchmarks._books`), with records of the stream's size where it was measured."""
    records = read_manifest(Path(s.work) / "stream-0")
    return books(Path(s.work) / "books", s.records, next(iter(records.values()), usual_record(s.attr)))


def of_run(summary: RunSummary, spec: AlignSpec, processes: int, warm: int) -> Figures:
    """What a finished run's folder says; ValueError where not one item of each process came after its first batch."""
    if summary.failed or not summary.complete:
        raise ValueError(f"the measured run failed: {summary.failures or summary.warnings}")
    records = read_manifest(spec.output)
    ended = finish_times(spec.output, records)
    shares = shared_out(ended, processes)
    rate = steady_rate([[ended[key] for key in share] for share in shares], warm)
    timed = [key for share in shares for key in sorted(share, key=ended.__getitem__)[warm:]]
    return Figures(
        photos=len(timed),
        rate=rate,
        whole=len(ended) / summary.seconds,
        gpu_mb=_gpu_mb(torch.device("cuda")) if torch.cuda.is_available() else 0.0,
        stages=stage_means(records[key] for key in timed),
        facts=_sizes(spec.output, records),
    )


def _sizes(output: Path, records: dict[str, Record]) -> dict[str, float]:
    """Of the first record: bytes of its kinds of file, photo and manifest line; of its pictures, their number, mean bytes by
    format, and the milliseconds that one takes to encode now that nothing else runs."""
    record = next(iter(records.values()))
    files = {kind: output / path for kind, path in record.outputs.items()}
    facts = {f"{kind} bytes": float(path.stat().st_size) for kind, path in files.items()}
    facts |= {"photo bytes": float(Path(record.source).stat().st_size), "record bytes": float(len(record.to_line()))}
    pictures = [path for kind, path in files.items() if kind != "latents"]
    for name in ("png", "jpg", "webp"):
        facts[name] = float(np.mean([len(encode(decode(path.read_bytes()), name)) for path in pictures]))
    facts["pictures"], picture, started = float(len(pictures)), decode(pictures[0].read_bytes()), time.perf_counter()
    encode(picture, pictures[0].suffix[1:])
    return {**facts, "encode ms": 1e3 * (time.perf_counter() - started)}


def _chain(s: Settings) -> Chain:
    store = open_store()
    return build_chain(plan_chain(s.spec("chain"), store), store, s.torch_device())


def _repeated(one: Callable[[], None], photos: int, batch: int, device: torch.device) -> Figures:
    """Times `one`, which does a batch, until `photos` are done; one more goes before, unmeasured."""
    seconds = []
    for _ in range(1 + max(1, photos // batch)):
        _wait(device)
        started = time.perf_counter()
        one()
        _wait(device)
        seconds.append(time.perf_counter() - started)
    return Figures((len(seconds) - 1) * batch, batch * rate_of(seconds), gpu_mb=_gpu_mb(device))


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def _gpu_mb(device: torch.device) -> float:
    return torch.cuda.max_memory_allocated(device) / 2**20 if device.type == "cuda" else 0.0


def _on_one_core() -> None:
    """Binds this process, and those that it starts, to one core, where the system can; torch has counted them before."""
    torch.set_num_threads(1)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


CASES: dict[str, Callable[[Settings], Figures]] = {
    "inputs": inputs,
    "generator": generator_alone,
    "models": models_alone,
    "stream": stream,
    "naive": naive,
    "naive-plain": partial(naive, plain=True),
    "align": align_stream,
    "align-ffhq": align_as_ffhq,
    "books": bookkeeping,
}


def case(name: str) -> Callable[[Settings], Figures]:
    """The way called `name`; ``cpu:N`` is the stream over N processes."""
    return partial(stream, processes=int(name[4:])) if name.startswith("cpu:") else CASES[name]
