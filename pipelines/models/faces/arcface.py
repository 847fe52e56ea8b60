"""ArcFace identity embeddings (Deng et al., CVPR 2019) on the IR-SE-50 backbone that this field compares faces with.

The backbone is a pre-activation ResNet-50 variant with squeeze-and-excitation (Hu et al., CVPR 2018). Its stem and
body, `IRSEBody`, are also the trunk of the pSp and e4e encoders (Richardson et al., CVPR 2021; Tov et al.,
SIGGRAPH 2021), under the same key names as in ``model_ir_se50.pth``.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipelines.errors import WeightsError

EMBEDDING = 512
GROUPS = ((64, 64, 3), (64, 128, 4), (128, 256, 14), (256, 512, 3))  # in, out, units; each group halves the side
CROP_ROWS = slice(35, 223)  # of the aligned 256 px picture: the face without hair and background
CROP_COLUMNS = slice(32, 220)
_REDUCTION = 16


class _Squeeze(nn.Module):
    """Scales channels by a gate computed from their means; keys fc1, fc2."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, channels // _REDUCTION, 1, bias=False)
        self.fc2 = nn.Conv2d(channels // _REDUCTION, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        gate = self.fc2(F.relu(self.fc1(x.mean(dim=(2, 3), keepdim=True))))
        return x * torch.sigmoid(gate)


class _Unit(nn.Module):
    """One residual unit; no activation after the sum. A shortcut that keeps its width only subsamples."""

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.res_layer = nn.Sequential(
            nn.BatchNorm2d(channels_in),
            nn.Conv2d(channels_in, channels, 3, 1, 1, bias=False),
            nn.PReLU(channels),
            nn.Conv2d(channels, channels, 3, stride, 1, bias=False),
            nn.BatchNorm2d(channels),
            _Squeeze(channels),
        )
        self.shortcut_layer: nn.Module | None = None
        if channels_in != channels:
            self.shortcut_layer = nn.Sequential(
                nn.Conv2d(channels_in, channels, 1, stride, bias=False), nn.BatchNorm2d(channels)
            )

    def forward(self, x: Tensor) -> Tensor:
        project = self.shortcut_layer
        shortcut = x[:, :, :: self.stride, :: self.stride] if project is None else project(x)
        made: Tensor = shortcut + self.res_layer(x)
        return made


class IRSEBody(nn.Module):
    """Stem and 24 residual units of IR-SE-50: keys ``input_layer.*`` and ``body.*``."""

    def __init__(self) -> None:
        super().__init__()
        self.input_layer = nn.Sequential(nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64), nn.PReLU(64))
        units = [
            _Unit(channels_in if index == 0 else channels, channels, 2 if index == 0 else 1)
            for channels_in, channels, count in GROUPS
            for index in range(count)
        ]
        self.body = nn.Sequential(*units)

    def taps(self, x: Tensor, units: tuple[int, ...] = (6, 20, 23)) -> list[Tensor]:
        """Pictures -> the outputs of these units.

        Args:
            x: n x 3 x H x W, RGB, [-1, 1].
            units: rising positions in the body. The default gives an encoder's three: 128, 256 and 512 channels at a
                quarter, an eighth and a sixteenth of the side.
        """
        made = []
        x = self.input_layer(x)
        for index, unit in enumerate(self.body[: units[-1] + 1]):
            x = unit(x)
            if index in units:
                made.append(x)
        return made


class ArcFace(IRSEBody):
    """IR-SE-50 with its embedding head, for 112 px faces. Frozen and in eval mode; gradients flow to the picture."""

    def __init__(self) -> None:
        super().__init__()
        self.output_layer = nn.Sequential(
            nn.BatchNorm2d(512),
            nn.Dropout(),
            nn.Flatten(),
            nn.Linear(512 * 7 * 7, EMBEDDING),
            nn.BatchNorm1d(EMBEDDING),
        )
        self.eval().requires_grad_(False)

    def embed(self, faces: Tensor) -> Tensor:
        """faces n x 3 x 112 x 112, RGB, [-1, 1] -> n x 512 of length 1."""
        return F.normalize(self.output_layer(self.taps(faces, (23,))[0]), dim=1)

    def forward(self, images: Tensor) -> Tensor:
        """images n x 3 x 256 x 256 (FFHQ alignment), RGB, [-1, 1] -> n x 512 of length 1; dot products are cosines."""
        return self.embed(crop_112(images))


def crop_112(images: Tensor) -> Tensor:
    """n x 3 x 256 x 256 -> n x 3 x 112 x 112: the fixed face region (188 px), averaged down, as pSp and e4e do.

    Raises:
        ValueError: pictures of another size.
    """
    if images.shape[2:] != (256, 256):
        raise ValueError(f"identity is measured on 256 x 256 pictures, not {tuple(images.shape[2:])}")
    return F.adaptive_avg_pool2d(images[:, :, CROP_ROWS, CROP_COLUMNS], 112)


def build_arcface(state: Mapping[str, Tensor]) -> ArcFace:
    """The network from the tensors of ``model_ir_se50.pth``.

    Raises:
        WeightsError: tensors are missing or of another shape. Batch norms' step counters may be absent.
    """
    # On the meta device first: the random start of 44 M parameters would cost a second and be thrown away.
    with torch.device("meta"):
        net = ArcFace()
    known = net.state_dict()
    steps = {key: torch.tensor(0) for key in known if key.endswith("num_batches_tracked")}
    try:
        net.load_state_dict({**steps, **state}, assign=True)
    except RuntimeError as error:
        reason = str(error).splitlines()[1].strip() if "\n" in str(error) else str(error)
        raise WeightsError(f"this is not an IR-SE-50 ArcFace checkpoint: {reason[:200]}") from None
    return net.eval().requires_grad_(False)
