"""What a person may write for a network - an entry's name, or an upstream file - as an entry that is at hand."""

from __future__ import annotations

import os
from pathlib import Path

from pipelines.weights.download import sha256_of
from pipelines.weights.store import WeightStore
from pipelines.weights.user_entries import name_of


def entry_for(store: WeightStore, wanted: str, role: str) -> str:
    """The entry with the tensors of the network that `wanted` names; `store.tensors` gives them.

    Args:
        wanted: an entry; what a file was converted as; an upstream entry of the catalogue; or the path of an upstream
            file (with a folder or a suffix in it), which is converted once: a file that was converted before, under
            whatever name, is recognised by its hash.
        role: ``generator``, ``encoder``, ``compensator`` or ``identity``.

    Raises:
        UsageError: a path that leads to no file.
        WeightsError: as `WeightStore.resolve` and `WeightStore.convert`.
    """
    names = {entry.name for entry in store.entries()} | {entry.source_entry for entry in store.entries()}
    file = Path(wanted).expanduser()
    if wanted in names or not (os.sep in wanted or file.suffix or file.is_file()):
        return store.resolve(wanted, role)
    if not file.is_file():
        return store.resolve(store.convert(file).name, role)  # says that there is no such file
    digest = sha256_of(file)
    for entry in store.entries():
        if (entry.source_sha256, entry.role) == (digest, role) and store.status(entry.name) == "cached":
            return entry.name
    # A name of its own: another file of the same name, converted earlier, must not stand in the way.
    return store.resolve(store.convert(file, f"{name_of(file.stem)}-{digest[:8]}").name, role)
