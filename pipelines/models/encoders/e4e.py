"""The field's full-size encoders on an IR-SE-50 trunk: pSp (Richardson et al., CVPR 2021) and e4e (Tov et al., SIGGRAPH 2021).

One network under one set of keys, read in two ways: in pSp each row of W+ is a head's output, in e4e row 0 is the code of
all rows and the other heads give offsets from it. LSAP and Cycle Encoding train the e4e form with other losses.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipelines.errors import WeightsError
from pipelines.models.faces.arcface import IRSEBody

DIM = 512
COARSE, MIDDLE = 3, 7  # heads 0..2 read the 16 px level of a 256 px picture, 3..6 the 32 px one, the rest the 64 px one
_SLOPE = 0.01  # of the heads; the body has learned slopes, the generator 0.2
_LEVELS = (16, 32, 64)


class EqualLinear(nn.Module):
    """y = W / sqrt(in) x + b: the equalised learning rate of Karras et al. (ICLR 2018)."""

    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(channels, channels_in))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.scale = 1 / math.sqrt(channels_in)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight * self.scale, self.bias)


class StyleHead(nn.Module):
    """One row's head ("map2style"): 3 x 3 convolutions of stride 2 down to one pixel, then a linear layer.

    Args:
        size: side of the level that it reads when the picture is 256 px.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for _ in range(size.bit_length() - 1):
            layers += [nn.Conv2d(DIM, DIM, 3, 2, 1), nn.LeakyReLU(_SLOPE)]
        self.convs = nn.Sequential(*layers)
        self.linear = EqualLinear(DIM, DIM)

    def forward(self, level: Tensor) -> Tensor:
        """n x 512 x h x w -> n x 512; sides must shrink to one pixel (192 x 256 pictures do as well)."""
        row: Tensor = self.linear(self.convs(level).flatten(1))
        return row


class PyramidEncoder(IRSEBody):
    """Trunk, feature pyramid (Lin et al., CVPR 2017) and one head per row; how heads make a code is up to the subclass.

    Args:
        num_ws: rows of the code, 2 log2(R) - 2 for a generator of side R (18 at 1024 px).

    Attributes:
        latent_avg: L x 512, added to every code; zero where the encoder was trained without it.
    """

    name = ""

    def __init__(self, num_ws: int = 18) -> None:
        super().__init__()
        self.num_ws = num_ws
        self.styles = nn.ModuleList(StyleHead(_LEVELS[_level(row)]) for row in range(num_ws))
        self.latlayer1 = nn.Conv2d(256, DIM, 1)
        self.latlayer2 = nn.Conv2d(128, DIM, 1)
        self.latent_avg: Tensor = nn.Buffer(torch.zeros(num_ws, DIM))

    def pyramid(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """n x 3 x 256 x 256, RGB, [-1, 1] -> n x 512 levels of side 16, 32 and 64."""
        c1, c2, c3 = self.taps(images)
        p2 = _upsampled_onto(c3, self.latlayer1(c2))
        return c3, p2, _upsampled_onto(p2, self.latlayer2(c1))

    def head(self, row: int, levels: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        """Head `row` on its own level of `pyramid`: n x 512."""
        made: Tensor = self.styles[row](levels[_level(row)])
        return made


class PSp(PyramidEncoder):
    """Pictures -> codes, every row from its own head."""

    name = "psp"

    def forward(self, images: Tensor) -> Tensor:
        """images n x 3 x 256 x 256, RGB, [-1, 1] -> W+ n x L x 512, the average latent added."""
        levels = self.pyramid(images)
        return torch.stack([self.head(row, levels) for row in range(self.num_ws)], dim=1) + self.latent_avg


class Encoder4Editing(PyramidEncoder):
    """Pictures -> codes as row 0 plus offsets, the progressive form (Tov et al., section 5).

    Args:
        num_ws: as in `PyramidEncoder`.
        stage: how many offsets are in use: row i has one where 1 <= i <= stage, the others equal row 0. None = all.
            0 gives codes in W. May be changed at any time.
    """

    name = "e4e"

    def __init__(self, num_ws: int = 18, stage: int | None = None) -> None:
        super().__init__(num_ws)
        self.stage = stage

    def forward(self, images: Tensor) -> Tensor:
        """images n x 3 x 256 x 256, RGB, [-1, 1] -> W+ n x L x 512, the average latent added."""
        levels = self.pyramid(images)
        base = self.head(0, levels)
        last = self.num_ws - 1 if self.stage is None else min(self.stage, self.num_ws - 1)
        # Heads beyond the stage are not run at all: they would only cost time, and gradients of zero.
        rows = [base, *(base + self.head(row, levels) for row in range(1, last + 1))]
        rows += [base] * (self.num_ws - len(rows))
        return torch.stack(rows, dim=1) + self.latent_avg


def _level(row: int) -> int:
    return 0 if row < COARSE else 1 if row < MIDDLE else 2


def _upsampled_onto(coarse: Tensor, fine: Tensor) -> Tensor:
    """`coarse` at the side of `fine` (bilinear, corners aligned), plus `fine`."""
    return F.interpolate(coarse, fine.shape[2:], mode="bilinear", align_corners=True) + fine


Made = TypeVar("Made", bound=PyramidEncoder)


def build_pyramid_encoder(kind: type[Made], state: Mapping[str, Tensor]) -> Made:
    """The network from an e4e, pSp, LSAP or Cycle Encoding checkpoint's tensors, frozen and in eval mode.

    Args:
        kind: `Encoder4Editing` or `PSp`; the tensors do not tell.
        state: keys ``encoder.*`` (others, such as ``decoder.*``, are passed over) and, where the encoder was trained with
            it, ``latent_avg`` or ``encoder.latent_avg``, 512, L x 512 or 1 x L x 512. Batch norms' step counters may be
            absent.

    Raises:
        WeightsError: tensors are missing, surplus or of another shape.
    """
    own = {key.removeprefix("encoder."): tensor for key, tensor in state.items() if key.startswith("encoder.")}
    num_ws = len({key.split(".")[1] for key in own if key.startswith("styles.")})
    if not num_ws:
        raise WeightsError(f"this is not an {kind.name} checkpoint: it has no tensors encoder.styles.*")
    average = own.pop("latent_avg", state.get("latent_avg"))
    # On the meta device first: the random start of 267 M parameters would cost seconds and be thrown away.
    with torch.device("meta"):
        net = kind(num_ws)
    steps = {key: torch.tensor(0) for key in net.state_dict() if key.endswith("num_batches_tracked")}
    own = {**steps, **own, "latent_avg": _average(average, num_ws)}
    try:
        net.load_state_dict(own, assign=True)
    except RuntimeError as error:
        reason = str(error).splitlines()[1].strip() if "\n" in str(error) else str(error)
        raise WeightsError(f"this is not an {kind.name} checkpoint of {num_ws} rows: {reason[:200]}") from None
    return net.eval().requires_grad_(False)


def load_trunk(net: PyramidEncoder, state: Mapping[str, Tensor]) -> None:
    """Start an encoder's trunk from ArcFace's (``model_ir_se50.pth``), as e4e's training does; heads stay as they are.

    Raises:
        WeightsError: a tensor of the trunk is missing or of another shape. Batch norms' step counters may be absent.
    """
    trunk = {key: value for key, value in net.state_dict().items() if key.startswith(("input_layer.", "body."))}
    counted = {key: value for key, value in trunk.items() if key.endswith("num_batches_tracked")}
    found = counted | {key: state[key] for key in trunk if key in state}
    wrong = [key for key, value in trunk.items() if key not in found or found[key].shape != value.shape]
    if wrong:
        raise WeightsError(f"this is not an IR-SE-50 checkpoint: {wrong[0]} is missing or of another shape")
    net.load_state_dict(found, strict=False)


def _average(given: Tensor | None, num_ws: int) -> Tensor:
    if given is None:
        return torch.zeros(num_ws, DIM)
    rows = given.reshape(-1, DIM) if given.numel() % DIM == 0 else given
    if rows.ndim != 2 or len(rows) not in (1, num_ws):
        raise WeightsError(
            f"the average latent is {tuple(given.shape)}; an encoder of {num_ws} rows has 512 or L x 512"
        )
    return rows.float().expand(num_ws, DIM).clone()
