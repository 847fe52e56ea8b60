"""One training step of an SDIC network: what it costs that the compensated face is not the photo.

The terms are the paper's (Zhang et al., arXiv 2312.07079; weights of the published training script), with
`pipelines.models.perceptual.likeness` in the place of LPIPS and ArcFace. Ours are a true target under
an edit, which pairs of generated faces have (`pipelines.training.data.edit_pairs`), and how far edits of photos move.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from pipelines.images.pixels import resize_area
from pipelines.models.perceptual.likeness import Likeness, Weights
from pipelines.models.sdic.official import Compensation, SDICNetwork
from pipelines.stages.compensate.residual import transport
from pipelines.stages.compensate.sdic import POINT, WIDTH, base_view
from pipelines.stages.embed.optimize import head_error
from pipelines.types import Generator, Injection, Inversion, Point

View = Literal["sketch", "head", "corrected", "full"]


@dataclass(frozen=True)
class SDICWeights:
    """Weights of the terms; 0 switches one off.

    Attributes:
        image: pixel, perceptual and identity terms of the compensated inversion.
        edit: factor of the same terms under an edit (only pairs have them).
        compensation: of 0.8 MSE(F', F) + 0.2 MSE(W', W), which keeps the changes small.
        discrepancy: of the mean |D - (I - R)|; off in the published script.
        moves: of the difference between what an edit does to the compensated face and to the encoder's own, inside the
            face, and of the difference to the photo outside.
    """

    image: Weights = field(default=Weights(perceptual=0.8, pixel=1.0, identity=0.1, size=256))
    edit: float = 1.0
    compensation: float = 0.5
    discrepancy: float = 0.0
    moves: float = 0.0


@dataclass(frozen=True)
class MoveTarget:
    """An edit of photos, whose true picture nobody knows, but whose effect inside the face the encoder's own edit shows.

    Attributes:
        codes: n x L x 512, edited.
        inside: 1 x 1 x S x S in [0, 1], where aligned faces are; the comparison is made at S px.
    """

    codes: Tensor
    inside: Tensor


@dataclass(frozen=True)
class EditTarget:
    """What an edit should give: `codes` n x L x 512 (edited), `image` n x 3 x 256 x 256 in [-1, 1], RGB."""

    codes: Tensor
    image: Tensor


@dataclass(frozen=True)
class SDICBatch:
    """Faces of one training step.

    Attributes:
        source: n x 3 x 256 x 256 in [-1, 1], RGB: photos, or the pictures of pairs.
        codes: n x L x 512 of the encoder (or a pair's, with its error); no gradient goes into them.
        landmarks: n x 68 x 2 in shares of the side, for the identity term; NaN or None: that face has none.
        base: n x 3 x 256 x 256, the picture of `codes` as `pipelines.stages.compensate.sdic.base_view` gives it, where it is
            kept from an earlier step; None: rendered.
        edit: the same faces under an edit.
        move: an edit of photos.
    """

    source: Tensor
    codes: Tensor
    landmarks: Tensor | None = None
    base: Tensor | None = None
    edit: EditTarget | None = None
    move: MoveTarget | None = None


def compensation_loss(feature: Tensor, plain: Tensor, latents: Tensor, codes: Tensor, weight: float = 0.5) -> Tensor:
    """weight * (0.8 MSE(F', F) + 0.2 MSE(W', W)): F' and F n x C x 64 x 64, W' and W n x L x 512 -> one value."""
    return weight * (0.8 * F.mse_loss(feature, plain) + 0.2 * F.mse_loss(latents, codes))


def sdic_step(
    network: SDICNetwork,
    generator: Generator,
    likeness: Likeness,
    batch: SDICBatch,
    weights: SDICWeights | None = None,
    view: View = "head",
    half: bool = False,
) -> dict[str, Tensor]:
    """The weighted terms of one batch and their sum under "total": scalars; call ``total.backward()``.

    Args:
        network: trained; the generator and `likeness` are frozen.
        view: through what the losses look: the generator's cheap head, the head with its error on this batch taken out (one
            more pass of the upper blocks, without gradients), or the full picture.
        half: the network's own pass in bfloat16 autocast.
    """
    weights = weights or SDICWeights()
    source, codes = batch.source, batch.codes.detach()
    base, plain = _base(generator, codes, batch.base)
    with torch.autocast(source.device.type, torch.bfloat16, enabled=half):
        found = network(source, base, plain, codes)
    made = picture(generator, found.latents, found.feature, view)
    losses = _image_terms(likeness, made, source, batch.landmarks, weights.image)
    if weights.compensation:
        losses["compensation"] = compensation_loss(found.feature, plain, found.latents, codes, weights.compensation)
    if weights.discrepancy:
        difference = source - base.clamp(-1, 1)
        losses["discrepancy"] = weights.discrepancy * F.l1_loss(found.discrepancy, difference)
    if batch.edit is not None and weights.edit:
        made = _edited(network, generator, found, plain, codes, batch.edit.codes, view)
        # Faces may move under an edit, so the source's landmarks would cut the wrong chip.
        terms = _image_terms(likeness, made, batch.edit.image, None, weights.image)
        losses |= {f"edit_{name}": weights.edit * term for name, term in terms.items()}
    if batch.move is not None and weights.moves:
        edited = _edited(network, generator, found, plain, codes, batch.move.codes, view)
        moves = move_loss(generator, base, made.detach(), edited, batch.move)
        stays = stay_loss(source, edited, batch.move)
        losses |= {"moves": weights.moves * moves, "stays": weights.moves * stays}
    losses["total"] = torch.stack(list(losses.values())).sum()
    return losses


def move_loss(generator: Generator, base: Tensor, made: Tensor, edited: Tensor, move: MoveTarget) -> Tensor:
    """How differently an edit moves the compensated face and the encoder's own: mean absolute difference inside the face.

    A residual holds on to what an edit should change; this is what lets go of it.

    Args:
        base: n x 3 x 256 x 256, the encoder's picture.
        made, edited: n x 3 x S x S, the compensated face before and after the edit.
    """
    side = move.inside.shape[-1]
    with torch.no_grad():
        wanted = resize_area(generator.preview(move.codes).image, side) - resize_area(base, side)
    difference = resize_area(edited, side) - resize_area(made, side) - wanted
    return (difference.abs() * move.inside).sum() / (3 * len(difference) * move.inside.sum())


def stay_loss(source: Tensor, edited: Tensor, move: MoveTarget) -> Tensor:
    """Mean absolute difference of an edited face to its photo n x 3 x 256 x 256 outside the face."""
    side, outside = move.inside.shape[-1], 1 - move.inside
    difference = resize_area(edited, side) - resize_area(source, side)
    return (difference.abs() * outside).sum() / (3 * len(difference) * outside.sum()).clamp(min=1)


@torch.no_grad()
def _base(generator: Generator, codes: Tensor, kept: Tensor | None) -> tuple[Tensor, Tensor]:
    """The inversion's picture and its 64 px feature; with a picture kept from before only the feature is computed."""
    if kept is not None:
        return kept, generator.features(codes, (POINT,))[POINT]
    base, features = base_view(generator, Inversion(codes))
    return base, features[POINT]


def picture(generator: Generator, codes: Tensor, feature: Tensor, view: View = "head") -> Tensor:
    """codes n x L x 512 with `feature` n x C x 64 x 64 injected -> n x 3 x 256 x 256; see `sdic_step` for `view`."""
    inject: dict[Point, Injection] = {POINT: feature}
    if view == "full":
        return resize_area(generator.synthesize(codes, inject=inject).image, 256)
    if view == "sketch":
        sketched: Tensor = generator.sketch(codes, inject=inject).image  # type: ignore[attr-defined]
        return sketched
    made = generator.preview(codes, inject=inject).image
    if view == "corrected":
        with torch.no_grad():
            error = head_error(generator, codes, inject)
        made = made + error
    return made


def _edited(
    network: SDICNetwork,
    generator: Generator,
    found: Compensation,
    plain: Tensor,
    codes: Tensor,
    edited_codes: Tensor,
    view: View,
) -> Tensor:
    """The edit's picture, by the arithmetic of `pipelines.stages.compensate.sdic`."""
    with torch.no_grad():
        moved = generator.features(edited_codes, (POINT,))[POINT]
    residual = transport(found.feature - plain, plain, moved, WIDTH)
    return picture(generator, edited_codes + (found.latents - codes), moved + residual, view)


def _image_terms(
    likeness: Likeness, made: Tensor, wanted: Tensor, landmarks: Tensor | None, weights: Weights
) -> dict[str, Tensor]:
    terms = likeness(made, likeness.target(wanted, landmarks, weights), weights)
    return {name: values.mean() for name, values in terms.items()}
