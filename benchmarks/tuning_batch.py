"""`--refine pti` for several faces: one after the other, side by side in one pass, and in two processes. Does that pay?

    OMP_WAIT_POLICY=PASSIVE python -m benchmarks.tuning_batch [--coarse 10] [--full 4] [--rounds 3]

All ways tune the same two generated faces by the same steps (`pipelines.stages.refine.pti`), a few only, taking turns:

- one by one: as the refiner does it, on one thread and on two;
- one pass: both faces in one batch, each with its own kernels (a batched matrix product in place of each tuned 1 x 1
  convolution, which takes a quarter of a grouped convolution's time here), on one thread and on two;
- one pass, kernels shared: what that would cost if a batched kernel cost no more than one kernel, the least that any
  way of batching can come to; its results are of no use;
- two processes: a face each, on one thread each.

Without that policy OpenMP's threads wait for each other busily, and where other programs have one of the cores a second
thread makes everything many times slower.

Prints medians of wall and processor seconds a face, and how far the deltas of one pass are from those of one by one:
rounding alone, which steps amplify. Without a GPU, `--device cuda` fails; with one, processes are left out.
Never a timed test: machines differ.
"""

from __future__ import annotations

import argparse
import copy
import math
import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
import torch.multiprocessing as mp
from torch import Tensor, nn

from pipelines.devices import keep_freed_memory
from pipelines.stages.entry import Parts, generators
from pipelines.stages.lending import Lent
from pipelines.stages.refine import pti
from pipelines.stages.refine.orthogonal import OrthogonalSteps
from pipelines.stages.refine.tuning import Tuning
from pipelines.types import FaceBatch, Inversion
from pipelines.weights.store import StoreConfig, WeightStore

FACES = 2


class Took(NamedTuple):
    """Seconds a face."""

    wall: float
    processor: float


class Mixes(nn.Module):
    """A 1 x 1 convolution whose kernel is another for every picture: weight n x C_out x C_in x 1 x 1, bias n x C_out."""

    def __init__(self, mix: Any) -> None:
        super().__init__()
        self.weight = nn.Parameter(mix.weight[None], requires_grad=False)
        self.bias = nn.Parameter(mix.bias[None], requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        """x n x C_in x H x W, channels last -> n x C_out x H x W, channels last."""
        n, channels, height, width = x.shape
        pixels = x.permute(0, 2, 3, 1).reshape(n, height * width, channels)
        kernels = self.weight.flatten(2).transpose(1, 2).expand(n, -1, -1)
        made = torch.baddbmm(self.bias[:, None].expand(n, 1, -1), pixels, kernels)
        return made.view(n, height, width, -1).permute(0, 3, 1, 2)


class Tunings:
    """As `Tuning`, of several faces in one pass."""

    def __init__(self, refiner: pti.PTIRefiner, faces: int) -> None:
        self._alone = [Tuning(refiner.generator, refiner.layers, refiner.rank, refiner.seed) for _ in range(faces)]
        self.variables = [variable for tuning in self._alone for variable in tuning.variables]
        batched: Any = copy.deepcopy(refiner.generator)
        for block in batched.blocks:
            for conv in (block.conv1, block.conv2):
                conv.mix = Mixes(conv.mix)
        self._lent = Lent(batched)

    def run(self, use: Callable[[Any], Tensor]) -> Tensor:
        whole = [tuning.weights() for tuning in self._alone]
        return self._lent.run({name: torch.stack([each[name] for each in whole]) for name in whole[0]}, use)

    def deltas(self) -> list[dict[str, Tensor]]:
        return [tuning.deltas() for tuning in self._alone]


class Case:
    """The networks, the faces, and the codes from which they are tuned."""

    def __init__(self, options: Any) -> None:
        keep_freed_memory()
        self.device = torch.device(options.device)
        self.coarse, self.full = options.coarse, options.full
        parts = Parts(WeightStore(StoreConfig.from_env(os.environ)), self.device)
        generator = generators.get("mobile-ffhq").build(parts)
        self.refiner = pti.PTIRefiner(generator, parts.likeness())
        with torch.no_grad():
            z = torch.randn(FACES, 512, generator=torch.Generator().manual_seed(0)).to(self.device)
            codes = generator.map(z)[:, None].repeat(1, generator.num_ws, 1)
            self.faces = FaceBatch(generator.synthesize(codes).image.clamp(-1, 1))
            self.start = Inversion(generator.w_avg.lerp(codes, 0.5))  # far enough that there is something to tune

    def one_by_one(self) -> list[dict[str, Tensor]]:
        return [self.one(index) for index in range(FACES)]

    def one(self, index: int) -> dict[str, Tensor]:
        part = slice(index, index + 1)
        fit = pti.Fit(self.refiner, self.faces[part], self.start[part])
        self._steps(fit)
        return fit.tuning.deltas()

    def shared(self) -> None:
        """Both faces with one face's kernels."""
        self._steps(pti.Fit(self.refiner, self.faces, self.start))

    def one_pass(self) -> list[dict[str, Tensor]]:
        fit = pti.Fit(self.refiner, self.faces, self.start)
        tunings: Any = Tunings(self.refiner, FACES)
        fit.tuning = tunings
        self._steps(fit)
        made: list[dict[str, Tensor]] = tunings.deltas()
        return made

    def _steps(self, fit: pti.Fit) -> None:
        """The refiner's steps: the first at the cheap picture, the last at the full one."""
        settings, steps = self.refiner.settings, OrthogonalSteps(fit.tuning.variables)
        for step in range(self.coarse + self.full):
            if step % settings.refresh == 0 and step < self.coarse:
                fit.refresh()
            loss = fit.coarse() if step < self.coarse else fit.full(step - self.coarse)
            total = loss + fit.local() if step % settings.local_every == 0 else loss
            total.sum().backward()
            steps.step(settings.size)


def timed(case: Case, threads: int, run: Callable[[], object]) -> Took:
    """`run` tunes all faces."""
    torch.set_num_threads(threads)
    _wait(case.device)
    wall, processor = time.perf_counter(), time.process_time()
    run()
    _wait(case.device)
    return Took((time.perf_counter() - wall) / FACES, (time.process_time() - processor) / FACES)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


class Processes:
    """Two of them, with networks of their own, each waiting for its next turn at its face."""

    def __init__(self, options: Any) -> None:
        context = mp.get_context("spawn")
        self._barrier = context.Barrier(FACES + 1)
        self._times = context.Queue()
        given = (options, self._barrier, self._times)
        self._all = [context.Process(target=_waits, args=(*given, i), daemon=True) for i in range(FACES)]
        for process in self._all:
            process.start()

    def timed(self) -> Took:
        """All start at once; the wall clock is the last one's."""
        self._barrier.wait()
        times = [self._times.get() for _ in self._all]
        return Took(max(wall for wall, _ in times) / FACES, sum(processor for _, processor in times) / FACES)

    def end(self) -> None:
        for process in self._all:
            process.terminate()


def _waits(options: Any, barrier: Any, times: Any, index: int) -> None:
    torch.set_num_threads(1)
    case = Case(options)
    while True:
        barrier.wait()
        wall, processor = time.perf_counter(), time.process_time()
        case.one(index)
        times.put((time.perf_counter() - wall, time.process_time() - processor))


def ways(case: Case, options: Any) -> tuple[dict[str, Callable[[], Took]], Callable[[], None]]:
    """Name -> a turn of it; and what ends them."""
    found: dict[str, Callable[[], Took]] = {}
    for threads in (1, 2) if case.device.type == "cpu" else (1,):
        found[f"one by one, {threads} thread(s)"] = partial(timed, case, threads, case.one_by_one)
        found[f"one pass, {threads} thread(s)"] = partial(timed, case, threads, case.one_pass)
        found[f"one pass, kernels shared, {threads} thread(s)"] = partial(timed, case, threads, case.shared)
    if case.device.type != "cpu":
        return found, lambda: None
    processes = Processes(options)
    found["two processes, 1 thread each"] = processes.timed
    return found, processes.end


def apart(one: Sequence[Mapping[str, Tensor]], other: Sequence[Mapping[str, Tensor]]) -> float:
    """The largest distance of a face's deltas from the other's, as a share of their size."""
    shares = []
    for first, second in zip(one, other, strict=True):
        between = sum(float((first[name] - second[name]).square().sum()) for name in first)
        shares.append(math.sqrt(between / sum(float(delta.square().sum()) for delta in first.values())))
    return max(shares)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--coarse", type=int, default=10, help="steps at the 128 px picture")
    parser.add_argument("--full", type=int, default=4, help="steps at the full picture or squares of it")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    options: Any = parser.parse_args()
    case = Case(options)
    difference = apart(case.one_by_one(), case.one_pass())  # warms up, too
    found, end = ways(case, options)
    turns: dict[str, list[Took]] = {name: [] for name in found}
    for turn in range(options.rounds + 1):
        for name, run in found.items():
            took = run()
            turns[name] += [took] if turn else []  # the first starts processes and fills caches
    end()
    print(f"torch {torch.__version__}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, {options.device}")
    print(f"{options.coarse} coarse and {options.full} full steps, {FACES} faces, median of {options.rounds} turns\n")
    print("| way | wall s a face | processor s a face |\n|---|---|---|")
    for name, all_took in turns.items():
        wall, processor = (statistics.median(column) for column in zip(*all_took, strict=True))
        print(f"| {name} | {wall:.2f} | {processor:.2f} |")
    print(f"\ndeltas of one pass are {difference:.1e} of their size from those of one by one")


if __name__ == "__main__":
    main()
