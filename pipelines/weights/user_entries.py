"""The user's own entries: files that `ganinv weights convert` made, kept in the weights folder beside their numbers."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from pipelines.errors import WeightsError
from pipelines.weights.cache import write_atomically
from pipelines.weights.catalogue import WeightEntry

NAME = re.compile(r"[a-z0-9][a-z0-9.-]*")
_MAX_BYTES = 1 << 20


def user_entries(home: Path) -> dict[str, WeightEntry]:
    """All converted entries of a weights folder by name, sorted.

    Raises:
        WeightsError: a record is damaged; names it.
    """
    found = {}
    for path in _records(home / "own"):
        try:
            if path.stat().st_size > _MAX_BYTES:
                raise ValueError("too large")
            entry = WeightEntry.model_validate_json(path.read_bytes())
            if entry.name != path.name.removesuffix(".json"):
                raise ValueError("it names another entry")
        except FileNotFoundError:  # removed by another process since it was listed
            continue
        except (OSError, ValueError, ValidationError) as error:
            reason = str(error).strip().splitlines()[0]
            raise WeightsError(f"{path} is damaged ({reason}): delete it and convert the file again") from None
        found[entry.name] = entry
    return found


def _records(folder: Path) -> list[Path]:
    try:
        return sorted(folder / name for name in os.listdir(folder) if name.endswith(".json"))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:  # left out in silence, its entries would be unknown names
        raise WeightsError(f"the weights folder {folder} cannot be read: {(error.strerror or '').lower()}") from None


def with_user_entries(catalogue: Mapping[str, WeightEntry], home: Path) -> dict[str, WeightEntry]:
    """The catalogue's entries, then the user's own; raises WeightsError as `user_entries`.

    The catalogue wins: a record of an older version must not stand in for an entry that came since.
    """
    own = user_entries(home)
    return dict(catalogue) | {name: entry for name, entry in own.items() if name not in catalogue}


def keep_entry(home: Path, entry: WeightEntry) -> None:
    """Write an entry's record; the numbers must be in place before (a record is what makes an entry exist)."""
    text = json.dumps(entry.model_dump(mode="json", exclude_defaults=True), indent=1)
    write_atomically(home / "own" / f"{entry.name}.json", text + "\n")


def name_of(stem: str) -> str:
    """An entry's name made from a file's: lower case, anything but letters, digits and points becomes a hyphen."""
    text = re.sub(r"[^a-z0-9.]+", "-", stem.lower()).strip("-.")
    return text or "weights"
