"""Our StyleGAN2 forward against a straightforward one of the same equations, in one process, taking turns.

    python -m benchmarks.stylegan2 [--resolution 128] [--batch 4] [--rounds 3] [--threads 1] [--compile]

The reference is what the field's code does without its compiled operators: one kernel per picture in a grouped
convolution, up-sampling by zero-stuffing and a 4 x 4 filter, noise, bias and activation one after another, NCHW memory.
Random weights: the time does not depend on them. With one thread on a CPU the clock is the processor time, which other
programs disturb little; else the wall clock. On each device (CPU, and a GPU where there is one), for float32 and
bfloat16, one picture and the batch: seconds per picture of both, how far apart their pictures are, what share of the
device's own ceilings ours reaches (ceilings measured here: a large product or convolution, a large copy), and both ways of
modulation. `--compile` adds torch.compile of our forward. Never a timed test: machines differ.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from pipelines.models.generators.stylegan2 import StyleGAN2
from pipelines.models.generators.stylegan2_layers import ToRGB

TAPS = torch.tensor([1.0, 3.0, 3.0, 1.0])


class Reference:
    """The published equations, one at a time, on the tensors of one of our generators."""

    def __init__(self, generator: StyleGAN2) -> None:
        self.layers = generator.layers
        self.state = {key: value.contiguous() for key, value in generator.state_dict().items()}
        kernel = torch.outer(TAPS, TAPS)
        self.kernel = (4 * kernel / kernel.sum()).to(generator.device)

    def __call__(self, w: Tensor) -> Tensor:
        """w n x 512 -> n x 3 x R x R."""
        x = self.state["input.input"].repeat(len(w), 1, 1, 1)
        skip: Tensor | None = None
        for layer in self.layers:
            name = layer.module
            if layer.rgb:
                picture = self._modulated(f"{name}.conv", x, w, False, False) + self.state[f"{name}.bias"]
                skip = picture if skip is None else picture + self._upfirdn(skip, 2, (2, 1))
                continue
            x = self._modulated(f"{name}.conv", x, w, layer.size > x.shape[2], True)
            x = x + self.state[f"{name}.noise.weight"] * self.state[f"noises.noise_{layer.noise}"]
            x = x + self.state[f"{name}.activate.bias"][:, None, None]
            x = F.leaky_relu(x, 0.2) * math.sqrt(2)
        assert skip is not None
        return skip

    def _modulated(self, name: str, x: Tensor, w: Tensor, up: bool, demodulate: bool) -> Tensor:
        n, c_in, height, width = x.shape
        weight, affine = self.state[f"{name}.weight"], self.state[f"{name}.modulation.weight"]
        style = F.linear(w, affine / math.sqrt(affine.shape[1]), self.state[f"{name}.modulation.bias"])
        kernel = weight / math.sqrt(weight[0, 0].numel()) * style[:, None, :, None, None]
        if demodulate:
            kernel = kernel * torch.rsqrt(kernel.square().sum(dim=(2, 3, 4), keepdim=True) + 1e-8)
        c_out, size = kernel.shape[1], kernel.shape[3]
        grouped = x.reshape(1, n * c_in, height, width)
        if not up:
            out = F.conv2d(grouped, kernel.reshape(n * c_out, c_in, size, size), padding=size // 2, groups=n)
            return out.view(n, c_out, height, width)
        turned = kernel.transpose(1, 2).reshape(n * c_in, c_out, size, size)
        out = F.conv_transpose2d(grouped, turned, stride=2, groups=n)
        return self._upfirdn(out.view(n, c_out, *out.shape[2:]), 1, (1, 1))

    def _upfirdn(self, x: Tensor, up: int, pad: tuple[int, int]) -> Tensor:
        n, c, height, width = x.shape
        stuffed = x.new_zeros(n, c, height * up, width * up)
        stuffed[:, :, ::up, ::up] = x
        return F.conv2d(F.pad(stuffed, (*pad, *pad)), self.kernel.to(x.dtype).repeat(c, 1, 1, 1), groups=c)


class Work(NamedTuple):
    """Of one picture: floating-point operations, and the bytes that must move at the least (float32)."""

    flops: float
    bytes: float


def work(generator: StyleGAN2, batch: int) -> Work:
    """Operations of all convolutions; each layer's input and output once, its kernel once a batch."""
    flops = moved = 0.0
    for layer in generator.layers:
        weight = generator.get_parameter(f"{layer.module}.conv.weight")
        c_out, c_in = weight.shape[1:3]
        up = layer.module.startswith("convs.") and layer.point == layer.size
        below = (layer.size // 2 if up else layer.size) ** 2  # each input pixel meets each tap once
        flops += 2 * below * weight.numel()
        moved += 4 * (below * c_in + layer.size**2 * c_out + weight.numel() / batch)
        if up:
            flops += 2 * 16 * layer.size**2 * c_out
        elif layer.rgb:
            flops += 2 * 16 * layer.size**2 * 3 / 4
    return Work(flops, moved)


def timed(runs: Mapping[str, Callable[[], object]], rounds: int, device: torch.device) -> dict[str, float]:
    """Median seconds of each, the runs taking turns; the first turn is thrown away."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds + 1):
        for name, run in runs.items():
            _wait(device)
            started = _clock(device)
            run()
            _wait(device)
            seconds[name].append(_clock(device) - started)
    return {name: statistics.median(values[1:]) for name, values in seconds.items()}


def _clock(device: torch.device) -> float:
    """Seconds. One thread's own processor time on a CPU: other programs on the machine then hardly count."""
    alone = device.type == "cpu" and torch.get_num_threads() == 1
    return time.process_time() if alone else time.perf_counter()


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def ceilings(device: torch.device, dtype: torch.dtype) -> tuple[float, float]:
    """(operations, bytes) per second that this device reaches: the better of a large product and a plain convolution,
    and a large copy. (Products alone would not do: some CPUs' matrix libraries are slower than their convolutions.)"""
    gpu = device.type == "cuda"
    side, count = (8192, 16) if gpu else (1024, 1)
    a = torch.randn(side, side, device=device, dtype=dtype)
    x = torch.randn(count, 512, 64, 64, device=device, dtype=dtype).contiguous(memory_format=torch.channels_last)
    kernel = torch.randn(512, 512, 3, 3, device=device, dtype=dtype).contiguous(memory_format=torch.channels_last)
    big = torch.zeros(2**28 if gpu else 2**25, device=device)
    target = torch.empty_like(big)
    runs: dict[str, Callable[[], object]] = {
        "product": lambda: a @ a,
        "convolution": lambda: F.conv2d(x, kernel, padding=1),
        "copy": lambda: target.copy_(big),
    }
    found = timed(runs, 3, device)
    operations = max(2 * side**3 / found["product"], 2 * count * 64**2 * kernel.numel() / found["convolution"])
    return operations, 2 * big.numel() * 4 / found["copy"]


def compare(generator: StyleGAN2, batch: int, dtype: torch.dtype, rounds: int, compiled: bool) -> None:
    """Print one row per way of computing `batch` pictures."""
    device, reference = generator.device, Reference(generator)
    w = generator.map(torch.randn(batch, 512, generator=torch.Generator().manual_seed(0)).to(device))

    def ours(mode: str) -> Callable[[], Tensor]:
        def run() -> Tensor:
            generator.modulate(mode)  # type: ignore[arg-type]
            return generator.synthesize(w).image

        return run

    runs: dict[str, Callable[[], Tensor]] = {"reference": lambda: reference(w), "ours": ours("auto")}
    runs |= {f"ours, {mode}": ours(mode) for mode in ("activations", "weights") if batch == 1 or mode == "activations"}
    if compiled:
        graph = torch.compile(generator.synthesize)
        runs["ours, compiled"] = lambda: graph(w).image
    with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
        expected = reference(w).float()
        apart = (ours("auto")().float() - expected).abs().max() / expected.abs().max()
        found = timed(runs, rounds, device)
    generator.modulate("auto")
    done, (peak, bandwidth) = work(generator, batch), ceilings(device, dtype)
    print(
        f"\n{device.type} {str(dtype).removeprefix('torch.')} batch {batch}: pictures apart by {float(apart):.1e} of max"
    )
    for name, seconds in found.items():
        each = seconds / batch
        print(
            f"  {name:18s} {each * 1e3:9.1f} ms a picture   x{found['reference'] / seconds:5.2f}   "
            f"{100 * done.flops / each / peak:3.0f} % of {peak / 1e9:.0f} GFLOP/s   "
            f"{100 * done.bytes / each / bandwidth:3.0f} % of {bandwidth / 1e9:.0f} GB/s"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--resolution", type=int, default=128)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--compile", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False  # the same arithmetic on both sides
    torch.manual_seed(0)
    generator = StyleGAN2(options.resolution)
    for layer in generator.layers:  # noise that acts, so that a difference would show
        module = generator.get_submodule(layer.module)
        if not isinstance(module, ToRGB):
            module.get_parameter("noise.weight").fill_(0.1)
    devices = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    with torch.no_grad():
        for device in devices:
            generator.to(device)
            total = work(generator, 1)
            print(f"\n{options.resolution} px: {total.flops / 1e9:.1f} GFLOP, {total.bytes / 1e6:.0f} MB a picture")
            for dtype in (torch.float32, torch.bfloat16):
                for batch in sorted({1, options.batch}):
                    compare(generator, batch, dtype, options.rounds, options.compile)


if __name__ == "__main__":
    main()
