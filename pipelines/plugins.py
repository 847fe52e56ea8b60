"""Parts from outside: a user's own modules, which register embedders, refiners, metrics and so on when imported.

A module ends with lines such as `composers.add("mine", Entry(...))` or decorates its classes; it needs to know nothing of
the command line. Installed packages announce theirs as entry points of the group `ganinv.parts`.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Iterable
from importlib.metadata import entry_points
from pathlib import Path

from pipelines.errors import UsageError

GROUP = "ganinv.parts"


def load(names: Iterable[str] = ()) -> None:
    """Import the announced modules and then those of `names`, each once in a process.

    Every process that looks parts up by name calls this first: the parent, workers and decoders alike.

    Args:
        names: importable modules (``my.parts``), or files (``./parts.py``).

    Raises:
        UsageError: one cannot be imported, whatever it raised.
    """
    for point in entry_points(group=GROUP):
        _imported(point.value.partition(":")[0], f"the installed plugin '{point.name}'")
    for name in names:
        _imported(name, f"the plugin '{name}'")


def _imported(name: str, called: str) -> None:
    try:
        if name.endswith(".py"):
            _from_file(Path(name).resolve(strict=True))
        else:
            importlib.import_module(name)
    except Exception as error:  # a stranger's module raises anything
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise UsageError(f"{called} cannot be imported ({reason}); give a module or a .py file that can") from None


def _from_file(path: Path) -> None:
    """As an import by name would, under a name that belongs to this path alone."""
    name = f"ganinv_plugin_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if name in sys.modules or spec is None or spec.loader is None:
        return
    sys.modules[name] = module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]  # what failed half-way must fail again, not look loaded
        raise
