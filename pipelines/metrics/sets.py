"""`kid-mobilenetv2` and `fid-mobilenetv2`: do all results together look like all sources together?

The kernel distance (Bińkowski et al. 2018, arXiv 1801.01401: MMD with the kernel (x y / d + 1)^3, unbiased) and the Fréchet
distance (Heusel et al. 2017, arXiv 1706.08500) between features of two sets, computed by torch-fidelity, an extra. What
papers call KID and FID is of features of Inception-v3, whose weights lie on no package index. These are of MobileNetV2's 1,280
features and carry its name: they cannot be compared with published figures, only with one another.

A result is made from its source, and the unbiased estimate holds for independent sets alone: with both in it, edits that are
mostly the photo come out far below 0. So one half's sources are compared with the other half's results.
"""

from __future__ import annotations

import statistics
from importlib.util import find_spec

import torch
from torch import Tensor

from pipelines.errors import UsageError
from pipelines.metrics.faces import Faces
from pipelines.metrics.registry import metrics
from pipelines.metrics.tools import SetFigure, Tools
from pipelines.models.perceptual.mobilenet import ASSET, WIDTH, MobileNetFeatures, load_mobilenet

EXTRA = "torch_fidelity"
LEAST_KID = 100  # of halves of 24, the noise is a quarter of what the default's inversions differ by (benchmarks.sets)
LEAST_FID = WIDTH + 1  # of fewer, the covariance cannot have full rank, and the distance says how few they were
HALVINGS, LARGEST = 100, 1000  # as many subsets, and no larger ones, as is usual for KID


def have_extra() -> bool:
    """Whether what computes them is installed."""
    return find_spec(EXTRA) is not None


def kernel_distance(sources: Tensor, results: Tensor, seed: int = 0) -> tuple[float, float]:
    """Unbiased estimate between one half's sources and the other half's results (1,000 at most): over 100 random halvings.

    Args:
        sources, results: n x d features of the same n pictures in the same order, n at least 4.
        seed: of the halvings.

    Returns:
        (mean, standard deviation); the mean is below 0 about as often as above where both sets are alike.
    """
    from torch_fidelity import metric_kid

    x, y = sources.double(), results.double()
    size, draws = min(LARGEST, len(x) // 2), torch.Generator().manual_seed(seed)
    found = []
    for _ in range(HALVINGS):
        order = torch.randperm(len(x), generator=draws)
        halves = x[order[:size]], y[order[size : 2 * size]]
        one = metric_kid.kid_features_to_metric(*halves, kid_subsets=1, kid_subset_size=size, verbose=False)
        found.append(one[metric_kid.KEY_METRIC_KID_MEAN])
    return statistics.fmean(found), statistics.stdev(found)


def frechet_distance(x: Tensor, y: Tensor) -> float:
    """Between the normal distributions that have both sets' means and covariances; n x d features each.

    Of a set and itself it is 0; of independent sets that are alike it is the further above 0 the fewer pictures there are.
    """
    from torch_fidelity import metric_fid

    sides = [metric_fid.fid_features_to_statistics(features.double()) for features in (x, y)]
    return float(metric_fid.fid_statistics_to_metric(*sides, verbose=False)[metric_fid.KEY_METRIC_FID])


class _OfFeatures:
    """Features of pictures at 256 px, computed once for all metrics of them."""

    def __init__(self, network: MobileNetFeatures) -> None:
        self._network = network

    @torch.inference_mode()
    def features(self, faces: Faces) -> Tensor:
        """n x 1280."""
        found: Tensor = faces.memo(ASSET, lambda: self._network(faces.pixels))
        return found


class KernelDistance(_OfFeatures):
    """`kid-mobilenetv2`, the mean over halvings and its deviation; lower is better."""

    name = "kid-mobilenetv2"

    def compare(self, sources: Tensor, results: Tensor) -> SetFigure:
        """n x 1280 features each."""
        if len(sources) < LEAST_KID:
            return SetFigure(None, None, LEAST_KID)
        return SetFigure(*kernel_distance(sources, results), LEAST_KID)


class FrechetDistance(_OfFeatures):
    """`fid-mobilenetv2`; lower is better."""

    name = "fid-mobilenetv2"

    def compare(self, sources: Tensor, results: Tensor) -> SetFigure:
        """n x 1280 features each."""
        if len(sources) < LEAST_FID:
            return SetFigure(None, None, LEAST_FID)
        return SetFigure(frechet_distance(sources, results), None, LEAST_FID)


def _network(tools: Tools, name: str) -> MobileNetFeatures:
    if not have_extra():
        raise UsageError(f"{name} needs torch-fidelity: install it with `pip install 'ganinv[fid]'`")
    return tools.shared(ASSET, lambda: load_mobilenet(tools.store.tensors(ASSET)).to(tools.device))


def _register(distance: type[KernelDistance | FrechetDistance], kind: str) -> None:
    text = f"{kind} distance of MobileNetV2's features from the sources', 256 px"
    enter = metrics.register(distance.name, text, "lower", weights=(ASSET,), of_edits=True, kind="set")
    enter(lambda tools: distance(_network(tools, distance.name)))


_register(KernelDistance, "kernel")
_register(FrechetDistance, "Fréchet")
