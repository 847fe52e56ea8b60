"""Layouts against the manifests, which list the keys and shapes of the official modules."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines.weights.formats import diffcam, encoder, sdic, stylegan2
from pipelines.weights.formats.parts import Layout

DATA = Path(__file__).resolve().parents[3] / "conformance" / "data"


def manifest(name: str, prefix: str = "", dead: tuple[str, ...] = ()) -> Layout:
    listed = json.loads((DATA / f"{name}.json").read_text())
    found = {key[len(prefix) :]: tuple(about["shape"]) for key, about in listed.items() if key.startswith(prefix)}
    skipped = ("num_batches_tracked",)
    return {
        key: shape for key, shape in found.items() if not key.endswith(skipped) and not (dead and key.startswith(dead))
    }


@pytest.mark.parametrize(
    ("layout", "listed"),
    [
        (lambda: encoder.encoder_layout(18), lambda: manifest("e4e/e4e_encoder", "encoder.")),
        (lambda: encoder.encoder_layout(18), lambda: manifest("sdic/manifest_encoder", "encoder.")),
        (encoder.arcface_layout, lambda: manifest("e4e/ir_se50")),
        (lambda: stylegan2.layout(64), lambda: manifest("e4e/stylegan2_64", "decoder.")),
        (lambda: stylegan2.layout(1024), lambda: manifest("sdic/manifest_decoder", "decoder.")),
        (sdic.dip_layout, lambda: manifest("sdic/manifest_DIP", "DIP.", sdic._DEAD_DIP)),
        (sdic.saf_layout, lambda: manifest("sdic/manifest_SAF", "SAF.", sdic._DEAD_SAF)),
        (lambda: diffcam.classifier_layout(17), lambda: manifest("diffcam/manifest_diffcam")),
        (
            lambda: diffcam.fcn_layout(128, 1024),
            lambda: manifest("diffcam/manifest_deghosting_128_1024", "FCN.", ("fusion_skip.",)),
        ),
        (
            lambda: diffcam.fcn_layout(16, 64),
            lambda: manifest("diffcam/manifest_deghosting_16_64", "FCN.", ("fusion_skip.",)),
        ),
    ],
    ids=[
        "e4e",
        "sdic-encoder",
        "arcface",
        "stylegan2-64",
        "stylegan2-1024",
        "dip",
        "saf",
        "diffcam",
        "fcn",
        "fcn-small",
    ],
)
def test_keys_and_shapes_are_those_of_the_official_modules(
    layout: Callable[[], Layout], listed: Callable[[], Layout]
) -> None:
    assert layout() == listed()


@pytest.mark.parametrize("size", [64, 1024])
def test_the_deghosting_nets_generator_has_rosinalitys_keys_after_renaming(size: int) -> None:
    name = {64: "16_64", 1024: "128_1024"}[size]
    renamed = {
        diffcam._renamed(key): shape
        for key, shape in manifest(f"diffcam/manifest_deghosting_{name}", "generator.").items()
    }
    assert renamed == stylegan2.layout(size)
