"""Is it still the same person? Face descriptors of the source and of the result, compared.

`id-dlib` and `same-person` use dlib's ResNet descriptor (King 2017), trained so that two pictures of one person lie
within a Euclidean distance of 0.6. Its descriptors are neither centred nor of unit length, so that their cosine is
high even for strangers; the distance is what means something. `id-arcface` is the cosine that this field reports
(Deng et al. 2019; Richardson et al. 2021).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pipelines.images.pixels import to_tensor
from pipelines.metrics.faces import Faces, Trio
from pipelines.metrics.registry import metrics
from pipelines.metrics.tools import LANDMARKS, Tools
from pipelines.models.faces.chips import extract_chips

SAME_PERSON = 0.6  # dlib's own decision threshold, on its descriptor's Euclidean distance
_WEIGHTS = ("id-dlib", LANDMARKS)
Net = Callable[[Tensor], Tensor]


class DlibDescriptors:
    """Faces -> n x 128 descriptors, cut by the landmarks found in each picture; rows of NaN where there are none."""

    def __init__(self, net: Net) -> None:
        self._net = net

    def __call__(self, faces: Faces) -> Tensor:
        with torch.inference_mode():
            return faces.memo("dlib-descriptors", lambda: self._describe(faces))

    def _describe(self, faces: Faces) -> Tensor:
        descriptors = torch.full((len(faces), 128), torch.nan, device=faces.device)
        usable = np.flatnonzero(~np.isnan(faces.landmarks).any(axis=(1, 2)))
        if usable.size:
            # One by one, because pictures of one batch may differ in size.
            chips = torch.cat([self._chip(faces, int(index)) for index in usable])
            descriptors[torch.from_numpy(usable).to(faces.device)] = self._net(chips).to(descriptors.dtype)
        return descriptors

    def _chip(self, faces: Faces, index: int) -> Tensor:
        image = to_tensor([faces.images[index]]).to(faces.device)
        landmarks = torch.from_numpy(faces.landmarks[index : index + 1]).to(faces.device)
        return extract_chips(image, landmarks, size=150, padding=0.25)

    def distance(self, trio: Trio) -> Tensor:
        """n Euclidean distances from source to result; NaN where the source shows no face."""
        distance: Tensor = torch.linalg.vector_norm(self(trio.source) - self(trio.result), dim=1)
        return distance


def _nobody(trio: Trio, values: Tensor) -> Tensor:
    """`values` n, 0 where the result shows nobody: a descriptor cut by the source's landmarks says nothing there."""
    return torch.where(torch.from_numpy(trio.result.lost).to(values.device), 0, values)


class DlibIdentity:
    """`id-dlib` = 1 - distance / 1.2: 1 for one and the same face, 0.5 exactly at dlib's same-person limit of 0.6,
    usually 0.2 to 0.35 between strangers. Higher is better; comparable with no other identity metric."""

    name = "id-dlib"

    def __init__(self, descriptors: DlibDescriptors) -> None:
        self._descriptors = descriptors

    def score(self, trio: Trio) -> dict[str, Tensor]:
        """{name: n values, at most 1; 0 for a result that shows no face}."""
        return {self.name: _nobody(trio, 1 - self._descriptors.distance(trio) / (2 * SAME_PERSON))}


class SamePerson:
    """`same-person`: 1 where the result is within dlib's distance of 0.6 of its source, else 0; the mean is a share."""

    name = "same-person"

    def __init__(self, descriptors: DlibDescriptors) -> None:
        self._descriptors = descriptors

    def score(self, trio: Trio) -> dict[str, Tensor]:
        """{name: n values, 0 or 1, NaN where not measurable}."""
        distance = self._descriptors.distance(trio)
        same = torch.where(distance.isnan(), distance, (distance <= SAME_PERSON).to(distance))
        return {self.name: _nobody(trio, same)}


class ArcFaceIdentity:
    """`id-arcface`: cosine of IR-SE-50 ArcFace embeddings of the fixed crop of the aligned 256 px picture, as the
    field's identity loss takes it. Higher is better; strangers lie near 0."""

    name = "id-arcface"

    def __init__(self, net: Net) -> None:
        self._net = net

    @torch.inference_mode()
    def score(self, trio: Trio) -> dict[str, Tensor]:
        """{name: n cosines in [-1, 1]; 0 for a result that shows no face where the source does}."""
        return {
            self.name: _nobody(trio, F.cosine_similarity(self._embed(trio.source), self._embed(trio.result), dim=1))
        }

    def _embed(self, faces: Faces) -> Tensor:
        return faces.memo(self.name, lambda: self._net(faces.pixels))


@metrics.register(
    DlibIdentity.name, "1 - dlib distance / 1.2 (0.5 = same-person limit)", "higher", weights=_WEIGHTS, of_edits=True
)
def _id_dlib(tools: Tools) -> DlibIdentity:
    return DlibIdentity(shared_descriptors(tools))


@metrics.register(SamePerson.name, "share within dlib distance 0.6", "higher", weights=_WEIGHTS, of_edits=True)
def _same_person(tools: Tools) -> SamePerson:
    return SamePerson(shared_descriptors(tools))


@metrics.register(
    ArcFaceIdentity.name,
    "cosine of ArcFace embeddings",
    "higher",
    weights=("arcface-irse50", LANDMARKS),
    of_edits=True,
)
def _id_arcface(tools: Tools) -> ArcFaceIdentity:
    from pipelines.models.faces.arcface import build_arcface

    return ArcFaceIdentity(build_arcface(tools.store.tensors("arcface-irse50")).eval().to(tools.device))


def shared_descriptors(tools: Tools) -> DlibDescriptors:
    """Loaded once for all metrics that use them."""
    from pipelines.models.faces.dlib_resnet import load_dlib_resnet
    from pipelines.weights.formats.dlib_dat import read_dlib_resnet

    def load() -> DlibDescriptors:
        network = load_dlib_resnet(read_dlib_resnet(tools.store.path("id-dlib")))
        return DlibDescriptors(network.eval().to(tools.device))

    return tools.shared("dlib-descriptors", load)
