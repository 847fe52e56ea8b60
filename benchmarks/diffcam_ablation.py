"""What each part of `--compose diffcam` does to edits of photos, beside `--compose detail`: one table, and pictures.

    python -m benchmarks.diffcam_ablation ./faces -o ./ablation --attr smile=+2 --attr smile=-2

`faces` holds aligned crops (`ganinv align`). Rows: the codes' own picture; composed by `detail`; a composite by masks as the
paper makes them (8 x 8, stretched to 0 to 1, bounded by nothing) of our closed form, without deghosting; the plain composite,
and the same with ghosts taken out; with `--weights` both also with the trained masks. Columns, means over faces and edits:

- `same`, `id`: share of results within dlib's distance of the photo, and the metric `id-dlib`; `moved`: change of the attribute
  from the inversion, over that of the codes' own picture (mean over mean);
- `doubled`: contours of photo and edited render seen at once, in the composite's mask (0: one of them everywhere);
  `ghost`: the metric of that name;
- `kept`: share of the picture's pixels that are the photo's, bit for bit; `seconds`: of composing, without rendering.
"""

from __future__ import annotations

import argparse
import os
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pipelines.edits import Edit, make_edit, parse_edits
from pipelines.images.decode import decode, read_photo
from pipelines.images.pixels import encode, resize_area, to_tensor, to_uint8
from pipelines.metrics.faces import Faces, Picture, Trio
from pipelines.metrics.registry import build_metrics
from pipelines.metrics.tools import Tools
from pipelines.models.diffcam.deghost import load_deghost
from pipelines.models.diffcam.lean import POINT, load_lean_diffcam
from pipelines.models.diffcam.masks import joined_mask, official_masks
from pipelines.specs import EditSpec
from pipelines.stages.align.aligner import locate
from pipelines.stages.build import build_chain, plan_chain
from pipelines.stages.compose.activation import Mouth, evidence
from pipelines.stages.compose.detail import build_detail
from pipelines.stages.compose.diffcam import GHOSTS, DiffCAMComposer, build_diffcam
from pipelines.stages.compose.filters import luma
from pipelines.stages.compose.manners import known_manner
from pipelines.stages.compose.state import Prepared
from pipelines.stages.edit.direction_set import DirectionSet
from pipelines.stages.edit.directions import attribute_scales, own_directions
from pipelines.stages.entry import Parts
from pipelines.training.checkpoint import load_state
from pipelines.types import Composer, Composition, FaceBatch, Generator
from pipelines.weights.store import StoreConfig, WeightStore

METRICS = ("id-dlib", "same-person", "attributes", "ghost")
WINDOW = 17  # px of 512
COLUMNS = ("same", "id", "moved", "doubled", "ghost", "kept", "seconds")


def doubled(photo: Tensor, edited: Tensor, result: Tensor, mask: Tensor) -> float:
    """Both layers at once: in windows, the result's gradients are the sum of a share of each layer's (least squares, no share
    below 0); the lesser share over the greater, weighted by the mask and by how much the layers differ.

    Args:
        photo, edited, result: 1 x 3 x R x R; mask: 1 x 1 x R x R.
    """
    fields = [_gradients(resize_area(x, 512)) for x in (photo, edited, result)]
    s, t, f = fields
    ss, tt, st, sf, tf = (_sums(a, b) for a, b in ((s, s), (t, t), (s, t), (s, f), (t, f)))
    determinant = (ss * tt - st * st).clamp_min(1e-8)
    of_photo, of_edit = ((sf * tt - tf * st) / determinant, (tf * ss - sf * st) / determinant)
    low, high = (pick(of_photo.clamp_min(0), of_edit.clamp_min(0)) for pick in (torch.minimum, torch.maximum))
    weight = resize_area(mask, 512)[..., 1:-1, 1:-1] * _sums(s - t, s - t)
    return float((weight * low / high.clamp_min(1e-3)).sum() / weight.sum().clamp_min(1e-9))


def _gradients(x: Tensor) -> Tensor:
    grey = luma(x)
    return torch.cat((grey[..., 1:-1, 2:] - grey[..., 1:-1, :-2], grey[..., 2:, 1:-1] - grey[..., :-2, 1:-1]), dim=1)


def _sums(a: Tensor, b: Tensor) -> Tensor:
    return F.avg_pool2d((a * b).sum(dim=1, keepdim=True), WINDOW, 1, WINDOW // 2)


class Published(DiffCAMComposer):
    """The plain composite by masks of 8 x 8, never 0, as the paper's; what they are made of is our closed form."""

    def mask(self, photo: Prepared, change: Tensor, edit: Edit, mouth: Mouth | None) -> Tensor:
        return joined_mask(official_masks(F.avg_pool2d(evidence(None, change, edit), 4)))


def compared(
    store: WeightStore, generator: Generator, directions: DirectionSet, weights: Path | None
) -> dict[str, Composer]:
    """The rows of the table, but the codes' own picture."""
    device = torch.device("cpu")
    parts, plain = (Parts(store, device, directions, None, deghost) for deghost in (True, False))
    heads = build_detail(parts, generator)
    rows: dict[str, Composer] = {
        "detail": heads,
        "as published": Published(heads=heads),
        "composite": build_diffcam(plain, generator),
        "deghosted": build_diffcam(parts, generator),
    }
    if weights is not None:
        classifier, deghost = load_lean_diffcam(load_state(weights)["network"]), load_deghost(parts.tensors(GHOSTS))
        rows["composite, trained mask"] = DiffCAMComposer(classifier, None, heads)
        rows["deghosted, trained mask"] = DiffCAMComposer(classifier, deghost, heads)
    return rows


def asked_of(name: str, edit: Edit) -> Edit:
    """The edit in the units of that row: `detail` has its own (docs/decisions/0036), the others the directions'."""
    if name != "detail":
        return edit
    return make_edit([(term, strength / known_manner(term).unit) for term, strength in edit.terms])


class Bench:
    """The chain, the rows, and what judges them."""

    def __init__(self, compensate: str, weights: Path | None) -> None:
        store = WeightStore(StoreConfig.from_env(os.environ))
        spec = EditSpec.model_validate(
            {"inputs": ["unused"], "output": "unused", "compensate": compensate, "compose": "none"}
        )
        self.chain = build_chain(plan_chain(spec, store), store, torch.device("cpu"))
        self.directions = DirectionSet(own_directions(self.chain.generator.num_ws))
        self.composers = compared(store, self.chain.generator, self.directions, weights)
        self.tools = Tools(store, torch.device("cpu"), scales=attribute_scales())
        self.judges = build_metrics(METRICS, self.tools)

    @torch.no_grad()
    def face(self, path: Path, output: Path, edits: tuple[Edit, ...]) -> Iterator[tuple[str, dict[str, float]]]:
        """(row, figures) of every edit; pictures are written."""
        picture, chain = decode(read_photo(path)), self.chain
        faces = FaceBatch(to_tensor([picture]), torch.from_numpy(locate(picture, self.tools.finder))[None])
        inversion = chain.invert(faces)
        prepared = chain.compensator.prepare(faces, inversion)
        base = chain.compensator.render(prepared, inversion.latents, (POINT,))
        source, before = self._faces(faces.images), self._faces(base.image)
        states = {name: composer.prepare(faces, inversion, base) for name, composer in self.composers.items()}
        for edit in edits:
            moved = chain.compensator.render(prepared, self.directions.apply(inversion.latents, edit.terms), (POINT,))
            mask = self.composers["composite"].compose(states["composite"], moved, edit).mask
            for name in ("codes", *self.composers):
                made, seconds = Composition(moved.image, torch.ones_like(mask)), 0.0
                if name != "codes":
                    [step] = self.composers[name].steps(asked_of(name, edit))
                    codes = self.directions.apply(inversion.latents, step.terms)
                    edited = moved if name != "detail" else chain.compensator.render(prepared, codes, (POINT,))
                    started = time.perf_counter()
                    made = self.composers[name].compose(states[name], edited, step)
                    seconds = time.perf_counter() - started
                write(output / name / edit.name / f"{path.stem}.png", made.image)
                yield (
                    name,
                    self._figures(Trio(source, before, self._faces(made.image)), edit)
                    | {
                        "doubled": doubled(faces.images, moved.image, made.image, mask),
                        "kept": float((made.image == faces.images).all(dim=1).float().mean()),
                        "seconds": seconds,
                    },
                )

    def _faces(self, image: Tensor) -> Faces:
        return Faces([Picture.of(to_uint8(image)[0])], image.device, lambda x: locate(x, self.tools.finder))

    def _figures(self, trio: Trio, edit: Edit) -> dict[str, float]:
        found = {key: float(value[0]) for judge in self.judges for key, value in judge.score(trio).items()}
        name, strength = edit.terms[0]
        sign = 1 if strength > 0 else -1
        moved = found[f"attributes.{name.split('@')[0]}"] * sign
        return {"same": found["same-person"], "id": found["id-dlib"], "moved": moved, "ghost": found["ghost"]}


def write(path: Path, image: Tensor) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode(to_uint8(image)[0], "png"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("faces", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--attr", action="append", required=True, help="an edit of one attribute, as for `ganinv edit`")
    parser.add_argument("--weights", type=Path, help="best.safetensors of a run of ganinv train diffcam")
    parser.add_argument("--compensate", default="sdic-wide", help="as for `ganinv edit`")
    args = parser.parse_args()
    torch.set_num_threads(1)
    bench, found = Bench(args.compensate, args.weights), defaultdict(list)
    for path in sorted(args.faces.glob("*.png")):
        for name, row in bench.face(path, args.output, parse_edits(args.attr)):
            found[name].append(row)
    whole = np.nanmean([row["moved"] for row in found["codes"]])
    print("| composed by | n | " + " | ".join(COLUMNS) + " |\n|" + " --- |" * (len(COLUMNS) + 2))
    for name, rows in found.items():
        means = {column: float(np.nanmean([row[column] for row in rows])) for column in COLUMNS}
        means["moved"] /= whole
        print(f"| {name} | {len(rows)} | " + " | ".join(f"{means[column]:.3f}" for column in COLUMNS) + " |")


if __name__ == "__main__":
    main()
