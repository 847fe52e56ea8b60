"""From a run's options to its chain: first the plan, which loads nothing, then the parts on a device."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from pipelines.devices import keep_freed_memory
from pipelines.edits import Aim, Edit
from pipelines.errors import UsageError
from pipelines.metrics.attributes import METER, attribute_meter
from pipelines.registry import Entry
from pipelines.specs import EditSpec, InvertSpec
from pipelines.stages.chain import Chain
from pipelines.stages.edit.amounts import VERSION as AMOUNTS_VERSION
from pipelines.stages.edit.amounts import Amounts, plain
from pipelines.stages.edit.direction_files import read_directions
from pipelines.stages.edit.direction_set import DirectionEditor, DirectionSet
from pipelines.stages.edit.directions import Scale, measured_scales, own_directions
from pipelines.stages.entry import Parts, compensators, composers, hashes, identity, refiners
from pipelines.stages.fitting import Fitting
from pipelines.stages.methods import QUALITIES, Method, chosen_parts
from pipelines.stages.preview import preview_of
from pipelines.stages.published import embedder_entry, generator_entry
from pipelines.types import Compensator, Composer, Embedder, Generator, Refiner
from pipelines.weights.store import WeightStore


@dataclass(frozen=True)
class ChainPlan:
    """What a run needs and what decides its results, known without loading a model; made once, and sent to workers.

    Attributes:
        method: the parts' names.
        generator, encoder, compile: as in the spec.
        directions: the user's own direction files.
        region, deghost: as in the spec.
        fitting: what the spec asks of parts that fit one photo.
        weights: catalogue entries, `requires` included.
        landmarks: whether some part looks at the faces' landmarks.
        codes: decides what latents files hold (they are re-used while it is equal).
        inversion: decides the inversion's pictures.
        edits: an edit's name -> what decides its pictures; of a direction the vector itself counts, not its file.
        measured: whether some edit asks for an amount, so that pictures are measured.
    """

    method: Method
    generator: str = ""
    encoder: str | None = None
    compile: bool = False
    directions: tuple[Path, ...] = ()
    region: str | None = None
    deghost: bool = True
    fitting: Fitting = field(default_factory=Fitting)
    weights: tuple[str, ...] = ()
    landmarks: bool = True
    codes: str = ""
    inversion: str = ""
    edits: Mapping[str, str] = field(default_factory=dict)
    measured: bool = False


@dataclass(frozen=True)
class _Entries:
    """The entries of a plan's parts, in the order of the chain."""

    generator: Entry[Generator]
    embedder: Entry[Embedder]
    refiners: Sequence[Entry[Refiner]]
    compensator: Entry[Compensator]
    composer: Entry[Composer]

    def coding(self) -> list[Entry[object]]:
        """Those that decide codes."""
        return [self.generator, self.embedder, *self.refiners]

    def all(self) -> list[Entry[object]]:
        return [*self.coding(), self.compensator, self.composer]


def plan_chain(spec: InvertSpec, store: WeightStore) -> ChainPlan:
    """Check every name in `spec` and say what the run needs.

    Raises:
        UsageError: an unknown generator, method, part or attribute; an unreadable direction file.
    """
    compose = spec.compose if isinstance(spec, EditSpec) else "none"
    name = QUALITIES[spec.quality] if spec.quality else spec.method
    method = chosen_parts(name, spec.embed, spec.refine, spec.compensate, compose)
    entries = _entries(method, spec.generator, spec.encoder, store)
    files = _checked(spec.direction_files) if isinstance(spec, EditSpec) else ()
    fitting = Fitting.asked(spec, method.embed, entries.coding())
    codes = [spec.generator]
    for part in entries.coding():
        codes += [*identity(part, store), *fitting.lines(part.options)]
    inversion = [*codes, *identity(entries.compensator, store)]
    region = spec.region if isinstance(spec, EditSpec) else None
    deghost = not (isinstance(spec, EditSpec) and spec.deghost == "off")
    if not deghost and not method.compose.startswith("diffcam"):
        raise UsageError(
            f"--deghost off is for --compose diffcam; '{method.compose}' has no ghosts to take out: leave it away"
        )
    edited = [*inversion, DirectionEditor.version, *identity(entries.composer, store), *_region(region)]
    edited += [] if deghost else ["ghosts stay"]
    names = [name for part in entries.all() for name in part.weights]
    measured = isinstance(spec, EditSpec) and any(edit.aims for edit in spec.edits)
    names += METER if measured else ()
    return ChainPlan(
        method=method,
        generator=spec.generator,
        encoder=spec.encoder,
        compile=spec.compile,
        directions=files,
        region=region,
        deghost=deghost,
        fitting=fitting,
        weights=tuple(store.closure(names)),
        landmarks=any(part.landmarks for part in entries.all()),
        codes=_digest(codes),
        inversion=_digest(inversion),
        edits=_edits(spec.edits, direction_set(spec, store), edited, store) if isinstance(spec, EditSpec) else {},
        measured=measured,
    )


def direction_set(spec: InvertSpec, store: WeightStore) -> DirectionSet:
    """Our own directions and those of the user's files."""
    files = spec.direction_files if isinstance(spec, EditSpec) else ()
    return _directions(files, generator_entry(spec.generator, store).num_ws)


def build_chain(
    plan: ChainPlan, store: WeightStore, device: torch.device, directions: DirectionSet | None = None
) -> Chain:
    """Load every part of `plan` onto `device`; this process's allocator keeps what it has from now on.

    `directions`: others than the plan's, of a training that has none yet.
    """
    keep_freed_memory()
    entries = _entries(plan.method, plan.generator, plan.encoder, store)
    if directions is None:
        directions = _directions(plan.directions, generator_entry(plan.generator, store).num_ws)
    parts = Parts(store, device, directions, region=plan.region, deghost=plan.deghost, fitting=plan.fitting)
    generator = entries.generator.build(parts)
    if plan.compile:
        generator.synthesize = torch.compile(generator.synthesize)  # type: ignore[method-assign]
    compensator, composer = entries.compensator.build(parts, generator), entries.composer.build(parts, generator)
    embedder = entries.embedder.build(parts, generator)
    refiners = [entry.build(parts, generator) for entry in entries.refiners]
    editor = DirectionEditor(directions)
    sketch = None
    if plan.measured:
        small = preview_of(generator)
        chain = Chain(small, embedder, (), entries.compensator.build(parts, small), editor, composer)
        sketch = chain, Amounts(attribute_meter(store), measured_scales())
    return Chain(generator, embedder, refiners, compensator, editor, composer, sketch)


def _entries(method: Method, generator: str, encoder: str | None, store: WeightStore) -> _Entries:
    made = generator_entry(generator, store)
    return _Entries(
        made,
        embedder_entry(method.embed, encoder, store, made.num_ws),
        [refiners.get(name) for name in method.refine],
        compensators.get(method.compensate),
        composers.get(method.compose),
    )


def _directions(files: Iterable[Path], num_ws: int) -> DirectionSet:
    return DirectionSet([*own_directions(num_ws), *(d for path in files for d in read_directions(path, num_ws))])


def _edits(edits: Sequence[Edit], known: DirectionSet, lines: list[str], store: WeightStore) -> dict[str, str]:
    def term(name: str, amount: float | Aim) -> str:
        direction = known.get(name)
        return f"{amount!r} {direction.digest} {direction.way} {direction.region}"

    scales = measured_scales()
    made = {}
    for edit in edits:
        terms = [term(*each) for each in edit.terms]
        for aim in edit.aims:
            terms += [term(aim.attribute, aim), repr(_scale_of(aim, scales)), AMOUNTS_VERSION, *hashes(METER, store)]
        made[edit.name] = _digest([*lines, *terms])
    return made


def _scale_of(aim: Aim, scales: Mapping[str, Scale]) -> Scale:
    if plain(aim.attribute) not in scales:
        known = ", ".join(scales)
        raise UsageError(
            f"'{aim.attribute}' cannot be measured, give it a strength as in {aim.attribute}=+1; measured: {known}"
        )
    return scales[plain(aim.attribute)]


def _region(region: str | None) -> list[str]:
    """What decides where edits may be: the name, or the file's bytes."""
    if region is None:
        return []
    path = Path(region)
    return [hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else region]


def _checked(files: tuple[Path, ...]) -> tuple[Path, ...]:
    for path in files:
        if not path.is_file():
            raise UsageError(f"direction file {path} does not exist; give a .npy, .pt or .safetensors file")
    return files


def _digest(lines: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
