"""Colours at landmarks, on a drawn face: each figure answers to its own part and to no other."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw

from pipelines.models.faces.appearance import APPEARANCE, appearance
from pipelines.models.faces.glasses import STRIP, Glasses, eye_strip
from pipelines.stages.compose.regions import mean_landmarks
from pipelines.types import F32Array, U8Image

SIDE = 256
SKIN = (200, 160, 140)


@pytest.fixture
def points() -> F32Array:
    import torch

    found: F32Array = (mean_landmarks(torch.zeros(1)).numpy() * SIDE).astype(np.float32)
    return found


def drawn(points: F32Array, part: range | None = None, colour: tuple[int, int, int] = SKIN) -> U8Image:
    """A face of one colour, with one part painted over."""
    image = Image.new("RGB", (SIDE, SIDE), SKIN)
    if part is not None:
        corners = [tuple(point) for point in points[list(part)].tolist()]
        draw = ImageDraw.Draw(image)
        if len(corners) > 5:
            draw.polygon(corners, fill=colour)
        else:
            draw.line(corners, fill=colour, width=9)
    return np.array(image)


@pytest.mark.parametrize(("part", "name"), [(range(48, 60), "lipstick"), (range(17, 22), "eyebrows")])
def test_a_painted_part_is_seen_in_its_own_figure(points: F32Array, part: range, name: str) -> None:
    plain = appearance(drawn(points), points)
    painted = appearance(drawn(points, part, (150, 20, 40)), points)
    change = {each: abs(painted[each] - plain[each]) for each in APPEARANCE}
    assert change.pop(name) > 5
    assert max(change.values()) < 3


def test_light_from_one_side(points: F32Array) -> None:
    image = drawn(points)
    image[:, : SIDE // 2] //= 2
    assert appearance(image, points)["light"] > 10
    assert appearance(image[:, ::-1].copy(), points)["light"] < -10
    assert appearance(drawn(points), points)["light"] == pytest.approx(0)


def test_without_landmarks_there_are_no_figures(points: F32Array) -> None:
    assert all(np.isnan(value) for value in appearance(drawn(points), np.full((68, 2), np.nan, np.float32)).values())


def test_the_strip_around_the_eyes_stands_level(points: F32Array) -> None:
    image = drawn(points, range(36, 42), (0, 0, 0))
    strip = eye_strip(image, points)
    assert strip.shape == (1, 3, *STRIP)
    dark = (strip[0, 0] < -0.5).nonzero().float().mean(0)
    assert dark[1] < STRIP[1] / 2
    turned, back = np.rot90(image).copy(), np.stack((points[:, 1], SIDE - 1 - points[:, 0]), 1)
    assert float((eye_strip(turned, back) - strip).abs().mean()) < 0.02


def test_a_mirrored_face_wears_the_same_glasses(points: F32Array) -> None:
    image = drawn(points, range(36, 42), (0, 0, 0))
    swapped = points.copy()
    swapped[36:42], swapped[42:48] = points[42:48], points[36:42]
    swapped[:, 0] = SIDE - 1 - swapped[:, 0]
    network = Glasses().eval()
    found = network.measure([image, image[:, ::-1].copy()], [points, swapped])
    assert found[0] == pytest.approx(found[1], abs=1e-3)
