"""`--compose detail`: the picture of an edit is the photo, changed only where the edit is."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from pipelines.images import resize_area
from pipelines.stages.compose import regions
from pipelines.stages.compose.filters import enlarge
from pipelines.stages.compose.grain import fine_ratio
from pipelines.stages.compose.head import find_turn
from pipelines.stages.compose.occlusion import lips_seen, uncovered
from pipelines.stages.compose.shape import apply_change, find_change
from pipelines.stages.compose.skin import registration, transfer
from pipelines.stages.compose.state import WORK, Prepared
from pipelines.stages.compose.tone import tint_line
from pipelines.types import Point, Synthesis

Way = Literal["shape", "skin", "head"]
@dataclass(frozen=True)
class FaceBatchLike:
    images: Tensor
    landmarks: Tensor | None
@dataclass(frozen=True)
class E_:
    terms: tuple[tuple[str, float], ...]
def edit_of(e):
    m=re.match(r"([a-z_]+)(@\d+-\d+)?([+-][\d.]+)$", e)
    return E_(((m[1]+(m[2] or ""),float(m[3])),))
@dataclass(frozen=True)
class Composition:
    image: Tensor
    mask: Tensor
REG={"smile":("shape","mouth"),"mouth_open":("shape","mouth"),"eyes_open":("shape","eyes"),"age":("skin","face"),"gender":("skin","face"),"yaw":("head","head"),"pitch":("head","head")}

class DetailComposer:
    points: tuple[Point, ...] = ()

    @torch.no_grad()
    def prepare(self, faces, inversion, base: Synthesis) -> Prepared:
        images = faces.images
        photo, render = resize_area(images, WORK), resize_area(base.image, WORK)
        face = regions.face_of(regions.known_landmarks(faces.landmarks, images))
        skin = enlarge(regions.face_region(face, WORK // 4), 4)
        free = uncovered(photo, render, skin)
        grain = fine_ratio(images, base.image, F.interpolate(skin, scale_factor=images.shape[-1] // WORK))
        return Prepared(images, base.image, photo, render, face, free, lips_seen(photo, face), tint_line(photo), grain, registration(photo, render))

    @torch.no_grad()
    def compose(self, state: Prepared, edited: Synthesis, edit) -> Composition:
        name = edit.terms[0][0].split("@")[0]
        way, region = REG[name]
        if way == 'skin':
            image, mask = transfer(state, edited.image)
            return Composition(image, enlarge(mask, state.images.shape[-1] // WORK))
        small = resize_area(edited.image, WORK)
        change = find_turn(state, small) if way == 'head' else find_change(state, small, region)
        return Composition(apply_change(state, edited.image, change), enlarge(change.mask, state.images.shape[-1] // WORK))
