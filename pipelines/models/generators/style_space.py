"""Normalised style space and the distance to its centre, which tell how alike a code is to the generator's own.

LSAP (Cao et al., arXiv 2209.12746) calls a code aligned when its styles point where those of sampled codes point. The
style of a layer is A(w), its affine map: the vector that multiplies the convolution's input channels. *Normalised* means
divided by its own L2 norm, layer by layer, which is no standardisation. One layer stands for each row of W+ that the
generator reads:

- `MobileStyleGAN`: rows 0 to 15. Row 0: the 4 px convolution; row 2i+1: block i's first convolution (`conv1`, not the
  modulation of the step up before it); row 2i+2: its second; row 15: the image head. Rows 16 and 17 are not read.
- `StyleGAN2`: every row. `conv1`, then every styled convolution, then the *last* toRGB; the other toRGB layers are left
  out (LSAP's choice).
- other generators say it themselves, through a method `style_layers`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipelines.models.generators.mobile import HEAD_ROW, Block, MobileStyleGAN
from pipelines.models.generators.stylegan2 import StyleGAN2
from pipelines.models.ops import as_rows

SAMPLES = 100_000  # LSAP's number of sampled codes
_CHUNK = 1000

StyleLayer = tuple[int, nn.Module]  # the row of W+ that drives it, the affine map n x 512 -> n x C


@runtime_checkable
class HasStyleLayers(Protocol):
    """A generator that names the layers of its own style space."""

    def style_layers(self) -> Sequence[StyleLayer]: ...


class MappedGenerator(Protocol):
    """What a centre needs of a generator; see `pipelines.types.Generator`."""

    num_ws: int
    w_avg: Tensor

    @property
    def device(self) -> torch.device: ...

    def map(self, z: Tensor) -> Tensor: ...


def style_layers(generator: object) -> tuple[StyleLayer, ...]:
    """The layers that stand for the generator's rows, rows rising.

    Raises:
        TypeError: a generator whose style space is not known.
    """
    if isinstance(generator, HasStyleLayers):
        return tuple(generator.style_layers())
    if isinstance(generator, MobileStyleGAN):
        layers: list[StyleLayer] = [(0, generator.conv0.affine)]
        for index, block in enumerate(generator.blocks):
            assert isinstance(block, Block)
            layers += [(2 * index + 1, block.conv1.affine), (2 * index + 2, block.conv2.affine)]
        return (*layers, (HEAD_ROW, generator.head_affine))
    if isinstance(generator, StyleGAN2):
        chosen = [generator.layers[index] for index in generator.row_layers()]
        return tuple((layer.row, generator.get_submodule(f"{layer.module}.conv.modulation")) for layer in chosen)
    raise TypeError(f"the style space of {type(generator).__name__} is not known; give it a method style_layers()")


@dataclass(frozen=True)
class StyleCentre:
    """Where the normalised styles of a generator's own codes point on average.

    Attributes:
        layers: see `style_layers`; the generator's own modules, so that it moves and is frozen with them.
        vectors: a layer's mean normalised style, C values; shorter than 1, and not normalised again (LSAP's loss).
        num_ws: rows of a code.
        samples: how many codes were drawn.
        seed: of the draw.
        digest: sha256 of the weights that decide the vectors (`centre_digest`).
    """

    layers: tuple[StyleLayer, ...]
    vectors: tuple[Tensor, ...]
    num_ws: int
    samples: int
    seed: int
    digest: str

    def similarity(self, codes: Tensor) -> Tensor:
        """codes n x L x 512 (or n x 512) -> n x layers: normalised style . centre, in [-|centre|, |centre|]."""
        rows = as_rows(codes, self.num_ws).float()
        # In float32 whatever surrounds it: LSAP divides by a bare norm, and half precision would lose small ones.
        with torch.autocast(rows.device.type, enabled=False):
            found = [
                F.normalize(affine(rows[:, row]), dim=1) @ centre.to(rows)
                for (row, affine), centre in zip(self.layers, self.vectors, strict=True)
            ]
            return torch.stack(found, dim=1)

    def cosine(self, codes: Tensor) -> Tensor:
        """As `similarity`, divided by the centre's length: true cosines, in [-1, 1]."""
        lengths = torch.stack([vector.norm() for vector in self.vectors])
        return self.similarity(codes) / lengths.to(codes.device)


def aligned_distance(codes: Tensor, centre: StyleCentre, stage: int) -> Tensor:
    """LSAP's alignment loss: minus the sum over rows 0..stage of the batch mean of `StyleCentre.similarity`.

    A sum and not a mean, of plain dot products with a centre shorter than 1, without "1 -": negative in practice, with
    the gradient of sum (1 - similarity).

    Args:
        codes: n x L x 512 as the generator gets them, the average latent included.
        centre: of the generator that the codes are for.
        stage: the progressive stage; L - 1 or more takes every row that the generator reads.

    Returns:
        A scalar in [-rows, rows].
    """
    means = centre.similarity(codes).mean(0)
    used = [index for index, (row, _) in enumerate(centre.layers) if row <= stage]
    return -means[used].sum()


def nscd(codes: Tensor, centre: StyleCentre) -> Tensor:
    """Normalised style space cosine distance: mean over the generator's rows of 1 - cos(style, centre).

    This project's reading (the paper's code holds the loss alone): true cosines, and a mean over rows.

    Args:
        codes: n x L x 512, the average latent included.
        centre: of the generator that the codes are for.

    Returns:
        n values in [0, 2]; lower is closer to the generator's own codes.
    """
    return (1 - centre.cosine(codes)).mean(1)


@torch.no_grad()
def style_centre(generator: MappedGenerator, samples: int = SAMPLES, seed: int = 0) -> StyleCentre:
    """Draw codes z ~ N(0, I), w = map(z) without truncation, and average their normalised styles.

    Sums run in float64 over chunks, so memory does not grow with `samples`. z is drawn on the CPU, hence the same on
    every device.
    """
    layers = style_layers(generator)
    vectors = mean_styles(layers, _drawn(generator, samples, seed))
    return StyleCentre(layers, vectors, generator.num_ws, samples, seed, centre_digest(generator))


def _drawn(generator: MappedGenerator, samples: int, seed: int) -> Iterator[Tensor]:
    rng = torch.Generator().manual_seed(seed)
    for start in range(0, samples, _CHUNK):
        z = torch.randn(min(_CHUNK, samples - start), len(generator.w_avg), generator=rng)
        yield generator.map(z.to(generator.device))


@torch.no_grad()
def mean_styles(layers: Sequence[StyleLayer], codes: Iterable[Tensor]) -> tuple[Tensor, ...]:
    """Chunks of codes, each n x 512, -> per layer the mean of all normalised styles, C values, float32 on the CPU."""
    sums = [torch.zeros((), dtype=torch.float64)] * len(layers)
    count = 0
    for w in codes:
        count += len(w)
        for index, (_, affine) in enumerate(layers):
            sums[index] = sums[index] + F.normalize(affine(w), dim=1).cpu().double().sum(0)
    return tuple((total / count).float() for total in sums)


def centre_digest(generator: object) -> str:
    """sha256, hex, of the weights that a centre depends on: the mapping network and the affine maps of `style_layers`.

    A generator whose mapping network is not known is hashed whole.
    """
    found = hashlib.sha256()
    mapping = getattr(generator, "style" if isinstance(generator, StyleGAN2) else "mapping", generator)
    modules = [("mapping", mapping)] if isinstance(mapping, nn.Module) else []
    for part, module in (*modules, *((f"row {row}", affine) for row, affine in style_layers(generator))):
        for name, tensor in module.state_dict().items():
            found.update(f"{part} {name} {tuple(tensor.shape)}".encode())
            found.update(tensor.detach().float().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()
