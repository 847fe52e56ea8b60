"""How versions before `Record.prints` hashed what decides a run's outputs: one text for all of them. Its folders go on by that.

A part whose version or weights have changed since hashes otherwise here, too, so that what it made is made anew.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace

from pipelines.edits import Edit
from pipelines.registry import Entry
from pipelines.specs import EditSpec, InvertSpec
from pipelines.stages.build import ChainPlan
from pipelines.stages.compensate import residual, sdic
from pipelines.stages.entry import compensators, identity, refiners
from pipelines.stages.fitting import OPTIONS
from pipelines.stages.published import embedder_entry, generator_entry
from pipelines.stages.refine import feature
from pipelines.stages.refine.sdic import SDICRefiner
from pipelines.weights.store import WeightStore

# The sha256 of that version's directions: five of its seven are the same numbers in today's file (a test holds them to it).
DIRECTIONS = "48faca39fdb24975535bb4925dd9970450ded4a5329013ae10131761696c6cd2"
ANEW = ("age", "smile")  # these have other numbers today


def codes_before(spec: InvertSpec, plan: ChainPlan, store: WeightStore) -> str:
    """What latents files of that version carry (the pixels' hash and the seed aside)."""
    return _digest(_lines(spec, plan, store))


def pictures_before(spec: InvertSpec, plan: ChainPlan, store: WeightStore) -> str:
    """What decided all pictures of a run, whichever edits it had."""
    paths = spec.direction_files if isinstance(spec, EditSpec) else ()
    files = [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]
    return _digest([*_lines(spec, plan, store), residual.VERSION, DIRECTIONS, *files])


def is_made_anew(edit: Edit) -> bool:
    """Whether a picture of that version is not what the edit would give today."""
    return any(name.partition("@")[0] in ANEW for name, _ in edit.terms)


def _lines(spec: InvertSpec, plan: ChainPlan, store: WeightStore) -> list[str]:
    parts = _parts(spec, plan, store)
    asked = plan.fitting.lines(OPTIONS)  # that version had none of them
    return [spec.generator, *(line for part in parts for line in identity(part, store)), *asked]


def _parts(spec: InvertSpec, plan: ChainPlan, store: WeightStore) -> Iterator[Entry[object]]:
    """That version's parts: a refiner began with the one before it, and `residual` was no part."""
    method, generator = plan.method, generator_entry(spec.generator, store)
    embedder = embedder_entry(method.embed, spec.encoder, store, generator.num_ws)
    yield generator
    if method.refine == ("optimize",) and method.embed == "encoder":
        fitted = refiners.get("optimize")
        yield replace(fitted, weights=(*fitted.weights, *embedder.weights))
    else:
        yield embedder
    alone = refiners.get("feature")
    if method.refine == ("sdic", "feature"):
        version = f"{feature.VERSION} {SDICRefiner.version} {feature.FROM_SDIC}"
        yield replace(alone, weights=(*alone.weights, sdic.ASSET), version=version)
    elif method.refine == ("feature",):
        yield replace(alone, version=f"{feature.VERSION} {feature.FeatureSettings()}")
    if method.compensate != "residual":
        yield replace(compensators.get(method.compensate), version=sdic.VERSION)


def _digest(lines: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
