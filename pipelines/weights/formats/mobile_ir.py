"""From the published MobileStyleGAN networks (OpenVINO IR) to the state of
`pipelines.models.generators.mobile.MobileStyleGAN`."""

from __future__ import annotations

import math
import re

from torch import Tensor

from pipelines.errors import WeightsError
from pipelines.models.ops import band_order


def mobile_state(mapping: dict[str, Tensor], synthesis: dict[str, Tensor]) -> dict[str, Tensor]:
    """Constants of the mapping and the synthesis network (`openvino_ir.read_constants`) -> a state dict.

    The preview head and the statistics of w are not part of the archive and stay out of the result.

    Raises:
        WeightsError: a constant that this network needs is missing or has another shape.
    """
    try:
        return _mapping_state(mapping) | _synthesis_state(synthesis)
    except (KeyError, IndexError) as error:
        raise WeightsError(f"this is not the MobileStyleGAN network that was expected: no constant {error}") from None


def _mapping_state(constants: dict[str, Tensor]) -> dict[str, Tensor]:
    weights = [c for c in constants.values() if c.shape == (512, 512)]
    biases = [c for c in constants.values() if c.shape == (512,)]
    state: dict[str, Tensor] = {}
    for i in range(8):
        state[f"mapping.layers.{i}.weight"] = weights[i]
        state[f"mapping.layers.{i}.bias"] = biases[i]
    return state


def _synthesis_state(constants: dict[str, Tensor]) -> dict[str, Tensor]:
    noises = [c for c in constants.values() if c.ndim == 4 and c.shape[:2] == (1, 1) and c.shape[2] >= 4]
    mixes = [c for name, c in constants.items() if re.fullmatch(r"Mul_\d+_copy", name)]
    state = {"const": constants["m.input.input"], "conv0.mix.weight": mixes[0], "conv0.noise": noises[0]}
    state["conv0.mix.bias"] = constants["m.conv1.bias"].flatten()
    state |= _affine(constants, "m.conv1.conv", "conv0.affine", 9)
    for i in range(7):
        source, target = f"m.layers.{i}", f"blocks.{i}"
        state |= _affine(constants, f"{source}.up", f"{target}.up", None)
        for j in (1, 2):
            conv = f"{target}.conv{j}"
            state |= _affine(constants, f"{source}.conv{j}.conv", f"{conv}.affine", 9)
            state[f"{conv}.depthwise.weight"] = constants[f"{source}.conv{j}.conv.weight_dw"].squeeze(1)
            state[f"{conv}.mix.weight"] = mixes[2 * i + j]
            state[f"{conv}.mix.bias"] = constants[f"{source}.conv{j}.bias"].flatten()
            state[f"{conv}.noise"] = noises[2 * i + j]
    image = "m.layers.6.to_img"
    state |= _affine(constants, f"{image}.conv", "head_affine", 1)
    state["head.weight"] = constants[f"{image}.conv.weight"]
    state["head.bias"] = constants[f"{image}.bias"].flatten()
    return _in_bands(state)


def _in_bands(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Reorder the channels that feed a Haar step into its four bands, so that the step reads contiguous memory."""
    for producer, consumer in [
        ("conv0", "blocks.0.up"),
        *((f"blocks.{i}.conv2", f"blocks.{i + 1}.up") for i in range(6)),
    ]:
        order = band_order(state[f"{producer}.mix.bias"].numel())
        for name in (f"{producer}.mix.weight", f"{producer}.mix.bias", f"{consumer}.weight", f"{consumer}.bias"):
            state[name] = state[name][order]
    order = band_order(12)
    return state | {name: state[name][order] for name in ("head.weight", "head.bias")}


def _affine(constants: dict[str, Tensor], source: str, target: str, taps: int | None) -> dict[str, Tensor]:
    """A style layer; the convolution's 1 / sqrt(taps x C_in) is folded in (None: no factor)."""
    weight, bias = constants[f"{source}.modulation.weight"], constants[f"{source}.modulation.bias"].flatten()
    factor = 1.0 if taps is None else 1 / math.sqrt(taps * weight.shape[0])
    return {f"{target}.weight": weight * factor, f"{target}.bias": bias * factor}
