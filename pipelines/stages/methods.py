"""The named methods: chains of an embedder, a refiner and a compensator. One line each; nothing else knows their names."""

from __future__ import annotations

from typing import NamedTuple

from pipelines.registry import Registry


class Method(NamedTuple):
    """Names in the registries of `pipelines.stages.build`; None = that part is left out."""

    embed: str
    refine: str | None
    compensate: str | None
    summary: str


methods: Registry[Method] = Registry("method")
methods.add("optimize", Method("optimize", None, None, "codes by gradient descent: edits best, likeness limited"))
methods.add("e4e", Method("e4e", None, None, "codes by one pass of an encoder, recipe e4e"))
methods.add("lsap", Method("lsap", None, None, "codes by one pass of an encoder, recipe LSAP"))
methods.add("cycle", Method("cycle", None, None, "codes by one pass of an encoder, recipe Cycle Encoding"))
methods.add("sdic", Method("encoder", None, "sdic", "encoder, then what its codes lack by one pass, kept under edits"))
methods.add(
    "feature",
    Method("encoder", "sdic+feature", None, "encoder, SDIC, then a few steps for this photo: keeps the person"),
)
methods.add(
    "feature-slow", Method("optimize", "feature", None, "the same from nothing: 55 steps for codes, 52 for the rest")
)

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
