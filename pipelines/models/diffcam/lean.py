"""Diff-CAM's classifier on the generator's own features: small enough to train and run on a CPU core.

The paper (Song et al., arXiv 2207.08134) gives a ResNet-101 two *pictures* and takes the difference within. A generator's
features of the unedited and of the edited codes differ already, and only where the edit is, so that three convolutions on
their difference tell attributes apart; the mask is the same closed form (`pipelines.models.diffcam.masks.class_maps`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipelines.errors import WeightsError
from pipelines.models.diffcam.masks import class_maps
from pipelines.models.sdic.lean import act, conv
from pipelines.types import Generator, Point

POINT: Point = 64
SIDE = 32  # px, of the class maps
WIDTH = 64
REACH = 10.0  # deviations; codes far from every face must not blow the network up


class LeanDiffCAM(nn.Module):
    """Change of the 64 px feature n x C x 64 x 64 (edited less unedited) -> scores n x K.

    For a strength below 0 give the change negated: the attribute was taken away, so unedited and edited change places
    (specification, pitfall 2).

    Args:
        classes: names of the K attributes; kept in the weights as text, as another list means other rows.
        channels: C.
    """

    def __init__(self, classes: Sequence[str], channels: int = 512, width: int = WIDTH) -> None:
        super().__init__()
        self.classes = tuple(classes)
        self.names: Tensor = nn.Buffer(torch.tensor(list("\n".join(classes).encode()), dtype=torch.uint8))
        self.spread: Tensor = nn.Buffer(torch.ones(channels))
        self.read = conv(channels, width, 1)
        self.first = conv(width, width)
        self.second = conv(width, width)
        self.fc = nn.Linear(width, len(classes))

    def calibrate(self, features: Tensor) -> None:
        """Take the unit of each channel from plain features n x C x 64 x 64."""
        deviation = features.std(dim=(0, 2, 3))
        self.spread.copy_(deviation.clamp(min=float(deviation.mean()) * 0.01 + 1e-8))

    def activation(self, change: Tensor) -> Tensor:
        """n x W x 32 x 32, never below 0."""
        # A change of style shifts channels everywhere alike: that is nowhere in particular.
        local = change - change.mean(dim=(2, 3), keepdim=True)
        evened = (local / self.spread[:, None, None]).clamp(-REACH, REACH)
        x = F.avg_pool2d(self.read(evened), change.shape[-1] // SIDE)
        found: Tensor = self.second(act(self.first(act(x)))).relu()
        return found

    def maps(self, change: Tensor) -> Tensor:
        """n x K x 32 x 32, how much each place speaks for each class."""
        return class_maps(self.activation(change), self.fc.weight)

    def forward(self, change: Tensor) -> Tensor:
        scores: Tensor = self.fc(self.activation(change).mean(dim=(2, 3)))
        return scores


@torch.no_grad()
def lean_diffcam_for(generator: Generator, classes: Sequence[str], seed: int = 0, samples: int = 16) -> LeanDiffCAM:
    """A new, calibrated network for `generator`; the same weights for the same seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        z = torch.randn(samples, len(generator.w_avg))
        features = generator.features(generator.map(z.to(generator.device)), (POINT,))[POINT]
        network = LeanDiffCAM(classes, features.shape[1])
    network.to(generator.device).calibrate(features)
    return network


def load_lean_diffcam(tensors: Mapping[str, Tensor]) -> LeanDiffCAM:
    """A frozen network in eval mode, float32, on the CPU, from its state dict in any precision.

    Raises:
        WeightsError: these are no weights of a lean Diff-CAM.
    """
    try:
        text = bytes(tensors["names"].to(torch.uint8).tolist()).decode()
        network = LeanDiffCAM(text.split("\n"), len(tensors["spread"]), len(tensors["read.bias"]))
        network.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
    except (KeyError, RuntimeError, UnicodeDecodeError) as error:
        reason = str(error).splitlines()[-1].strip()
        raise WeightsError(f"these are no weights of a lean Diff-CAM: {reason}") from None
    return network.requires_grad_(False).eval()
