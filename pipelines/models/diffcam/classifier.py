"""The official Diff-CAM classifier: which attribute tells two pictures of one face apart (Song et al., arXiv 2207.08134).

ResNet-101 (He et al., CVPR 2016; the stride on the 3 x 3 convolution), split after the tenth block of its third layer: the
first part sees each picture, the second the difference of what the first made of them.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor, nn

from pipelines.errors import WeightsError
from pipelines.models.diffcam.masks import class_maps

CLASSES = 17
# Directions that were published with the network, and their places among its 17 classes.
INDICES = {
    "bushy_eyebrows": 6,
    "eyeglasses": 7,
    "mouth_open": 10,
    "narrow_eyes": 11,
    "beard": 12,
    "smile": 15,
    "old": 16,
}
_EXPANSION = 4


class Bottleneck(nn.Module):
    """1 x 1, 3 x 3, 1 x 1 convolutions beside a shortcut, under torchvision's keys."""

    def __init__(self, c_in: int, width: int, stride: int = 1) -> None:
        super().__init__()
        c_out = _EXPANSION * width
        self.conv1 = nn.Conv2d(c_in, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, c_out, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(c_out)
        self.downsample: nn.Sequential | None = None
        if c_in != c_out or stride > 1:
            self.downsample = nn.Sequential(nn.Conv2d(c_in, c_out, 1, stride, bias=False), nn.BatchNorm2d(c_out))

    def forward(self, x: Tensor) -> Tensor:
        made = F.relu(self.bn1(self.conv1(x)))
        made = F.relu(self.bn2(self.conv2(made)))
        shortcut = x if self.downsample is None else self.downsample(x)
        return F.relu(self.bn3(self.conv3(made)) + shortcut)


def _layer(c_in: int, width: int, count: int, stride: int) -> list[nn.Module]:
    rest = [Bottleneck(_EXPANSION * width, width) for _ in range(count - 1)]
    return [Bottleneck(c_in, width, stride), *rest]


class DiffCAM(nn.Module):
    """(unedited, edited) n x 3 x 256 x 256 RGB in [-1, 1], without ImageNet's mean and spread -> scores n x K.

    Args:
        classes: K; 17 in the published checkpoint, as many as directions in one of your own.
    """

    def __init__(self, classes: int = CLASSES) -> None:
        super().__init__()
        third = _layer(512, 256, 23, 2)
        self.shared = nn.Sequential(
            nn.Conv2d(3, 64, 7, 2, 3, bias=False),
            nn.BatchNorm2d(64),
            nn.ReLU(),
            nn.MaxPool2d(3, 2, 1),
            nn.Sequential(*_layer(64, 64, 3, 1)),
            nn.Sequential(*_layer(256, 128, 4, 2)),
            *third[:10],
        )
        self.classifier = nn.Sequential(*third[10:], nn.Sequential(*_layer(1024, 512, 3, 2)))
        self.fc = nn.Linear(2048, classes)

    def activation(self, unedited: Tensor, edited: Tensor) -> Tensor:
        """n x 2048 x 8 x 8, whose mean the scores are read off; the difference is edited less unedited."""
        before: Tensor = self.shared(unedited)
        found: Tensor = self.classifier(self.shared(edited) - before)
        return found

    def maps(self, unedited: Tensor, edited: Tensor) -> Tensor:
        """n x K x 8 x 8, see `class_maps`."""
        return class_maps(self.activation(unedited, edited), self.fc.weight)

    def forward(self, unedited: Tensor, edited: Tensor) -> Tensor:
        scores: Tensor = self.fc(self.activation(unedited, edited).mean(dim=(2, 3)))
        return scores


def load_diffcam(tensors: Mapping[str, Tensor]) -> DiffCAM:
    """A frozen network in eval mode, float32, on the CPU, from a checkpoint under its own keys.

    Raises:
        WeightsError: a tensor is missing, superfluous or has another shape.
    """
    classes = len(tensors["fc.bias"]) if "fc.bias" in tensors else CLASSES
    network = DiffCAM(classes)
    # Step counters of batch norm decide nothing at inference; some files lack them.
    counters = {key: value for key, value in network.state_dict().items() if key.endswith("num_batches_tracked")}
    try:
        network.load_state_dict(counters | dict(tensors))
    except RuntimeError as error:
        reason = str(error).splitlines()[1].strip()
        raise WeightsError(f"these are no weights of the Diff-CAM classifier: {reason}") from None
    return network.requires_grad_(False).eval()
