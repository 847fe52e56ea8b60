"""StyleGAN face inversion and editing as a library: `align`, `invert`, `edit` and `plan`.

The verbs are found on first use, so that importing the package loads no torch. The fourth verb is
`pipelines.evaluation.evaluate.evaluate` (its name here would hide its module).
"""

from __future__ import annotations

from typing import Any

__all__ = ["align", "edit", "invert", "plan"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'pipelines' has no attribute '{name}'")
    from pipelines import api

    return getattr(api, name)
