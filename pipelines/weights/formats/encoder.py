"""The IR-SE-50 networks: ArcFace's identity net, and the encoders of pSp, e4e, LSAP, Cycle Encoding and ReStyle.

Sources: pSp (Richardson et al., CVPR 2021), e4e (Tov et al., SIGGRAPH 2021), ReStyle (Alaluf et al., ICCV 2021),
ArcFace (Deng et al., CVPR 2019). pSp and e4e have the very same tensors; only the options of the checkpoint tell which
one it is. Written to safetensors: keys without the `encoder.` prefix, and `latent_avg` (512 or n x 512).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from pipelines.weights.formats.parts import Found, Layout, Mismatch, Part, checked, conv, norm, strip
from pipelines.weights.formats.stylegan2 import STYLE, generator_part, is_generator

_GROUPS = ((64, 64, 3), (64, 128, 4), (128, 256, 14), (256, 512, 3))
_KINDS = {
    "Encoder4Editing": "e4e",
    "GradualStyleEncoder": "psp",
    "BackboneEncoder": "restyle",
    "ProgressiveBackboneEncoder": "restyle",
}
_TRAINING = (
    "opts.", "global_step", "optimizer.", "best_val_loss", "discriminator_state_dict.",
    "discriminator_optimizer_state_dict.", "state_dict.id_loss.", "state_dict.lpips_loss.", "state_dict.moco_loss.",
    "state_dict.face_pool.",
)  # fmt: skip


def body_layout(inputs: int = 3) -> Layout:
    """Stem and 24 units of IR-SE-50 for `inputs` channels (ReStyle's encoders see two pictures: 6)."""
    found = conv("input_layer.0", 64, inputs, 3, 3) | norm("input_layer.1", 64) | {"input_layer.2.weight": (64,)}
    unit = 0
    for into, out, count in _GROUPS:
        for index in range(count):
            found |= _unit(f"body.{unit}", into if index == 0 else out, out)
            unit += 1
    return found


def unit_layout(name: str, into: int, out: int) -> Layout:
    """A residual unit of IR-50 (without squeeze and excitation)."""
    layers = f"{name}.res_layer"
    found = norm(f"{layers}.0", into) | conv(f"{layers}.1", out, into, 3, 3) | {f"{layers}.2.weight": (out,)}
    found |= conv(f"{layers}.3", out, out, 3, 3) | norm(f"{layers}.4", out)
    if into != out:
        found |= conv(f"{name}.shortcut_layer.0", out, into, 1, 1) | norm(f"{name}.shortcut_layer.1", out)
    return found


def _unit(name: str, into: int, out: int) -> Layout:
    squeeze = f"{name}.res_layer.5"
    found = conv(f"{squeeze}.fc1", out // 16, out, 1, 1) | conv(f"{squeeze}.fc2", out, out // 16, 1, 1)
    return unit_layout(name, into, out) | found


def encoder_layout(rows: int) -> Layout:
    """The encoder of pSp and e4e for `rows` rows of W+: blocks 0-2 read the coarse map, 3-6 the middle, 7.. the fine."""
    found = body_layout()
    for row in range(rows):
        found |= _style(row, 4 if row < 3 else 5 if row < 7 else 6)
    return found | conv("latlayer1", STYLE, 256, 1, 1, bias=True) | conv("latlayer2", STYLE, 128, 1, 1, bias=True)


def restyle_layout(rows: int) -> Layout:
    """ReStyle's backbone encoders: every block reads the 16 px map; no pyramid."""
    found = body_layout(6)
    for row in range(rows):
        found |= _style(row, 4)
    return found


def _style(row: int, convs: int) -> Layout:
    found: Layout = {}
    for index in range(convs):
        found |= conv(f"styles.{row}.convs.{2 * index}", STYLE, STYLE, 3, 3, bias=True)
    return found | conv(f"styles.{row}.linear", STYLE, STYLE, bias=True)


def arcface_layout() -> Layout:
    """`model_ir_se50.pth`: the body, then norm, dropout, flatten, linear, norm for 112 px pictures."""
    head = norm("output_layer.0", 512) | conv("output_layer.3", 512, 25_088, bias=True) | norm("output_layer.4", 512)
    return body_layout() | head


def arcface(tensors: Mapping[str, Tensor]) -> Found | None:
    """The identity network, or None where the keys are others."""
    if not {"input_layer.0.weight", "output_layer.3.weight"} <= set(tensors):
        return None
    kept = checked("ArcFace IR-SE-50", tensors, arcface_layout())
    part = Part("identity", "identity", "irse50", {"size": 112, "dimensions": 512}, kept)
    return Found("arcface", "the ArcFace IR-SE-50 identity network (112 px)", (part,))


def is_encoder(tensors: Mapping[str, Tensor]) -> bool:
    """Whether these look like an IR-SE-50 encoder's tensors (without prefix)."""
    return {"input_layer.0.weight", "styles.0.linear.weight"} <= set(tensors)


def encoder_part(tensors: Mapping[str, Tensor], mean: Tensor | None, options: Mapping[str, Any]) -> tuple[str, Part]:
    """(kind, part) of an encoder, checked.

    Args:
        tensors: without prefix; a buffer `latent_avg` among them wins over `mean`.
        mean: the checkpoint's `latent_avg`.
        options: the checkpoint's training options; `encoder_type` and `start_from_latent_avg` matter.

    Raises:
        Mismatch: another network, or the average that its codes start from is missing.
    """
    own = dict(tensors)
    mean = own.pop("latent_avg", mean)
    rows = len({key.split(".")[1] for key in own if key.startswith("styles.")})
    kind = _kind(own, options)
    table = restyle_layout(rows) if kind == "restyle" else encoder_layout(rows)
    kept = checked(f"{kind} encoder with {rows} rows", own, table)
    kept["latent_avg"] = _start(mean, rows, options)
    params: dict[str, int | float | str] = {"num_ws": rows}
    return kind, Part("encoder", "encoder", kind, params, kept)


def _kind(tensors: Mapping[str, Tensor], options: Mapping[str, Any]) -> str:
    name = str(options.get("encoder_type", ""))
    shape = tensors["input_layer.0.weight"].shape
    if name and name not in _KINDS:
        raise Mismatch(f"its encoder is a '{name[:60]}', which is not known (known: {', '.join(_KINDS)})")
    kind = _KINDS.get(name) or ("restyle" if "latlayer1.weight" not in tensors else "e4e")
    if kind == "psp" and len(shape) == 4 and shape[1] == 6:
        raise Mismatch("its encoder is ReStyle's variant with a pyramid, which is not known")
    return kind


def _start(mean: Tensor | None, rows: int, options: Mapping[str, Any]) -> Tensor:
    """What is added to the encoder's output: the average code, or zeros where training did not start from it."""
    if not bool(options.get("start_from_latent_avg", True)):
        return torch.zeros(STYLE)
    if mean is None:
        raise Mismatch("it lacks latent_avg, which its encoder's codes start from")
    if tuple(mean.shape) not in ((STYLE,), (1, STYLE), (rows, STYLE)) or not torch.isfinite(mean).all():
        raise Mismatch(f"latent_avg has shape {tuple(mean.shape)} (or is not finite), not 512 or {rows} x 512")
    return mean.float().reshape(-1, STYLE).squeeze(0).clone()


def split(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Tensor]]:
    """(encoder, decoder, everything else) of a checkpoint, without prefixes; the first two may be empty.

    Two layouts: `state_dict` with `encoder.` and `decoder.` (pSp, e4e, ReStyle, Cycle, SDIC), and the GANInverter
    toolbox's, with the networks under top-level names of their own (LSAP), the encoder's keys below `encoder.` again.
    """
    if any(key.startswith("state_dict.") for key in tensors):
        inside = strip(tensors, "state_dict.")
        first, second = strip(inside, "encoder."), strip(inside, "decoder.")
        rest = {key: value for key, value in tensors.items() if not key.startswith(_heads("state_dict."))}
        return first, second, rest
    first = strip(tensors, "encoder.")
    nested = strip(first, "encoder.")
    if nested:
        nested |= {key: value for key, value in first.items() if not key.startswith("encoder.")}
    second = strip(tensors, "decoder.")
    rest = {key: value for key, value in tensors.items() if not key.startswith(_heads(""))}
    return nested or first, second, rest


def _heads(prefix: str) -> tuple[str, str]:
    return f"{prefix}encoder.", f"{prefix}decoder."


def leftovers(rest: Mapping[str, Tensor], known: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Raises Mismatch where `rest` holds anything but training states and `known`; notes on what is left out."""
    passed = ("latent_avg", *_TRAINING, *known)
    unknown = [key for key in rest if not key.startswith(passed)]
    if unknown:
        raise Mismatch(f"the file has unknown keys: {', '.join(key[:80] for key in unknown[:3])}")
    heads = dict.fromkeys(key.removeprefix("state_dict.").split(".")[0] for key in rest if key != "latent_avg")
    return (f"left out, as only training needs it: {', '.join(heads)}",) if heads else ()


def encoders(tensors: Mapping[str, Tensor], options: Mapping[str, Any]) -> Found | None:
    """A checkpoint of pSp, e4e, LSAP, Cycle or ReStyle, or a bare encoder; None where the keys are others."""
    if is_encoder(tensors):
        kind, part = encoder_part(tensors, None, options)
        return Found(kind, _words(kind, part), (part,))
    first, second, rest = split(tensors)
    if not is_encoder(first):
        return None
    notes = leftovers(rest)
    mean = tensors.get("latent_avg", first.get("latent_avg"))
    kind, part = encoder_part(first, mean, options)
    parts = [part]
    if is_generator(second):
        generator, more = generator_part(second, mean)
        parts, notes = [part, generator], (*notes, *more)
    elif second:
        raise Mismatch("its decoder is no StyleGAN2 generator")
    return Found(kind, _words(kind, part), tuple(parts), notes)


def _words(kind: str, part: Part) -> str:
    family = {"psp": "pSp", "restyle": "ReStyle"}.get(kind, "e4e (or LSAP or Cycle, whose encoders have the same keys)")
    return f"an encoder of the family {family} with {part.params['num_ws']} rows"
