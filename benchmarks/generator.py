"""`mobile-ffhq` in PyTorch against the OpenVINO runtime in float32, alternating in one process, one 1024 px picture each.

    pip install -e '.[golden]' && python -m benchmarks.generator [--rounds 7] [--threads 2]

Prints the median seconds of both, their ratio pair by pair, and what a gradient step costs through the low-resolution head
and through the full picture. Never a timed test: machines differ.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable

import openvino as ov
import torch

from pipelines.stages.entry import Parts, generators
from pipelines.weights.store import StoreConfig, WeightStore


def seconds(run: Callable[[], object]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    store = WeightStore(StoreConfig.from_env(os.environ))
    ours = generators.get("mobile-ffhq").build(Parts(store, torch.device("cpu")))
    core = ov.Core()
    model = core.read_model(str(store.path("mobile-ffhq-graph")), str(store.path("mobile-ffhq")))
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": options.threads}
    theirs = core.compile_model(model, "CPU", settings)
    w = ours.map(torch.randn(1, 512, generator=torch.Generator().manual_seed(0)))

    def forward() -> object:
        with torch.no_grad():
            return ours.synthesize(w)

    def step(preview: bool) -> None:
        feature = ours.features(w, (64,))[64].requires_grad_()
        made = (ours.preview if preview else ours.synthesize)(w, inject={64: feature})
        made.image.square().mean().backward()

    runs: dict[str, Callable[[], object]] = {
        "ours": forward,
        "openvino": lambda: theirs(w.numpy()),
        "step through the head": lambda: step(True),
        "step through the picture": lambda: step(False),
    }
    for run in runs.values():
        run()
    times = {name: [] for name in runs}
    for _ in range(options.rounds):
        for name, run in runs.items():
            times[name].append(seconds(run))
    for name, values in times.items():
        print(f"{name}: median {statistics.median(values):.3f} s (min {min(values):.3f}, max {max(values):.3f})")
    ratios = [a / b for a, b in zip(times["ours"], times["openvino"], strict=True)]
    print(f"ours / openvino: median {statistics.median(ratios):.2f}")


if __name__ == "__main__":
    main()
