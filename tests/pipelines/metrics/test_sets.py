"""Distances between sets: known values, too few pictures, and what they say of pairs."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torchvision.models import mobilenet_v2
from torchvision.transforms import Normalize

from pipelines.errors import UsageError
from pipelines.metrics import sets
from pipelines.metrics.sets import FrechetDistance, KernelDistance, frechet_distance, kernel_distance
from pipelines.metrics.tools import Tools
from pipelines.models.perceptual.mobilenet import ASSET, MobileNetFeatures, load_mobilenet
from pipelines.weights.store import WeightStore
from tests.pipelines.metrics.fakes import CPU, FakeStore, faces, picture

needs_extra = pytest.mark.skipif(not sets.have_extra(), reason="torch-fidelity, an extra, is not installed")


def _normal(count: int, seed: int, mean: float = 0.0, deviation: float = 1.0) -> Tensor:
    return torch.randn(count, 8, generator=torch.Generator().manual_seed(seed)) * deviation + mean


@needs_extra
def test_kernel_distance_of_alike_sets_is_about_nothing_also_where_pairs_are_copies() -> None:
    x = _normal(200, 0)
    moved, _ = kernel_distance(x, _normal(200, 1, mean=1.0))
    for y in (_normal(200, 1), x):
        mean, spread = kernel_distance(x, y)
        assert abs(mean) < 0.3 * moved
        assert 0 < spread < moved


@needs_extra
def test_kernel_distance_is_the_estimate_of_its_definition() -> None:
    x = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [0.0, 0.0]])
    # n = 4: halves of two; for these four points each split was worked out by the definition
    mean, _ = kernel_distance(x, x)

    def kernel(a: int, b: int) -> float:
        return float((x[a] @ x[b] / 2 + 1) ** 3)

    pairs = [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]
    splits = []
    for a, b in pairs:
        c, d = sorted({0, 1, 2, 3} - {a, b})
        splits.append(kernel(a, b) + kernel(c, d) - sum(kernel(i, j) for i in (a, b) for j in (c, d)) / 2)
    assert min(splits) - 1e-6 <= mean <= max(splits) + 1e-6


@needs_extra
def test_frechet_distance_of_two_normals() -> None:
    x, y = _normal(20_000, 0), _normal(20_000, 1, mean=1.0, deviation=2.0)
    assert frechet_distance(x, y) == pytest.approx(8 * (1 + (2 - 1) ** 2), rel=0.03)
    assert frechet_distance(x, x) == pytest.approx(0, abs=1e-6)


def test_too_few_pictures_have_no_figure_but_a_bound() -> None:
    network = MobileNetFeatures().eval()
    kernel, frechet = KernelDistance(network), FrechetDistance(network)
    few = _normal(99, 0)
    assert (kernel.compare(few, few).value, kernel.compare(few, few).least) == (None, 100)
    assert (frechet.compare(few, few).value, frechet.compare(few, few).least) == (None, 1281)


def test_features_are_of_a_picture_not_of_its_batch() -> None:
    torch.manual_seed(0)
    metric = KernelDistance(MobileNetFeatures().eval())
    both = metric.features(faces([picture(0), picture(1)]))
    alone = metric.features(faces([picture(1)]))
    assert both.shape == (2, 1280)
    torch.testing.assert_close(both[1:], alone)


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sets, "EXTRA", "no_such_module")
    with pytest.raises(UsageError, match=r"kid-mobilenetv2 needs torch-fidelity: .*ganinv\[fid\]"):
        sets._network(Tools(FakeStore(), CPU), KernelDistance.name)  # type: ignore[arg-type]


@pytest.mark.weights
def test_features_are_those_of_torchvisions_own_network(store: WeightStore) -> None:
    tensors = store.tensors(ASSET)
    whole = mobilenet_v2()
    whole.load_state_dict(tensors)
    picture = torch.rand(1, 3, 256, 256, generator=torch.Generator().manual_seed(0))
    seen: list[Tensor] = []
    whole.classifier.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.inference_mode():
        whole.eval()(Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))(picture))
        found = load_mobilenet(tensors)(picture * 2 - 1)
    torch.testing.assert_close(found, seen[0], rtol=1e-4, atol=1e-5)
