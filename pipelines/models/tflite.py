"""Runs a small published network from its graph: what MediaPipe's TensorFlow Lite files hold (selfie matte, face mesh).

Pictures are n x C x H x W inside; constants, which the files keep as N x H x W x C, are turned once when the network is
made. Padding "same" is TensorFlow's: the odd pixel goes to the right and below.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

_SIDES = 2  # rows and columns
_SET_BY = ("pad", "mean")  # kinds whose second input is a setting
_CHANNELS_FIRST = (0, 2, 3, 1)  # where each of a file's axes, N x H x W x C, lies here


@dataclass(frozen=True)
class Node:
    """One operation.

    Attributes:
        kind: a key of `_RUN`, or ``dequantize`` (numbers are widened when they are read).
        inputs, outputs: indices of tensors; -1 = left out.
        options: those of ``same`` (padding), ``stride``, ``kernel``, ``dilation`` (rows, columns), ``activation``,
            ``align_corners`` that the kind has.
    """

    kind: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Mapping[str, Any]


@dataclass(frozen=True)
class Graph:
    """A network: `shapes` of all tensors (N x H x W x C, N = 1), the numbers of the constant ones, operations in order."""

    shapes: tuple[tuple[int, ...], ...]
    constants: Mapping[int, Tensor]
    nodes: tuple[Node, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


class GraphNetwork(nn.Module):
    """A graph with one input as a torch module, frozen.

    Args:
        graph: as `pipelines.weights.formats.tflite.read_tflite` gives it.

    Raises:
        ValueError: a graph of another make.
    """

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        if len(graph.inputs) != 1 or any(node.kind not in _RUN and node.kind != "dequantize" for node in graph.nodes):
            raise ValueError("a graph with other operations, or with several inputs")
        same = {node.outputs[0]: node.inputs[0] for node in graph.nodes if node.kind == "dequantize"}
        self._graph = graph
        self._nodes = [node for node in graph.nodes if node.kind != "dequantize"]
        self._source = {index: same.get(index, index) for node in graph.nodes for index in node.inputs}
        # Numbers that say how, not what: reading them from a device for every picture would stall it.
        self._settings = {
            node.inputs[1]: graph.constants[node.inputs[1]].tolist() for node in self._nodes if node.kind in _SET_BY
        }
        for node in self._nodes:
            for position, index in enumerate(node.inputs):
                if index in self._settings:
                    continue
                if self._source[index] in graph.constants and not hasattr(self, _name(self._source[index])):
                    values = graph.constants[self._source[index]]
                    self.register_buffer(_name(self._source[index]), _turned(node.kind, position, values))
        self.size = graph.shapes[graph.inputs[0]][1]

    @torch.no_grad()
    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """The graph's outputs for n x C x S x S, S = `size`: maps n x C x H x W, vectors n x C."""
        known: dict[int, Tensor] = {self._graph.inputs[0]: images}
        for node in self._nodes:
            values = [self._value(known, index) for index in node.inputs if index >= 0]
            made = _RUN[node.kind](self._graph.shapes[node.outputs[0]], node.options, *values)
            known[node.outputs[0]] = _ACTIVATE[node.options.get("activation", "")](made)
        return tuple(known[index] for index in self._graph.outputs)

    def _value(self, known: Mapping[int, Tensor], index: int) -> Any:
        if index in self._settings:
            return self._settings[index]
        source = self._source[index]
        return known[source] if source in known else self.get_buffer(_name(source))


def _name(index: int) -> str:
    return f"constant_{index}"


def _turned(kind: str, position: int, values: Tensor) -> Tensor:
    """A constant in the order that torch's operation wants."""
    if kind == "conv" and position == 1:
        return values.permute(0, 3, 1, 2).contiguous()
    if kind == "depthwise_conv" and position == 1:
        return values.permute(3, 0, 1, 2).contiguous()
    if kind == "transposed_conv" and position == 1:
        return values.permute(3, 0, 1, 2).contiguous()
    if kind == "prelu":
        return values.flatten()
    if kind in ("add", "mul") and values.ndim:
        shape = (1,) * (4 - values.ndim) + tuple(values.shape)
        return values.reshape(shape).permute(0, 3, 1, 2).contiguous()
    return values


def _padded(images: Tensor, options: Mapping[str, Any], kernel: tuple[int, ...], value: float = 0.0) -> Tensor:
    if not options["same"]:
        return images
    ends = []
    for side, extent, stride in zip(images.shape[2:], kernel, options["stride"], strict=True):
        whole = max((-(-side // stride) - 1) * stride + extent - side, 0)
        ends.append((whole // 2, whole - whole // 2))
    return functional.pad(images, (*ends[1], *ends[0]), value=value) if any(map(sum, ends)) else images


def _conv(_: object, options: Mapping[str, Any], images: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    steps = options.get("dilation", (1, 1))
    extent = tuple((side - 1) * step + 1 for side, step in zip(weight.shape[2:], steps, strict=True))
    groups = images.shape[1] // weight.shape[1]
    return functional.conv2d(_padded(images, options, extent), weight, bias, options["stride"], 0, steps, groups)


def _transposed(
    shape: tuple[int, ...], options: Mapping[str, Any], images: Tensor, weight: Tensor, bias: Tensor
) -> Tensor:
    made = functional.conv_transpose2d(images, weight, bias, options["stride"])
    before = [(made.shape[side + 2] - shape[side + 1]) // 2 for side in range(_SIDES)]
    return made[:, :, before[0] : before[0] + shape[1], before[1] : before[1] + shape[2]]


def _average(_: object, options: Mapping[str, Any], images: Tensor) -> Tensor:
    return functional.avg_pool2d(images, options["kernel"], options["stride"])


def _largest(_: object, options: Mapping[str, Any], images: Tensor) -> Tensor:
    padded = _padded(images, options, options["kernel"], float("-inf"))
    return functional.max_pool2d(padded, options["kernel"], options["stride"])


def _resize(shape: tuple[int, ...], options: Mapping[str, Any], images: Tensor, _: Tensor) -> Tensor:
    return functional.interpolate(images, shape[1:3], mode="bilinear", align_corners=options["align_corners"])


def _pad(_: object, __: object, images: Tensor, ends: Sequence[Sequence[int]]) -> Tensor:
    _, rows, columns, channels = ends
    return functional.pad(images, (*columns, *rows, *channels))


def _reshape(shape: tuple[int, ...], _: object, images: Tensor, *__: Tensor) -> Tensor:
    flat = images.permute(0, 2, 3, 1) if images.ndim == 4 else images
    made = flat.reshape(len(images), *shape[1:])
    return made.permute(0, 3, 1, 2) if made.ndim == 4 else made


def _concatenated(shape: tuple[int, ...], options: Mapping[str, Any], *parts: Tensor) -> Tensor:
    axis = options["axis"] % len(shape)
    return torch.cat(parts, dim=_CHANNELS_FIRST[axis] if len(shape) == 4 else axis)


def _mean(shape: tuple[int, ...], _: object, images: Tensor, axes: Sequence[int]) -> Tensor:
    made = images.mean(dim=[_CHANNELS_FIRST[axis] for axis in axes], keepdim=True)
    return made if len(shape) == 4 else made.flatten(1)


def _fully_connected(
    shape: tuple[int, ...], _: object, values: Tensor, weight: Tensor, bias: Tensor | None = None
) -> Tensor:
    flat = values.permute(0, 2, 3, 1) if values.ndim == 4 else values
    return functional.linear(flat.reshape(len(values), -1), weight, bias).reshape(len(values), *shape[1:])


_RUN: dict[str, Callable[..., Tensor]] = {
    "add": lambda shape, options, a, b: a + b,
    "mul": lambda shape, options, a, b: a * b,
    "average_pool": _average,
    "concatenate": _concatenated,
    "fully_connected": _fully_connected,
    "mean": _mean,
    "max_pool": _largest,
    "conv": _conv,
    "depthwise_conv": _conv,
    "transposed_conv": _transposed,
    "logistic": lambda shape, options, a: a.sigmoid(),
    "relu": lambda shape, options, a: a.relu(),
    "relu6": lambda shape, options, a: functional.relu6(a),
    "hard_swish": lambda shape, options, a: functional.hardswish(a),
    "prelu": lambda shape, options, a, slope: functional.prelu(a, slope),
    "pad": _pad,
    "reshape": _reshape,
    "resize_bilinear": _resize,
}
_ACTIVATE: dict[str, Callable[[Tensor], Tensor]] = {"": lambda a: a, "relu": torch.relu, "relu6": functional.relu6}
