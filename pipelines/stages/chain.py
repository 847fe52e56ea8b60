"""The device side of the stream: invert, then edit, for one batch of aligned faces."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from pipelines.devices import keep_freed_memory
from pipelines.edits import Edit
from pipelines.errors import UsageError
from pipelines.specs import EditSpec, InvertSpec
from pipelines.stages.build import Part, Parts, compensators, refiners
from pipelines.stages.compensate.residual import Editor
from pipelines.stages.edit.direction_files import read_directions
from pipelines.stages.edit.direction_set import ASSET, DirectionSet, own_directions
from pipelines.stages.methods import Method, parts
from pipelines.stages.published import embedder_part, generator_part
from pipelines.types import Batch, Compensator, Embedder, Generator, Refiner, Synthesis
from pipelines.weights.assets import asset_sha256
from pipelines.weights.store import WeightStore


@dataclass(frozen=True)
class ChainPlan:
    """What a run needs and what decides its pixels, known without loading a model.

    Attributes:
        weights: catalogue entries, `requires` included.
        fingerprint: decides codes and residuals (latents on disk are re-used while it is equal).
        edit_fingerprint: decides the pictures; also covers directions.
        landmarks: whether some part looks at the faces' landmarks.
    """

    weights: tuple[str, ...]
    fingerprint: str
    edit_fingerprint: str
    landmarks: bool = True


def _method(spec: InvertSpec) -> Method:
    return parts(spec.method, spec.embed, spec.refine, spec.compensate)


def _embedder(spec: InvertSpec, store: WeightStore, num_ws: int) -> Part[Embedder]:
    return embedder_part(_method(spec).embed, spec.encoder, store, num_ws)


def _chosen(spec: InvertSpec, store: WeightStore) -> list[Part[object]]:
    method, generator = _method(spec), generator_part(spec.generator, store)
    chosen: list[Part[object]] = [generator, _embedder(spec, store, generator.num_ws)]  # type: ignore[list-item]
    if method.refine:
        chosen.append(refiners.get(method.refine))  # type: ignore[arg-type]
    if method.compensate:
        chosen.append(compensators.get(method.compensate))  # type: ignore[arg-type]
    return chosen


def _direction_files(spec: InvertSpec) -> tuple[Path, ...]:
    return spec.direction_files if isinstance(spec, EditSpec) else ()


def direction_set(spec: InvertSpec, store: WeightStore) -> DirectionSet:
    """Our own directions and those of the user's files."""
    num_ws = generator_part(spec.generator, store).num_ws
    own = own_directions(num_ws)
    return DirectionSet([*own, *(d for path in _direction_files(spec) for d in read_directions(path, num_ws))])


def plan_chain(spec: InvertSpec, store: WeightStore) -> ChainPlan:
    """Check every name in `spec` and say what the run needs.

    Raises:
        UsageError: an unknown generator, method, part or attribute; an unreadable direction file.
    """
    chosen = _chosen(spec, store)
    identity = [spec.generator, *(line for part in chosen for line in part.identity(store))]
    files = [hashlib.sha256(path.read_bytes()).hexdigest() for path in _checked(_direction_files(spec))]
    if isinstance(spec, EditSpec):
        known = direction_set(spec, store)
        for edit in spec.edits:
            for name, _ in edit.terms:
                known.get(name)
    entries = store.closure(tuple(name for part in chosen for name in part.entries))
    return ChainPlan(
        tuple(entries),
        _digest(identity),
        _digest([*identity, Editor.version, asset_sha256(ASSET), *files]),
        any(part.landmarks for part in chosen),
    )


def _checked(files: tuple[Path, ...]) -> tuple[Path, ...]:
    for path in files:
        if not path.is_file():
            raise UsageError(f"direction file {path} does not exist; give a .npy, .pt or .safetensors file")
    return files


def _digest(lines: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


class Chain:
    """Invert and edit batches; built in the process that uses it.

    Attributes:
        resolution: side of the faces it reads and makes.
        weights: catalogue entry -> sha256 of what is loaded.
        attributes: names that an edit may use.
    """

    def __init__(
        self,
        generator: Generator,
        embedder: Embedder,
        refiner: Refiner | None,
        compensator: Compensator | None,
        directions: DirectionSet,
        weights: dict[str, str],
    ) -> None:
        self.generator = generator
        self.embedder = embedder
        self.refiner = refiner
        self.compensator = compensator
        self.editor = Editor(generator, directions)
        self.resolution = generator.resolution
        self.weights = weights
        self.versions = {"embed": embedder.version, "edit": Editor.version}
        self.attributes = directions.names()

    def invert(self, batch: Batch) -> Batch:
        """Fill `batch.inversion` from images and landmarks."""
        assert batch.images is not None
        inversion = self.embedder.embed(batch.images, batch.landmarks)
        if self.refiner is not None:
            inversion = self.refiner.refine(batch.images, batch.landmarks, inversion)
        batch.inversion = inversion
        return batch

    @torch.no_grad()
    def edit(self, batch: Batch, edits: Sequence[Edit]) -> Batch:
        """Fill `batch.base` and `batch.edits` from the inversion."""
        assert batch.inversion is not None
        if self.compensator is not None:
            return self._compensated(self.compensator, batch, edits)
        batch.base = self.editor.base(batch.inversion)
        for edit in edits:
            batch.edits[edit.name] = self.editor.edit(batch.inversion, batch.base, edit.terms)
        return batch

    def _compensated(self, compensator: Compensator, batch: Batch, edits: Sequence[Edit]) -> Batch:
        """`edit` with a compensator: one `prepare`, then one `render` for the inversion and for every edit."""
        assert batch.inversion is not None
        assert batch.images is not None
        latents = batch.inversion.latents
        prepared = compensator.prepare(batch.images, None, batch.inversion)
        batch.base = Synthesis(compensator.render(prepared, latents), {})
        for edit in edits:
            moved = any(strength for _, strength in edit.terms)
            codes = self.editor.directions.apply(latents, edit.terms) if moved else latents
            batch.edits[edit.name] = compensator.render(prepared, codes) if moved else batch.base.image
        return batch


def build_chain(spec: InvertSpec, store: WeightStore, device: torch.device) -> Chain:
    """Load every part of `spec` onto `device`; this process's allocator keeps what it has from now on."""
    keep_freed_memory()
    method, shared = _method(spec), Parts(store, device)
    part = generator_part(spec.generator, store)
    generator = part.build(shared)
    if spec.compile:
        generator.synthesize = torch.compile(generator.synthesize)  # type: ignore[method-assign]
    refiner = refiners.get(method.refine).build(shared, generator) if method.refine else None
    compensator = compensators.get(method.compensate).build(shared, generator) if method.compensate else None
    weights = {name: store.sha256(name) for name in plan_chain(spec, store).weights}
    embedder = _embedder(spec, store, part.num_ws).build(shared, generator)
    return Chain(generator, embedder, refiner, compensator, direction_set(spec, store), weights)
