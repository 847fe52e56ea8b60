"""The named methods: chains of an embedder, refiners, a compensator and a composer. One line each; nothing else knows their
names."""

from __future__ import annotations

from typing import NamedTuple

from pipelines.registry import Registry


class Method(NamedTuple):
    """Names in the registries of `pipelines.stages.entry`."""

    embed: str
    refine: tuple[str, ...]
    compensate: str
    compose: str
    summary: str


methods: Registry[Method] = Registry("method")


def add_method(
    name: str,
    embed: str,
    refine: tuple[str, ...] = (),
    compensate: str = "residual",
    *,
    compose: str = "detail",
    summary: str,
) -> None:
    """Register a method; its edits are composed by the default composer where no other is named."""
    methods.add(name, Method(embed, refine, compensate, compose, summary))


add_method("optimize", "optimize", summary="codes by gradient descent: edits best, likeness limited")
add_method("e4e", "e4e", summary="codes by one pass of an encoder, recipe e4e")
add_method("lsap", "lsap", summary="codes by one pass of an encoder, recipe LSAP")
add_method("cycle", "cycle", summary="codes by one pass of an encoder, recipe Cycle Encoding")
add_method("sdic", "encoder", (), "sdic", summary="encoder, then what its codes lack by one pass, kept under edits")
add_method(
    "photo",
    "encoder",
    (),
    "sdic-wide",
    summary="encoder and one pass of SDIC, whose residual stays under edits as a fitted one does: quick, for composed edits",
)
add_method("gra", "encoder", (), "gra", summary="encoder, then gradual residuals by one pass, aligned to every edit")
add_method(
    "diffcam",
    "encoder",
    (),
    "sdic-wide",
    compose="diffcam",
    summary="as photo, but the edited render itself is laid into the photo where the edit is (Diff-CAM)",
)
add_method(
    "feature",
    "encoder",
    ("sdic", "feature"),
    summary="encoder, SDIC, then a few steps for this photo: keeps the person",
)
add_method(
    "feature-slow",
    "optimize",
    ("feature",),
    summary="the same from nothing: 55 steps for codes, 52 for the rest",
)
add_method(
    "lsap-o",
    "lsap-o",
    summary="codes by gradient descent, held near the generator's own by LSAP's distance",
)
add_method(
    "pti",
    "lsap",
    ("pti",),
    summary="encoder, then the generator itself tuned to this photo; about a minute",
)
add_method(
    "cycle+pti",
    "cycle",
    ("cycle", "pti"),
    summary="the same from codes of an encoder that was fitted to this photo first",
)
add_method(
    "best",
    "encoder",
    ("sdic", "feature", "feature-where-poor"),
    summary="feature, and twice as many steps for photos on which it was poor",
)

QUALITIES = {"fast": "photo", "balanced": "feature", "best": "best"}  # `--quality` -> the method that it means


def chosen_parts(
    method: str,
    embed: str | None = None,
    refine: str | None = None,
    compensate: str | None = None,
    compose: str | None = None,
) -> Method:
    """The chain of `method` with parts overridden.

    Args:
        refine: names joined by ``+``, run in this order; ``none``: no refiner.
        compensate: ``none`` and ``residual`` are the same: an edit carries what the refiners found, and no more.
    """
    chosen = methods.get(method)
    return chosen._replace(
        embed=embed or chosen.embed,
        refine=chosen.refine if refine is None else _listed(refine),
        compensate={"none": "residual"}.get(compensate or "", compensate) or chosen.compensate,
        compose=compose or chosen.compose,
    )


def _listed(names: str) -> tuple[str, ...]:
    return tuple(name for each in names.split("+") if (name := each.strip()) and name != "none")
