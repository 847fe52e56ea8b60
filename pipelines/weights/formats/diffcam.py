"""Diff-CAM editing (Song et al., ECCV 2022, arXiv 2207.08134): the classifier behind the masks, and the deghosting net.

Written to safetensors: the classifier under its own keys; the deghosting net's `FCN.` keys as they are (the unused
`fusion_skip` left out) and its frozen generator below `generator.` under rosinality's keys (specification, section 5).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from pipelines.weights.formats.parts import Found, Layout, Mismatch, Part, checked, conv, norm, strip
from pipelines.weights.formats.sdic import under_keys
from pipelines.weights.formats.stylegan2 import channels, generator_part

_RENAMED = (
    (re.compile(r"style_mapping\.(\d+)\.linear\.weight_orig"), r"style.\1.weight"),
    (re.compile(r"style_mapping\.(\d+)\.bias"), r"style.\1.bias"),
    (re.compile(r"constant_input\.input"), "input.input"),
    (re.compile(r"injected_noise_(\d+)"), r"noises.noise_\1"),
    (re.compile(r"(.*)\.conv\.weight_orig"), r"\1.conv.weight"),
    (re.compile(r"(.*)\.conv\.style_modulation\.linear\.weight_orig"), r"\1.conv.modulation.weight"),
    (re.compile(r"(.*)\.conv\.style_modulation\.bias"), r"\1.conv.modulation.bias"),
    (re.compile(r"(.*)\.noise_injector\.weight"), r"\1.noise.weight"),
)
_BLOCKS = 23  # RRDB blocks in the trunk
_GROWTH = 32
_MIN_INPUT = 8


def _bottleneck(name: str, into: int, width: int, down: bool) -> Layout:
    """ResNet's bottleneck (He et al., CVPR 2016) under torchvision's keys."""
    out = 4 * width
    found = conv(f"{name}.conv1", width, into, 1, 1) | norm(f"{name}.bn1", width)
    found |= conv(f"{name}.conv2", width, width, 3, 3) | norm(f"{name}.bn2", width)
    found |= conv(f"{name}.conv3", out, width, 1, 1) | norm(f"{name}.bn3", out)
    if down:
        found |= conv(f"{name}.downsample.0", out, into, 1, 1) | norm(f"{name}.downsample.1", out)
    return found


def classifier_layout(classes: int) -> Layout:
    """ResNet-101 in two sequentials, split after the tenth block of its third layer (specification, section 2)."""
    found = conv("shared.0", 64, 3, 7, 7) | norm("shared.1", 64)
    for name, into, width, count in (("shared.4", 64, 64, 3), ("shared.5", 256, 128, 4)):
        for index in range(count):
            found |= _bottleneck(f"{name}.{index}", into if index == 0 else 4 * width, width, index == 0)
    for index in range(10):
        found |= _bottleneck(f"shared.{6 + index}", 512 if index == 0 else 1024, 256, index == 0)
    for index in range(13):
        found |= _bottleneck(f"classifier.{index}", 1024, 256, False)
    for index in range(3):
        found |= _bottleneck(f"classifier.13.{index}", 1024 if index == 0 else 2048, 512, index == 0)
    return found | conv("fc", classes, 2048, bias=True)


def diffcam(tensors: Mapping[str, Tensor]) -> Found | None:
    """The classifier, or None where the keys are others."""
    if not {"shared.0.weight", "classifier.13.0.conv1.weight", "fc.weight"} <= set(tensors):
        return None
    classes = int(tensors["fc.weight"].shape[0]) if tensors["fc.weight"].ndim == 2 else 0
    kept = checked("Diff-CAM classifier", tensors, classifier_layout(classes))
    part = Part("classifier", "compensator", "diffcam", {"classes": classes}, kept)
    return Found("diffcam", f"the Diff-CAM classifier with {classes} classes", (part,))


def fcn_layout(into: int, out: int) -> Layout:
    """The trainable networks of GLEAN (Chan et al., CVPR 2021) from `into` to `out` pixels, `fusion_skip` left out."""
    levels = into.bit_length() - 2  # 128 -> 6: features of 128, 64, ..., 4
    found = _trunk(channels(into, 2))
    for level in range(1, levels):
        side = into >> level
        found |= conv(f"encoder.{level}.0", channels(side, 2), channels(2 * side, 2), 3, 3, bias=True)
        found |= conv(f"encoder.{level}.2", channels(side, 2), channels(side, 2), 3, 3, bias=True)
    rows = 2 * (out.bit_length() - 1) - 2
    found |= conv(f"encoder.{levels}.0", 512, 512, 3, 3, bias=True)
    found |= conv(f"encoder.{levels}.3", rows * 512, 512 * 16, bias=True)
    for stage in range(levels):
        width = channels(4 << stage, 2)
        found |= conv(f"fusion_out.{stage}", width, 2 * width, 3, 3, bias=True)
    return found | _decoder(into, out)


def _trunk(out: int) -> Layout:
    """RRDB trunk (Wang et al., ESRGAN, 2018): dense blocks of growth 32 on 64 channels."""
    found = conv("encoder.0.conv_first", 64, 3, 3, 3, bias=True)
    for block in range(_BLOCKS):
        for dense in (1, 2, 3):
            for index in range(1, 6):
                width = _GROWTH if index < 5 else 64
                name = f"encoder.0.body.{block}.rdb{dense}.conv{index}"
                found |= conv(name, width, 64 + (index - 1) * _GROWTH, 3, 3, bias=True)
    found |= conv("encoder.0.conv_body", 64, 64, 3, 3, bias=True)
    return found | conv("encoder.0.conv_up", out, 64, 3, 3, bias=True)


def _decoder(into: int, out: int) -> Layout:
    found: Layout = {}
    steps = (out // into).bit_length() - 1
    for step in range(steps):
        side = into << step
        # After the first step the generator's feature of the same size is joined on.
        width = channels(side, 2) * (1 if step == 0 else 2)
        found |= conv(f"decoder.{step}.upsample_conv", 4 * channels(2 * side, 2), width, 3, 3, bias=True)
    found |= conv(f"decoder.{steps}.0", 64, 2 * channels(out, 2), 3, 3, bias=True)
    return found | conv(f"decoder.{steps}.2", 3, 64, 3, 3, bias=True)


def deghosting(tensors: Mapping[str, Tensor]) -> Found | None:
    """The deghosting network, or None where the keys are others."""
    if not {"FCN.encoder.0.conv_first.weight", "generator.constant_input.input"} <= set(tensors):
        return None
    strangers = [key for key in tensors if not key.startswith(("FCN.", "generator."))]
    if strangers:
        raise Mismatch(f"the deghosting net has unknown keys: {', '.join(strangers[:3])}")
    inside = {_renamed(key): tensor for key, tensor in strip(tensors, "generator.").items()}
    levels = len({key.split(".")[2] for key in tensors if key.startswith("FCN.fusion_out.")})
    generator, _ = generator_part(inside, tensors["generator.constant_input.input"].new_zeros(512))
    into, out = 2 << levels, int(generator.params["resolution"])
    if not _MIN_INPUT <= into < out:
        raise Mismatch(f"a deghosting net from {into} to {out} px is not known")
    fcn = checked(
        "deghosting net", strip(tensors, "FCN."), fcn_layout(into, out), lambda key: key.startswith("fusion_skip.")
    )
    own = under_keys({key: tensor for key, tensor in generator.tensors.items() if key != "latent_avg"}, "generator.")
    part = Part("deghost", "compensator", "deghost", {"input": into, "resolution": out}, under_keys(fcn, "FCN.") | own)
    return Found("deghosting", f"the Diff-CAM deghosting network, {into} to {out} px", (part,))


def _renamed(key: str) -> str:
    for pattern, new in _RENAMED:
        found = pattern.fullmatch(key)
        if found:
            return found.expand(new)
    return key
