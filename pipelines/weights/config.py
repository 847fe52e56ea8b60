"""Where weights are kept and how they may be reached; built once, at the edge, from the environment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import platformdirs

from pipelines.weights.package_index import IndexSettings


@dataclass(frozen=True)
class StoreConfig:
    """Where weights are kept and how they may be reached. Frozen and picklable: workers get a copy.

    Attributes:
        home: the weights folder; created at the first fetch.
        mirror: a folder or URL that holds files under their upstream names, tried before all other sources.
        offline: never touch the network (a mirror *folder* is still read).
        index: the user's package index settings.
    """

    home: Path
    mirror: str | None = None
    offline: bool = False
    index: IndexSettings = field(default_factory=IndexSettings)

    @classmethod
    def from_env(
        cls, environ: Mapping[str, str], weights_dir: Path | None = None, offline: bool = False
    ) -> StoreConfig:
        """The configuration that the environment asks for; the two arguments win over it.

        Args:
            environ: usually ``os.environ``: GANINV_HOME (else the platform's cache folder), GANINV_MIRROR,
                GANINV_OFFLINE (anything but empty, 0, false, no), and pip's settings (`IndexSettings.from_env`).
        """
        named = weights_dir or environ.get("GANINV_HOME", "")
        home = Path(named).expanduser() if named else platformdirs.user_cache_path("ganinv")
        off = environ.get("GANINV_OFFLINE", "").strip().lower() not in {"", "0", "false", "no"}
        return cls(
            home.absolute(), environ.get("GANINV_MIRROR") or None, offline or off, IndexSettings.from_env(environ)
        )
