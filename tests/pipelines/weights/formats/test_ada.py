"""NVIDIA's pickles: renamed exactly, and never run."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipelines.errors import WeightsError
from pipelines.weights.checkpoints.detect import detect
from tests.pipelines.weights import upstream_files as files


def written(tmp_path: Path, data: bytes) -> Path:
    (tmp_path / "ffhq.pkl").write_bytes(data)
    return tmp_path / "ffhq.pkl"


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_every_tensor_arrives_under_rosinalitys_key_and_shape(tmp_path: Path, protocol: int) -> None:
    tensors = {key: tensor.float() for key, tensor in files.generator_tensors().items()}
    found = detect(written(tmp_path, files.ada_bytes(tensors, protocol=protocol)))
    assert found.kind == "ada"
    made = found.parts[0].tensors
    assert set(made) == {key for key in tensors if not key.endswith("kernel")} | {"latent_avg"}
    assert all(torch.equal(made[key], tensors[key]) for key in made if key != "latent_avg")
    assert torch.equal(made["latent_avg"], torch.arange(512.0))


def test_a_mapping_trained_at_another_rate_is_rescaled(tmp_path: Path) -> None:
    tensors = {key: tensor.float() for key, tensor in files.generator_tensors().items()}
    made = detect(written(tmp_path, files.ada_bytes(tensors, rate=1.0))).parts[0].tensors
    for key in ("style.1.weight", "style.1.bias"):
        assert torch.allclose(made[key], tensors[key], rtol=1e-5)


@pytest.mark.parametrize("value", [np.arange(6.0).reshape(2, 3), np.float64(3.0), {1, 2}, b"bytes", torch.float16])
def test_plain_values_beside_the_networks_are_read(tmp_path: Path, value: Any) -> None:
    assert detect(written(tmp_path, files.ada_bytes(files.generator_tensors(), note=value))).kind == "ada"


def test_the_source_text_inside_is_never_run(tmp_path: Path) -> None:
    target = tmp_path / "ran"
    with files.nvidia_modules():
        meta = files.Meta("Generator", {}, f"import os; os.mkdir({str(target)!r})")
        data = pickle.dumps({"G_ema": meta})
    with pytest.raises(WeightsError, match="no StyleGAN2 generator"):
        detect(written(tmp_path, data))
    assert not target.exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"conv1.activate.bias": torch.full((16,), float("nan"))}, "NaN"),
        ({"conv1.activate.bias": torch.ones(3)}, "instead of"),
    ],
)
def test_wrong_numbers_and_shapes_are_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(WeightsError, match=message):
        detect(written(tmp_path, files.ada_bytes(files.generator_tensors() | change)))


def test_another_resampling_filter_and_extra_networks_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "KERNEL", torch.ones(4, 4))
    data = files.ada_bytes(files.generator_tensors())
    with pytest.raises(WeightsError, match="filter"):
        detect(written(tmp_path, data))


@pytest.mark.parametrize("share", [0.001, 0.3, 0.9, 0.99999])
def test_a_truncated_pickle_is_one_sentence(tmp_path: Path, share: float) -> None:
    data = files.ada_bytes(files.generator_tensors())
    with pytest.raises(WeightsError, match=r"ffhq\.pkl") as caught:
        detect(written(tmp_path, data[: int(len(data) * share)]))
    assert "\n" not in str(caught.value)


def test_a_dictionary_without_the_network_and_a_tensorflow_pickle_say_what_they_are(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no network 'G_ema'"):
        detect(written(tmp_path, pickle.dumps({"G": 1})))
    with pytest.raises(WeightsError, match=r"TensorFlow pickle: convert it with NVIDIA's legacy\.py"):
        detect(written(tmp_path, b"\x80\x02cdnnlib.tflib.network\nNetwork\n."))
