"""Generators and encoders that others published: the default generator, and checkpoints that a user brings, converted or
about to be, as parts of a chain."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from pipelines.errors import UsageError, WeightsError
from pipelines.models.encoders.e4e import Encoder4Editing, PSp, build_pyramid_encoder
from pipelines.models.generators.mobile import NUM_WS, MobileStyleGAN
from pipelines.models.generators.stylegan2_state import build_stylegan2
from pipelines.registry import Entry
from pipelines.stages.embed.encoder import EncoderEmbedder
from pipelines.stages.entry import GeneratorEntry, Parts, embedders, generators
from pipelines.types import Embedder, Generator
from pipelines.weights.checkpoints.resolve import entry_for
from pipelines.weights.formats.mobile_ir import mobile_state
from pipelines.weights.formats.openvino_ir import read_constants
from pipelines.weights.store import WeightStore

PREVIEW_ASSET = "mobile-ffhq-preview"
ROWS = 18  # of a 1024 px StyleGAN2, where an entry does not say


def mobile_tensors(store: WeightStore) -> dict[str, Tensor]:
    """The tensors of `mobile-ffhq` that come from its archive: all but `PREVIEW_ASSET`."""
    mapping = read_constants(store.path("mobile-ffhq-mapping-graph"), store.path("mobile-ffhq-mapping"))
    synthesis = read_constants(store.path("mobile-ffhq-graph"), store.path("mobile-ffhq"))
    return mobile_state(mapping, synthesis)


def _mobile(parts: Parts) -> Generator:
    generator = MobileStyleGAN()
    generator.load_state_dict(mobile_tensors(parts.store) | parts.tensors(PREVIEW_ASSET))
    return generator.to(parts.device)


generators.add("mobile-ffhq", GeneratorEntry(_mobile, ("mobile-ffhq", PREVIEW_ASSET), num_ws=NUM_WS))


def generator_entry(name: str, store: WeightStore) -> GeneratorEntry:
    """The generator called `name` (registry, converted entry) or in the upstream file `name`.

    Raises:
        UsageError: no such name or file.
        WeightsError: the file holds no generator, or is not at hand.
    """
    if name in generators or not _known(name, store):
        return _with_rows(generators.get(name))  # where it is unknown, this says so
    entry = entry_for(store, name, "generator")
    rows = int(store.entry(entry).params.get("num_ws", ROWS))
    return GeneratorEntry(partial(_stylegan2, entry), (entry,), num_ws=rows)


def _with_rows(entry: Entry[Generator]) -> GeneratorEntry:
    if isinstance(entry, GeneratorEntry):
        return entry
    return GeneratorEntry(entry.build, entry.weights, entry.version, entry.landmarks, num_ws=ROWS)


def embedder_entry(name: str, encoder: str | None, store: WeightStore, num_ws: int) -> Entry[Embedder]:
    """The embedder called `name`, or in its place the published `encoder`; errors as `encoder_entry`."""
    return embedders.get(name) if encoder is None else encoder_entry(encoder, store, num_ws)


def encoder_entry(name: str, store: WeightStore, num_ws: int) -> Entry[Embedder]:
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
    return Entry(partial(_encoder, entry), (entry,), version=f"{EncoderEmbedder.version} published")


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
