"""How small a set of pictures may be: the kernel distance of a run's edits from their sources, and its own noise.

    python -m benchmarks.sets ./faces ./edits/inversion ./edits/smile+2

`faces` holds the sources, the other folders pictures of the same names. For each: the distance of all from all, that of one
half from the other (what `ganinv evaluate` gives); and once the deviation of the distance between parts of the sources.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch_fidelity import metric_kid

from pipelines.images.decode import decode, read_photo
from pipelines.metrics.faces import Picture
from pipelines.metrics.sets import kernel_distance
from pipelines.models.perceptual.mobilenet import ASSET, MobileNetFeatures, load_mobilenet
from pipelines.weights.store import StoreConfig, WeightStore

DRAWS = 100


@torch.inference_mode()
def features(network: MobileNetFeatures, files: Sequence[Path]) -> Tensor:
    """n x 1280."""
    return torch.cat([network(Picture.of(decode(read_photo(path))).pixels[None]) for path in files])


def between(x: Tensor, y: Tensor) -> float:
    """The unbiased estimate of all from all; of equally many."""
    size = {"kid_subsets": 1, "kid_subset_size": len(x), "verbose": False}
    found = metric_kid.kid_features_to_metric(x.double(), y.double(), **size)
    return float(found[metric_kid.KEY_METRIC_KID_MEAN])


def noise(x: Tensor, size: int) -> float:
    """Standard deviation of the distance between two disjoint parts of one set."""
    draws = torch.Generator().manual_seed(0)
    orders = [torch.randperm(len(x), generator=draws) for _ in range(DRAWS)]
    return float(torch.tensor([between(x[o[:size]], x[o[size : 2 * size]]) for o in orders]).std())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("faces", type=Path)
    parser.add_argument("results", type=Path, nargs="+")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    network = load_mobilenet(WeightStore(StoreConfig.from_env(os.environ)).tensors(ASSET))
    files = sorted(options.faces.glob("*.png"))
    sources = features(network, files)
    print("| pictures | all from all | half from half | deviation |\n|---|---|---|---|")
    for folder in options.results:
        made = features(network, [folder / path.name for path in files])
        mean, spread = kernel_distance(sources, made)
        print(f"| {folder} | {between(sources, made):.4f} | {mean:.4f} | {spread:.4f} |")
    for size in (len(files) // 4, len(files) // 2):
        print(f"deviation between two parts of {size} sources: {noise(sources, size):.4f}")


if __name__ == "__main__":
    main()
