"""SDIC (AAAI 2024, arXiv 2312.07079): DIPN (`DIP.`, once `CGI.`) and DICN (`SAF.`, once `residue.`) beside an e4e encoder
and a generator; and HFGI (CVPR 2022, arXiv 2109.06590), which shares the layout but not the networks.

Written to safetensors: one entry with both networks under their new prefixes, without the parameters that are present
but never used.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from pipelines.weights.formats.encoder import encoder_part, leftovers, split, unit_layout
from pipelines.weights.formats.parts import Found, Layout, Mismatch, Part, checked, conv, norm, strip, under
from pipelines.weights.formats.stylegan2 import generator_part, is_generator

_DEAD_DIP = ("stem_2.", "stem_4.", "spx.", "spx_2.", "spx_4.", "semantic.", "agg.", "hourglass_fusion.conv1_up.bn.")
_DEAD_SAF = ("aff1.", "conv1.", "aff2.", "aff1d.agg.")
_OLD = {"residue.": "SAF.", "CGI.": "DIP."}


def _block(name: str, out: int, into: int, *kernel: int, turned: bool = False) -> Layout:
    """Convolution without bias (transposed: its channels are stored the other way round), then batch norm."""
    first, second = (into, out) if turned else (out, into)
    return conv(f"{name}.conv", first, second, *kernel) | norm(f"{name}.bn", out)


def _up(name: str, into: int, out: int) -> Layout:
    return _block(f"{name}.conv1", out, into, 4, 4, turned=True) | _block(f"{name}.conv2", 2 * out, 2 * out, 3, 3)


def _fusion(name: str, volume: int, context: int) -> Layout:
    half = context // 2
    found = _block(f"{name}.semantic.0", half, context, 1, 1) | conv(
        f"{name}.semantic.1", volume, half, 1, 1, bias=True
    )
    found |= _block(f"{name}.att.0", volume, volume, 1, 5, 5) | conv(f"{name}.att.1", volume, volume, 1, 1, 1)
    return found | _block(f"{name}.agg", volume, volume, 1, 5, 5)


def _hourglass() -> Layout:
    found: Layout = {}
    for name, into, out in (("conv1", 8, 16), ("conv2", 16, 32), ("conv3", 32, 48)):
        found |= _block(f"{name}.0", out, into, 3, 3, 3) | _block(f"{name}.1", out, out, 3, 3, 3)
    found |= _block("conv3_up", 32, 48, 4, 4, 4, turned=True) | _block("conv2_up", 16, 32, 4, 4, 4, turned=True)
    found |= conv("conv1_up.conv", 16, 1, 4, 4, 4)
    for name, width in (("agg_0", 32), ("agg_1", 16)):
        found |= _block(f"{name}.0", width, 2 * width, 1, 1, 1)
        found |= _block(f"{name}.1", width, width, 3, 3, 3) | _block(f"{name}.2", width, width, 3, 3, 3)
    return found | _fusion("CGF_32", 48, 160) | _fusion("CGF_16", 32, 192) | _fusion("CGF_8", 16, 64)


def dip_layout() -> Layout:
    """DIPN, dead parameters left out (specification, section 3)."""
    found: Layout = {}
    steps = ((3, 16), (16, 24), (24, 32), (32, 96), (96, 160))
    for branch in ("feature1", "feature2"):
        for index, (into, out) in enumerate(steps, 1):
            found |= _block(f"{branch}.fe{index}", out, into, 3, 3)
    found |= _up("feature_up.deconv8_4", 160, 96) | _up("feature_up.deconv4_2", 192, 32)
    found |= _up("feature_up.deconv2_1", 64, 16) | _block("feature_up.conv4", 32, 32, 3, 3)
    found |= _block("conv", 48, 32, 3, 3) | conv("desc", 24, 48, 1, 1, bias=True)
    found |= _block("corr_stem", 8, 1, 3, 3, 3) | under(_hourglass(), "hourglass_fusion.")
    found |= _block("rgb1.0", 16, 48, 3, 3) | conv("rgb1.1", 16, 16, 3, 3) | norm("rgb1.2", 16)
    return found | unit_layout("rgb.0", 16, 3) | unit_layout("rgb.1", 3, 3) | unit_layout("rgb.2", 3, 3)


def saf_layout() -> Layout:
    """DICN, dead parameters left out (specification, section 4)."""
    found = conv("conv_layer1.0", 32, 3, 3, 3) | norm("conv_layer1.1", 32) | {"conv_layer1.2.weight": (32,)}
    found |= _block("semantic.0", 64, 32, 3, 3) | conv("semantic.1", 64, 64, 3, 3)
    found |= _block("semantic.2", 512, 64, 3, 3) | conv("semantic.3", 512, 512, 3, 3)
    found |= _block("att.0", 512, 512, 3, 3) | conv("att.1", 512, 512, 3, 3)
    found |= conv("aff1d.sen.0", 72, 144, 1, bias=True) | norm("aff1d.sen.1", 72)
    found |= conv("aff1d.sen.3", 18, 72, 1, bias=True)
    for head in ("aff1d.att", "aff1d.att2"):
        found |= conv(f"{head}.0", 18, 18, 3, bias=True) | norm(f"{head}.1", 18) | conv(f"{head}.3", 18, 18, 1)
    return (
        found | conv("condition_shift3.0", 18, 3, 3, 3, bias=True) | conv("condition_shift3.2", 18, 18, 3, 3, bias=True)
    )


def _renamed(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Keys below `state_dict.` with the two old prefixes brought up to date."""
    found = {}
    for key, tensor in tensors.items():
        name = key.removeprefix("state_dict.")
        old = next((prefix for prefix in _OLD if key != name and name.startswith(prefix)), None)
        found[f"state_dict.{_OLD[old]}{name[len(old) :]}" if old else key] = tensor
    return found


def sdic(tensors: Mapping[str, Tensor], options: Mapping[str, Any]) -> Found | None:
    """An SDIC or HFGI checkpoint; None where the keys are others."""
    if any(key.startswith("state_dict.grid_align.") for key in tensors):
        return _hfgi(tensors, options)
    now = _renamed(tensors)
    saf, dip = strip(now, "state_dict.SAF."), strip(now, "state_dict.DIP.")
    if not (saf or dip):
        return None
    parts, notes = _base(now, options, ("state_dict.SAF.", "state_dict.DIP."))
    kept = under_keys(checked("DICN (SAF)", saf, saf_layout(), lambda key: key.startswith(_DEAD_SAF)), "SAF.")
    kept |= under_keys(checked("DIPN (DIP)", dip, dip_layout(), lambda key: key.startswith(_DEAD_DIP)), "DIP.")
    network = Part("sdic", "compensator", "sdic", {"num_ws": 18, "point": 64}, kept)
    return Found("sdic", "SDIC: compensation networks with their encoder and generator", (network, *parts), notes)


def under_keys(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors with `prefix` in front of every key."""
    return {prefix + key: tensor for key, tensor in tensors.items()}


def _base(
    tensors: Mapping[str, Tensor], options: Mapping[str, Any], known: tuple[str, ...]
) -> tuple[tuple[Part, ...], tuple[str, ...]]:
    """Encoder and generator that the compensation networks were trained with."""
    first, second, rest = split(tensors)
    own = {key: tensor for key, tensor in rest.items() if not key.startswith(known)}
    notes = leftovers(own)
    if not first or not is_generator(second):
        raise Mismatch("it lacks the encoder or the generator that its networks were trained with")
    mean = tensors.get("latent_avg")
    _, encoder = encoder_part(first, mean, options)
    generator, more = generator_part(second, mean)
    return (encoder, generator), (*notes, *more)


def _hfgi(tensors: Mapping[str, Tensor], options: Mapping[str, Any]) -> Found:
    known = ("state_dict.residue.", "state_dict.grid_align.")
    parts, notes = _base(tensors, options, known)
    left = "left out, as ganinv has no network that reads them: HFGI's residue and grid_align"
    return Found("hfgi", "HFGI: its encoder and generator", parts, (*notes, left))
