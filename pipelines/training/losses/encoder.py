"""The terms of an encoder's loss, weighted and named, from codes and the pictures that they give."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from pipelines.models.encoders.latent_discriminator import LatentDiscriminator
from pipelines.models.generators.style_space import StyleCentre
from pipelines.models.perceptual.likeness import Likeness, Weights
from pipelines.training.losses.latent import adversarial_loss, aligned_distance, delta_norm
from pipelines.training.losses.view import View
from pipelines.training.recipes import Moment


@dataclass(frozen=True)
class LossNetworks:
    """The frozen networks and constants that losses ask.

    Attributes:
        view: codes -> picture.
        likeness: perceptual and identity networks.
        landmarks: 68 x 2 mean landmarks of aligned faces, in shares of the side: where identity chips are cut. Faces are
            aligned, so one place serves all (e4e cuts a fixed window likewise).
        centre: of the normalised style space; None where no recipe asks for it.
    """

    view: View
    likeness: Likeness
    landmarks: Tensor
    centre: StyleCentre | None = None


def image_terms(
    networks: LossNetworks, codes: Tensor, targets: Tensor, weights: Mapping[str, float]
) -> dict[str, Tensor]:
    """pixel, perceptual and identity: batch means, weighted. targets n x 3 x 256 x 256 in [-1, 1].

    Source: e4e (Tov et al., 2021), section 5.2, with ST-LPIPS (AlexNet) for LPIPS and the squared distance of dlib's
    descriptors for 1 - cosine of ArcFace, where those cannot be had.
    """
    made = networks.view(codes)
    asked = Weights(weights["perceptual"], weights["pixel"], weights["identity"], made.shape[-1])
    landmarks = networks.landmarks.to(targets).expand(len(targets), -1, -1)
    terms = networks.likeness(made, networks.likeness.target(targets, landmarks, asked), asked)
    return {name: value.mean() for name, value in terms.items()}


def code_terms(
    networks: LossNetworks, codes: Tensor, moment: Moment, discriminator: LatentDiscriminator | None
) -> dict[str, Tensor]:
    """adversarial, delta, aligned: what keeps codes where edits work; only those with a weight."""
    weights, terms = moment.weights, {}
    if weights["adversarial"] and discriminator is not None:
        rows = codes[:, : moment.stage + 1]
        terms["adversarial"] = weights["adversarial"] * adversarial_loss(discriminator(rows))
    if weights["delta"] and moment.stage:
        terms["delta"] = weights["delta"] * delta_norm(codes, moment.stage)
    if weights["aligned"] and networks.centre is not None:
        terms["aligned"] = weights["aligned"] * aligned_distance(codes, networks.centre, moment.stage)
    return terms


def supervised_term(codes: Tensor, true: Tensor, w_std: Tensor, stage: int) -> Tensor:
    """Mean squared error of rows in units of w's deviation, where the true codes are known (generated faces).

    While only one w is predicted it is compared to the mean of the true rows.
    """
    wanted = true if stage else true.mean(dim=1, keepdim=True).expand_as(codes)
    return ((codes - wanted) / w_std).square().mean()
