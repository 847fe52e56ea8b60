"""IR-SE-50 against numbers of the official modules (`shared/conformance`), and its use as a differentiable metric."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pipelines.errors import WeightsError
from pipelines.models.faces.arcface import ArcFace, build_arcface, crop_112


@pytest.fixture(scope="module")
def conformance(shared: Path) -> tuple[ModuleType, Path]:
    spec = importlib.util.spec_from_file_location("conformance_fill", shared / "conformance" / "fill.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module, shared / "conformance" / "e4e"


@pytest.fixture(scope="module")
def official(conformance: tuple[ModuleType, Path]) -> ArcFace:
    module, folder = conformance
    return build_arcface({key: torch.from_numpy(value) for key, value in module.fill(folder / "ir_se50.json").items()})


@pytest.fixture(scope="module")
def random_state() -> dict[str, Tensor]:
    torch.manual_seed(0)
    return ArcFace().state_dict()


def test_embeddings_agree_with_the_official_network(official: ArcFace, conformance: tuple[ModuleType, Path]) -> None:
    module, folder = conformance
    golden = np.load(folder / "identity.npz")
    target = torch.from_numpy(module.draw("id.target", (2, 3, 256, 256), "image"))
    output = 0.7 * target + 0.3 * torch.from_numpy(module.draw("id.output", (2, 3, 256, 256), "image"))
    np.testing.assert_allclose(crop_112(target)[:, :, ::4, ::4].numpy(), golden["crop112"], atol=3e-6)
    found = official(target), official(output)
    np.testing.assert_allclose(found[0].numpy(), golden["target"], atol=3e-6)
    np.testing.assert_allclose(found[1].numpy(), golden["output"], atol=3e-6)
    cosine = (found[0] * found[1]).sum(1).numpy()
    np.testing.assert_allclose(cosine, golden["cosine"], atol=3e-6)
    np.testing.assert_allclose((1 - cosine).mean(), golden["loss"][0], atol=3e-6)


def test_body_gives_the_encoders_taps(conformance: tuple[ModuleType, Path]) -> None:
    """The e4e encoder's stem and body are the same network under the prefix ``encoder.``."""
    module, folder = conformance
    golden = np.load(folder / "wplus.npz")
    image = torch.from_numpy(module.draw("e4e.image", (1, 3, 256, 256), "image"))
    manifest = module.json.loads((folder / "e4e_encoder.json").read_text())
    body = {key: spec for key, spec in manifest.items() if key.split(".")[1] in ("input_layer", "body")}
    net = ArcFace()
    filled = {key.removeprefix("encoder."): torch.from_numpy(value) for key, value in module.fill(body).items()}
    assert not net.load_state_dict(filled, strict=False).unexpected_keys
    c1, c2, c3 = net.taps(image)
    assert (c1.shape[1:], c2.shape[1:], c3.shape[1:]) == ((128, 64, 64), (256, 32, 32), (512, 16, 16))
    np.testing.assert_allclose(c1[:, ::16, ::8, ::8].numpy(), golden["c1"], atol=2e-4)
    np.testing.assert_allclose(c2[:, ::32, ::4, ::4].numpy(), golden["c2"], atol=2e-4)
    np.testing.assert_allclose(c3[:, ::32, ::2, ::2].numpy(), golden["c3"], atol=2e-4)


def test_embeddings_have_length_one_and_pass_gradients_on(random_state: dict[str, Tensor]) -> None:
    net = build_arcface(random_state)
    torch.manual_seed(1)
    images = (torch.rand(2, 3, 256, 256) * 2 - 1).requires_grad_()
    embedding = net(images)
    torch.testing.assert_close(embedding.norm(dim=1), torch.ones(2))
    torch.testing.assert_close(embedding[1:], net(images[1:]), rtol=1e-3, atol=1e-5)
    embedding[0, 0].backward()
    assert images.grad is not None
    seen = images.grad[0].abs().sum(0) > 0
    rows, columns = seen.any(1).nonzero().flatten(), seen.any(0).nonzero().flatten()
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (35, 222, 32, 219)
    assert not any(parameter.requires_grad for parameter in net.parameters())


def test_step_counters_may_be_absent(random_state: dict[str, Tensor]) -> None:
    without = {key: value for key, value in random_state.items() if not key.endswith("num_batches_tracked")}
    faces = torch.rand(1, 3, 112, 112)
    torch.testing.assert_close(build_arcface(without).embed(faces), build_arcface(random_state).embed(faces))


def test_other_checkpoints_and_sizes_are_refused(random_state: dict[str, Tensor]) -> None:
    with pytest.raises(WeightsError, match="not an IR-SE-50"):
        build_arcface({"weight": torch.zeros(1)})
    with pytest.raises(WeightsError, match="not an IR-SE-50"):
        build_arcface(random_state | {"output_layer.3.bias": torch.zeros(7)})
    with pytest.raises(ValueError, match="256 x 256"):
        crop_112(torch.zeros(1, 3, 128, 128))


def test_batch_norms_are_in_eval_mode(random_state: dict[str, Tensor]) -> None:
    norms = [module for module in build_arcface(random_state).modules() if isinstance(module, nn.BatchNorm2d)]
    assert norms
    assert not any(norm.training for norm in norms)
