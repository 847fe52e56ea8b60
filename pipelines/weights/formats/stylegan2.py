"""StyleGAN2 (Karras et al., CVPR 2020) as rosinality's PyTorch port names its tensors; our own format for generators.

Written to safetensors: the port's keys without prefix and without the constant FIR kernels, and `latent_avg` (512), the
mean of the mapping network's output.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from pipelines.weights.formats.parts import Found, Layout, Mismatch, Part, checked, strip

STYLE = 512
SIZES = (8, 16, 32, 64, 128, 256, 512, 1024, 2048)
_MEAN_SAMPLES = 10_000  # as upstream where a file lacks the mean
_KERNEL = torch.tensor([1.0, 3.0, 3.0, 1.0])
_SKIPPED = re.compile(r"(.*\.)?kernel")


def channels(size: int, multiplier: int) -> int:
    """Channels of the features of `size` pixels; config-f has multiplier 2."""
    return 512 if size <= 32 else min(512, 16384 * multiplier // size)


def layout(size: int, widths: Mapping[int, int] | None = None, mapping: int = 8) -> Layout:
    """Keys and shapes of a generator of `size` pixels, FIR kernels and `latent_avg` left out.

    Args:
        widths: side of a feature in pixels -> its channels; config-f's where not given.
    """
    widths = widths or {4 << level: channels(4 << level, 2) for level in range(size.bit_length() - 2)}
    found: Layout = {}
    for index in range(1, mapping + 1):
        found |= {f"style.{index}.weight": (STYLE, STYLE), f"style.{index}.bias": (STYLE,)}
    found |= {"input.input": (1, widths[4], 4, 4), "noises.noise_0": (1, 1, 4, 4)}
    found |= _styled("conv1", widths[4], widths[4])
    found |= _to_rgb("to_rgb1", widths[4])
    for level in range(size.bit_length() - 3):
        side = 8 << level
        into, out = widths[side // 2], widths[side]
        found |= _styled(f"convs.{2 * level}", out, into) | _styled(f"convs.{2 * level + 1}", out, out)
        found |= _to_rgb(f"to_rgbs.{level}", out)
        found |= {f"noises.noise_{2 * level + n}": (1, 1, side, side) for n in (1, 2)}
    return found


def _modulated(name: str, out: int, into: int, kernel: int) -> Layout:
    modulation = {f"{name}.modulation.weight": (into, STYLE), f"{name}.modulation.bias": (into,)}
    return {f"{name}.weight": (1, out, into, kernel, kernel)} | modulation


def _styled(name: str, out: int, into: int) -> Layout:
    return _modulated(f"{name}.conv", out, into, 3) | {f"{name}.noise.weight": (1,), f"{name}.activate.bias": (out,)}


def _to_rgb(name: str, into: int) -> Layout:
    return _modulated(f"{name}.conv", 3, into, 1) | {f"{name}.bias": (1, 3, 1, 1)}


def is_generator(tensors: Mapping[str, Tensor]) -> bool:
    """Whether these look like a rosinality generator's tensors (without prefix)."""
    return {"input.input", "conv1.conv.weight", "to_rgb1.bias"} <= set(tensors)


def generator_part(tensors: Mapping[str, Tensor], mean: Tensor | None) -> tuple[Part, tuple[str, ...]]:
    """A generator, checked, and notes.

    Args:
        tensors: under rosinality's keys; FIR kernels may be there.
        mean: `latent_avg`, 512 or n x 512 (its first row counts), or None: then the mean of 10,000 codes is made.

    Raises:
        Mismatch: not exactly such a generator, or with other FIR kernels.
    """
    size, widths, mapping = _numbers(tensors)
    for key in (key for key in tensors if _SKIPPED.fullmatch(key)):
        _check_kernel(key, tensors[key])
    what = f"StyleGAN2 generator of {size} px"
    kept = checked(what, tensors, layout(size, widths, mapping), lambda key: bool(_SKIPPED.fullmatch(key)))
    notes: tuple[str, ...] = ()
    if mean is None:
        kept["latent_avg"] = mapping_mean(kept, mapping)
        notes = (f"the file has no latent_avg: the mean of {_MEAN_SAMPLES} codes was computed",)
    else:
        kept["latent_avg"] = mean_row(mean)
    rows = 2 * (size.bit_length() - 1) - 2
    params = {"resolution": size, "num_ws": rows, "mapping_layers": mapping}
    return Part("generator", "generator", "stylegan2", params, kept), notes


def _numbers(tensors: Mapping[str, Tensor]) -> tuple[int, dict[int, int], int]:
    """(size, channels by side, mapping layers) from the keys and the shapes of the convolutions."""
    levels = len({key.split(".")[1] for key in tensors if key.startswith("to_rgbs.")})
    mapping = len({key.split(".")[1] for key in tensors if key.startswith("style.")})
    if 4 << levels not in SIZES or not 1 <= mapping <= 16:
        raise Mismatch(f"a StyleGAN2 generator with {levels} levels and {mapping} mapping layers is not known")
    names = {4: "conv1.conv.weight"} | {8 << level: f"convs.{2 * level}.conv.weight" for level in range(levels)}
    found = {side: tensors[name].shape for side, name in names.items() if name in tensors}
    # What is missing or misshapen is complained about with the layout: any number will do here.
    return 4 << levels, {side: found[side][1] if len(found.get(side, ())) == 5 else 512 for side in names}, mapping


def _check_kernel(key: str, kernel: Tensor) -> None:
    """Only [1, 3, 3, 1] is known; another one would give other pictures."""
    wanted = torch.outer(_KERNEL, _KERNEL)
    if kernel.shape != wanted.shape or not torch.allclose(kernel / kernel.sum(), wanted / wanted.sum(), atol=1e-4):
        raise Mismatch(f"the StyleGAN2 generator has another resampling kernel than [1, 3, 3, 1] in {key}")


def mean_row(mean: Tensor) -> Tensor:
    """`latent_avg` as 512 numbers; raises Mismatch where it is something else or not finite."""
    row = mean.reshape(-1, mean.shape[-1])[0] if mean.ndim and mean.numel() else mean
    if row.shape != (STYLE,) or not torch.isfinite(row).all():
        raise Mismatch(f"latent_avg has shape {tuple(mean.shape)} (or is not finite), not 512 or n x 512")
    return row.float().clone()


def mapping_mean(tensors: Mapping[str, Tensor], layers: int, samples: int = _MEAN_SAMPLES) -> Tensor:
    """Mean of w over normal z (fixed seed), 512: pixel norm, then equalised layers of learning-rate multiplier 0.01."""
    z = torch.randn(samples, STYLE, generator=torch.Generator().manual_seed(0))
    codes = z * torch.rsqrt(z.square().mean(1, keepdim=True) + 1e-8)
    for index in range(1, layers + 1):
        weight = tensors[f"style.{index}.weight"].float() * (0.01 / STYLE**0.5)
        codes = torch.addmm(tensors[f"style.{index}.bias"].float() * 0.01, codes, weight.T)
        codes = torch.nn.functional.leaky_relu(codes, 0.2) * 2**0.5
    return codes.mean(0)


def rosinality(tensors: Mapping[str, Tensor]) -> Found | None:
    """A training or conversion checkpoint (`g_ema`, perhaps `latent_avg`), or a bare generator; None where neither."""
    bare = is_generator(tensors)
    inside = dict(tensors) if bare else strip(tensors, "g_ema.")
    if not is_generator(inside):
        return None
    if not bare:
        known = ("g_ema.", "g.", "d.", "g_optim.", "d_optim.", "args.", "ada_aug_p", "latent_avg")
        extra = [key for key in tensors if not key.startswith(known)]
        if extra:
            raise Mismatch(f"the file has unknown keys beside the generator: {', '.join(extra[:3])}")
    mean = inside.pop("latent_avg", None) if bare else tensors.get("latent_avg")
    part, notes = generator_part(inside, mean)
    size = part.params["resolution"]
    return Found("rosinality", f"a StyleGAN2 generator of {size} px (rosinality's keys)", (part,), notes)
