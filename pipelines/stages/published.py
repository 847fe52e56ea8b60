"""Networks that a user brings: published checkpoints, converted or about to be, as parts of a chain."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from pipelines.errors import UsageError, WeightsError
from pipelines.models.encoders.e4e import Encoder4Editing, PSp, build_pyramid_encoder
from pipelines.models.generators.stylegan2_state import build_stylegan2
from pipelines.stages.build import GeneratorPart, Part, Parts, embedders, generators
from pipelines.stages.embed.encoder import EncoderEmbedder
from pipelines.types import Embedder, Generator
from pipelines.weights.checkpoints.resolve import entry_for
from pipelines.weights.store import WeightStore

ROWS = 18  # of a 1024 px StyleGAN2, where an entry does not say


def generator_part(name: str, store: WeightStore) -> GeneratorPart:
    """The generator called `name` (registry, converted entry) or in the upstream file `name`.

    Raises:
        UsageError: no such name or file.
        WeightsError: the file holds no generator, or is not at hand.
    """
    if name in generators or not _known(name, store):
        return generators.get(name)  # where it is unknown, this says so
    entry = entry_for(store, name, "generator")
    rows = int(store.entry(entry).params.get("num_ws", ROWS))
    return GeneratorPart(partial(_stylegan2, entry), (entry,), num_ws=rows)


def embedder_part(name: str, encoder: str | None, store: WeightStore, num_ws: int) -> Part[Embedder]:
    """The embedder called `name`, or in its place the published `encoder`; errors as `encoder_part`."""
    return embedders.get(name) if encoder is None else encoder_part(encoder, store, num_ws)


def encoder_part(name: str, store: WeightStore, num_ws: int) -> Part[Embedder]:
    """The published encoder called `name`, or in the upstream file `name`, for a generator of `num_ws` rows.

    Raises:
        UsageError: its codes have another number of rows than the generator reads.
        WeightsError: the file holds no encoder, or is not at hand.
    """
    entry = entry_for(store, name, "encoder")
    rows = int(store.entry(entry).params.get("num_ws", ROWS))
    if rows != num_ws:
        raise UsageError(
            f"the encoder '{name}' makes codes of {rows} rows, the generator reads {num_ws}: "
            "choose an encoder of this generator's resolution"
        )
    return Part(partial(_encoder, entry), (entry,), version=f"{EncoderEmbedder.version} published")


def _known(name: str, store: WeightStore) -> bool:
    names = {entry.name for entry in store.entries()} | {entry.source_entry for entry in store.entries()}
    return name in names or Path(name).expanduser().is_file()


def _stylegan2(entry: str, parts: Parts) -> Generator:
    described = parts.store.entry(entry)
    generator = build_stylegan2(parts.store.tensors(entry), described.filename)
    wanted = described.params.get("resolution", generator.resolution)
    if generator.resolution != wanted:
        raise WeightsError(
            f"'{entry}' ({described.filename}) is a generator of {generator.resolution} px, not of {wanted}: "
            f"convert the right file with `ganinv weights convert FILE --as {entry}`"
        )
    return generator.to(parts.device)


def _encoder(entry: str, parts: Parts, generator: Generator) -> Embedder:
    kind: Any = PSp if parts.store.entry(entry).arch == "psp" else Encoder4Editing
    tensors = {f"encoder.{key}": value for key, value in parts.store.tensors(entry).items()}
    return EncoderEmbedder(build_pyramid_encoder(kind, tensors).to(parts.device))
