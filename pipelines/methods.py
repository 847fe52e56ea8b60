"""The named methods: chains of an embedder, a refiner and a compensator. One line each; nothing else knows their names."""

from __future__ import annotations

from typing import NamedTuple

from pipelines.registry import Registry


class Method(NamedTuple):
    """Names in the registries of `pipelines.builders`; None = that part is left out."""

    embed: str
    refine: str | None
    compensate: str | None
    summary: str


methods: Registry[Method] = Registry("method")
methods.add("optimize", Method("optimize", None, None, "codes by gradient descent: edits best, likeness limited"))
methods.add("feature", Method("optimize", "feature", None, "codes, then a residual on the 64 px feature: the person"))

DEFAULT_METHOD = "feature"


def parts(method: str, embed: str | None, refine: str | None, compensate: str | None) -> Method:
    """The chain of `method` with parts overridden; "none" takes a part out."""
    chosen = methods.get(method)
    return chosen._replace(
        embed=embed or chosen.embed,
        refine=_override(refine, chosen.refine),
        compensate=_override(compensate, chosen.compensate),
    )


def _override(given: str | None, default: str | None) -> str | None:
    if given is None:
        return default
    return None if given == "none" else given
