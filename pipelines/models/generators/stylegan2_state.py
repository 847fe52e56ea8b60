"""From tensors under rosinality's names to a working StyleGAN2, and the statistics of its W."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from pipelines.errors import WeightsError
from pipelines.models.generators.stylegan2 import StyleGAN2
from pipelines.models.generators.w_statistics import w_statistics

STATISTICS_SAMPLES = 20_000
_CHUNK = 2_000
_MAX_RESOLUTION = 4096


def build_stylegan2(
    state: Mapping[str, Tensor], source: str = "the file", samples: int = STATISTICS_SAMPLES
) -> StyleGAN2:
    """A frozen float32 generator on the CPU, its size and channels read from the tensors' shapes.

    Args:
        state: rosinality's names without a prefix; its constant filters (``*.kernel``) are dropped. `latent_avg`
            (512, or L equal rows) becomes `w_avg`; where it is absent the mean of mapped samples does.
        source: how an error names the file.
        samples: mapped samples for the statistics of W.

    Raises:
        WeightsError: keys are missing or unknown, shapes do not fit each other, or a number is not finite.
    """
    tensors = {key: tensor for key, tensor in state.items() if not key.endswith(".kernel")}
    average = tensors.pop("latent_avg", None)
    with torch.device("meta"):
        generator = _empty(tensors, source)
    _check(generator, tensors, source)
    generator.to_empty(device="cpu").load_state_dict(tensors)
    set_statistics(generator, average, samples)
    return generator


def _empty(tensors: Mapping[str, Tensor], source: str) -> StyleGAN2:
    """A generator whose channels are those of the tensors, without memory behind it."""
    shapes = {key: tuple(tensor.shape) for key, tensor in tensors.items()}
    blocks = [key for key in shapes if re.fullmatch(r"to_rgbs\.\d+\.conv\.weight", key)]
    resolution = 4 << len(blocks)
    try:
        if not 8 <= resolution <= _MAX_RESOLUTION:
            raise KeyError("to_rgbs.0.conv.weight")
        channels = {4: shapes["conv1.conv.weight"][1]}
        for k in range(len(blocks)):
            channels[8 << k] = shapes[f"convs.{2 * k}.conv.weight"][1]
        mapping = sum(re.fullmatch(r"style\.\d+\.weight", key) is not None for key in shapes)
        return StyleGAN2(resolution, channels, shapes["style.1.weight"][0], mapping)
    except (KeyError, IndexError) as error:
        raise WeightsError(
            f"{source} holds no StyleGAN2 generator under rosinality's names: {error} is missing"
        ) from None


def _check(generator: StyleGAN2, tensors: Mapping[str, Tensor], source: str) -> None:
    expected = {key: tuple(tensor.shape) for key, tensor in generator.state_dict().items()}
    for what, keys in (("lacks", expected.keys() - tensors.keys()), ("has unknown", tensors.keys() - expected.keys())):
        if keys:
            raise WeightsError(f"{source} {what} tensors of a {generator.resolution} px StyleGAN2: {_some(keys)}")
    wrong = [key for key, shape in expected.items() if tuple(tensors[key].shape) != shape]
    if wrong:
        found = "x".join(map(str, tensors[wrong[0]].shape))
        raise WeightsError(
            f"{source}: {wrong[0]} is {found}, but a {generator.resolution} px StyleGAN2 needs "
            f"{'x'.join(map(str, expected[wrong[0]]))}; the file is damaged or of another architecture"
        )
    if broken := [key for key in expected if not bool(torch.isfinite(tensors[key]).all())]:
        raise WeightsError(f"{source}: {broken[0]} holds NaN or infinity; the file is damaged or its training diverged")


def _some(keys: set[str], most: int = 3) -> str:
    names = sorted(keys)
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


@torch.no_grad()
def set_statistics(generator: StyleGAN2, average: Tensor | None = None, samples: int = STATISTICS_SAMPLES) -> None:
    """Fill w_avg, w_std and w_whiten from `samples` mapped z (seeded, streamed, summed in float64).

    Args:
        average: the checkpoint's own `latent_avg`, dim or L x dim; its first row becomes `w_avg`. The spread is measured
            about the samples' own mean either way.
    """
    found = w_statistics(lambda z: generator.map(z.to(generator.device)), generator.dim, samples, _CHUNK)
    if average is not None:
        found["w_avg"] = average.reshape(-1, generator.dim)[0]
    for name, value in found.items():
        getattr(generator, name).copy_(value)
