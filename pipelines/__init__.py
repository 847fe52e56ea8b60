"""StyleGAN face inversion and editing as a library: `align`, `invert`, `edit`, `evaluate`, and one picture in memory by
`invert_image` and `edit_image`.

The verbs are found on first use, so that importing the package loads no torch.
"""

from __future__ import annotations

from typing import Any

__all__ = ["align", "edit", "edit_image", "evaluate", "invert", "invert_image", "plan"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'pipelines' has no attribute '{name}'")
    from pipelines import api

    return getattr(api, name)
