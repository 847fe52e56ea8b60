"""What a user asked of the parts that fit one photo: options that a part declares (`Entry.options`) and reads from here."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pipelines.errors import UsageError
from pipelines.images.decode import IMAGE_SUFFIXES
from pipelines.registry import Entry
from pipelines.specs import InvertSpec

TIME = ("seconds_per_face",)  # what most parts that fit read
NOISE_VERSION = "1"  # of what --noise-maps does: no part's own version, so that runs without it go on
OPTIONS = ("regularize", "space", "regularize_with", "seconds_per_face", "noise_maps")


@dataclass(frozen=True)
class Fitting:
    """None: each part's own choice.

    Attributes:
        regularize: what holds optimised codes near the generator's own: ``lsap``, ``delta`` or ``none``.
        space: where fitted codes may lie: ``w`` (one for all rows) or ``wplus``.
        regularize_with: a folder of aligned faces on which a fitted encoder must stay good; None: generated faces.
        seconds_per_face: a part's share of what was asked, after which it stops fitting a face; results then depend on the
            machine's speed.
        noise_maps: the version of their fit, where the generator's noise maps are fitted with the codes.
        seed: of a part's random numbers, the same for every face: no face's result depends on its batch.
        embed: the chain's embedder, by name; "" where the encoder is a published one.
    """

    regularize: str | None = None
    space: str | None = None
    regularize_with: Path | None = None
    seconds_per_face: float | None = None
    noise_maps: str | None = None
    seed: int = 0
    embed: str = ""

    @classmethod
    def asked(cls, spec: InvertSpec, embed: str, parts: Iterable[Entry[object]]) -> Fitting:
        """The options of `spec`; a face's seconds are shared among the parts that read them.

        Raises:
            UsageError: an option that no part of the chain reads, a folder without pictures, or noise maps that parts
                after the one that fits them would not know of.
        """
        parts = list(parts)
        given = {name: value for name in OPTIONS if (value := getattr(spec, name)) not in (None, False)}
        read = {name for part in parts for name in part.options}
        for name in given:
            if name not in read:
                flag = f"--{name.replace('_', '-')}"
                raise UsageError(f"{flag}: no part of this chain reads it; it belongs to {_OF[name]}")
        if "regularize_with" in given:
            faces_in(given["regularize_with"])
        if "noise_maps" in given:
            if "noise_maps" not in parts[-1].options:
                raise UsageError("--noise-maps: the refiner after the optimiser would not see them; give --refine none")
            given["noise_maps"] = NOISE_VERSION
        if "seconds_per_face" in given:
            given["seconds_per_face"] /= sum("seconds_per_face" in part.options for part in parts)
        return cls(**given, seed=spec.seed, embed="" if spec.encoder else embed)

    def lines(self, names: Iterable[str]) -> list[str]:
        """What decides the results of a part that reads these options; nothing where none is given."""
        return [f"{name}={_told(value)}" for name in names if (value := getattr(self, name)) is not None]


_OF = {
    "regularize": "--embed optimize",
    "space": "--embed optimize and --refine cycle",
    "regularize_with": "--refine cycle",
    "seconds_per_face": "the refiners feature, cycle and pti, and to --embed optimize",
    "noise_maps": "--embed optimize and --refine optimize",
}


def faces_in(folder: Path) -> list[Path]:
    """The pictures of a folder of aligned faces, in the order of their names.

    Raises:
        UsageError: no such folder, or no picture in it.
    """
    found = sorted(path for path in folder.glob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
    if not found:
        raise UsageError(f"--regularize-with {folder}: no pictures are there; give a folder of aligned faces")
    return found


def _told(value: object) -> str:
    if not isinstance(value, Path):
        return str(value)
    names = "\n".join(f"{path.name} {path.stat().st_size}" for path in faces_in(value))
    return hashlib.sha256(names.encode()).hexdigest()
