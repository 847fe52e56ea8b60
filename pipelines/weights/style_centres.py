"""A style centre on disk: computed once per generator, refused for any other.

The file is a safetensors file with one vector per layer (``row.N``, float32, C values) and a JSON header of `samples`,
`seed` and `digest`, the hash of the generator's weights that the vectors depend on.
"""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from pipelines.errors import OutputError, WeightsError
from pipelines.files import parse_json, write_atomic
from pipelines.models.generators.style_space import (
    SAMPLES,
    MappedGenerator,
    StyleCentre,
    centre_digest,
    style_centre,
    style_layers,
)

_FORMAT = "ganinv-style-centre-1"


def save_centre(centre: StyleCentre, path: Path) -> None:
    """Write the file whole or not at all.

    Raises:
        OutputError: the place cannot be written.
    """
    tensors = {f"row.{row}": vector.cpu() for (row, _), vector in zip(centre.layers, centre.vectors, strict=True)}
    about = {"format": _FORMAT, "samples": centre.samples, "seed": centre.seed, "digest": centre.digest}
    write_atomic(path, save(tensors, metadata={"ganinv": json.dumps(about, sort_keys=True)}))


def load_centre(path: Path, generator: MappedGenerator) -> StyleCentre:
    """Read a centre for `generator`.

    Raises:
        WeightsError: no such file, a damaged one, or one of another generator.
    """
    try:
        with safe_open(path, framework="pt") as file:
            about = parse_json((file.metadata() or {})["ganinv"])
            tensors = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118 (no mapping)
        digest, samples, seed = str(about["digest"]), int(about["samples"]), int(about["seed"])
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, OverflowError) as error:
        raise WeightsError(f"the style centre {path} cannot be read ({error}): delete it, it is made again") from None
    layers = style_layers(generator)
    names = [f"row.{row}" for row, _ in layers]
    if about.get("format") != _FORMAT or digest != centre_digest(generator) or set(names) != set(tensors):
        raise WeightsError(f"the style centre {path} belongs to another generator: give this generator's own one")
    return StyleCentre(layers, tuple(tensors[name] for name in names), generator.num_ws, samples, seed, digest)


def cached_centre(generator: MappedGenerator, folder: Path, samples: int = SAMPLES, seed: int = 0) -> StyleCentre:
    """The centre from `folder`; where it is missing or damaged it is computed (15 s on one core) and kept there.

    A folder that cannot be written costs the time again on the next call, and nothing else.
    """
    path = folder / f"{centre_digest(generator)[:16]}-{samples}-{seed}.safetensors"
    if path.is_file():
        with contextlib.suppress(WeightsError):
            return load_centre(path, generator)
    centre = style_centre(generator, samples, seed)
    with contextlib.suppress(OutputError, OSError):
        folder.mkdir(parents=True, exist_ok=True)
        save_centre(centre, path)
    return centre
