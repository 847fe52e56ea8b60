"""Upstream files of every kind, and files that are nearly one."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from pipelines.errors import WeightsError
from pipelines.weights.checkpoints.detect import detect
from pipelines.weights.formats import diffcam, encoder, stylegan2
from pipelines.weights.formats.parts import Found
from pipelines.weights.store import WeightStore
from tests.pipelines.weights import upstream_files as files


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    files.shrink(monkeypatch)


def saved(tmp_path: Path, value: Any, legacy: bool = False) -> Path:
    folder = tmp_path / str(len(list(tmp_path.iterdir())))  # never over a file that tensors are still mapped from
    folder.mkdir()
    torch.save(value, folder / "net.pt", _use_new_zipfile_serialization=not legacy)
    return folder / "net.pt"


def parts(found: Found) -> dict[str, Any]:
    return {part.suffix: part for part in found.parts}


@pytest.mark.parametrize("legacy", [False, True])
def test_a_rosinality_file_keeps_its_generator_and_mean_without_kernels(tmp_path: Path, legacy: bool) -> None:
    tensors = files.generator_tensors()
    mean = torch.arange(512.0)
    found = detect(saved(tmp_path, {"g_ema": tensors, "latent_avg": mean, "d": {"x": torch.ones(1)}}, legacy))
    [part] = found.parts
    assert (found.kind, part.role, part.arch) == ("rosinality", "generator", "stylegan2")
    assert part.params == {"resolution": 8, "num_ws": 4, "mapping_layers": 1}
    assert set(part.tensors) == set(stylegan2.layout(8, files.WIDTHS, 1)) | {"latent_avg"}
    assert torch.equal(part.tensors["convs.1.conv.weight"], tensors["convs.1.conv.weight"])
    assert torch.equal(part.tensors["latent_avg"], mean)


def test_a_missing_mean_is_computed_and_said(tmp_path: Path) -> None:
    found = detect(saved(tmp_path, {"g_ema": files.generator_tensors()}))
    assert "latent_avg" in found.notes[0]
    mean = found.parts[0].tensors["latent_avg"]
    bias = found.parts[0].tensors["style.1.bias"].float() * 0.01
    # One layer of unscaled normal weights gives small numbers around a fixed positive mean (leaky ReLU), plus the bias.
    z = torch.randn(4000, 512, generator=torch.Generator().manual_seed(5))
    z = z / z.square().mean(1, keepdim=True).sqrt()
    w = torch.nn.functional.linear(z, found.parts[0].tensors["style.1.weight"].float() * 0.01 / 512**0.5) + bias
    assert torch.allclose(mean, (torch.nn.functional.leaky_relu(w, 0.2) * 2**0.5).mean(0), atol=1e-3)


def test_a_bare_generator_and_a_data_parallel_one_are_known(tmp_path: Path) -> None:
    tensors = files.generator_tensors()
    bare = detect(saved(tmp_path, tensors | {"latent_avg": torch.ones(512)})).parts[0].tensors
    parallel = detect(saved(tmp_path, {"g_ema": files.below("module.", tensors)})).parts[0].tensors
    assert torch.equal(bare["input.input"], parallel["input.input"])
    assert torch.equal(bare["latent_avg"], torch.ones(512))


def test_an_e4e_file_gives_encoder_and_generator_and_names_what_it_leaves_out(tmp_path: Path) -> None:
    found = detect(files.e4e_file(tmp_path / "net.pt"))
    made = parts(found)
    assert (found.kind, set(made)) == ("e4e", {"encoder", "generator"})
    assert made["encoder"].params == {"num_ws": 2}
    assert set(made["encoder"].tensors) == set(encoder.encoder_layout(2)) | {"latent_avg"}
    assert made["encoder"].tensors["latent_avg"].shape == (2, 512)
    assert made["generator"].tensors["latent_avg"].shape == (512,)
    assert any("optimizer" in note for note in found.notes)


def test_psp_differs_from_e4e_by_the_options_alone_and_options_may_be_a_namespace(tmp_path: Path) -> None:
    options = argparse.Namespace(encoder_type="GradualStyleEncoder", start_from_latent_avg=True)
    found = detect(files.e4e_file(tmp_path / "net.pt", opts=options))
    assert (found.kind, parts(found)["encoder"].arch) == ("psp", "psp")


def test_an_encoder_that_does_not_start_from_the_mean_adds_nothing(tmp_path: Path) -> None:
    found = detect(files.e4e_file(tmp_path / "net.pt", opts={"start_from_latent_avg": False}))
    assert torch.equal(parts(found)["encoder"].tensors["latent_avg"], torch.zeros(512))


def test_the_toolbox_layout_of_lsap_is_known(tmp_path: Path) -> None:
    inner = files.below("encoder.", files.encoder_tensors()) | {"latent_avg": torch.ones(2, 512)}
    value = {
        "encoder": files.below("module.", inner),
        "decoder": files.generator_tensors(),
        "opts": {},
        "global_step": 1,
    }
    made = parts(detect(saved(tmp_path, value)))
    assert torch.equal(made["encoder"].tensors["latent_avg"], torch.ones(2, 512))
    assert made["generator"].params["resolution"] == 8


def test_restyles_six_channel_encoder_is_known(tmp_path: Path) -> None:
    tensors = files.fill(encoder.restyle_layout(2))
    options = {"encoder_type": "BackboneEncoder"}
    value = {"state_dict": files.below("encoder.", tensors), "latent_avg": torch.ones(512), "opts": options}
    found = detect(saved(tmp_path, value))
    assert (found.kind, found.parts[0].arch) == ("restyle", "restyle")


@pytest.mark.parametrize("old_names", [False, True])
def test_sdic_gives_three_parts_without_dead_keys_under_new_names(tmp_path: Path, old_names: bool) -> None:
    value = {"state_dict": files.sdic_state(old_names), "latent_avg": torch.ones(2, 512), "opts": {}}
    made = parts(detect(saved(tmp_path, value)))
    assert set(made) == {"sdic", "encoder", "generator"}
    names = set(made["sdic"].tensors)
    assert "DIP.corr_stem.conv.weight" in names
    assert "SAF.condition_shift3.2.bias" in names
    assert not any("aff1." in name or "spx" in name or "id_loss" in name for name in names)


def test_hfgi_is_named_and_its_own_networks_are_left_out_aloud(tmp_path: Path) -> None:
    state = files.below("encoder.", files.encoder_tensors()) | files.below("decoder.", files.generator_tensors())
    state |= {"residue.conv.weight": torch.ones(1), "grid_align.x": torch.ones(1)}
    found = detect(saved(tmp_path, {"state_dict": state, "latent_avg": torch.ones(2, 512), "opts": {}}))
    assert found.kind == "hfgi"
    assert {part.suffix for part in found.parts} == {"encoder", "generator"}
    assert "grid_align" in found.notes[-1]


@pytest.mark.parametrize("legacy", [False, True])
def test_arcface_is_known_with_or_without_counters(
    tmp_path: Path, legacy: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoder, "arcface_layout", lambda: encoder.body_layout() | {"output_layer.3.weight": (2, 3)})
    tensors = files.fill(encoder.arcface_layout(), dtype=torch.float32)
    found = detect(saved(tmp_path, tensors | {"input_layer.1.num_batches_tracked": torch.tensor(1)}, legacy))
    assert (found.kind, found.parts[0].role) == ("arcface", "identity")
    assert set(found.parts[0].tensors) == set(tensors)


def test_diffcams_classifier_is_known_with_its_number_of_classes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def small(classes: int) -> dict[str, tuple[int, ...]]:
        return {"shared.0.weight": (2, 3), "classifier.13.0.conv1.weight": (2,), "fc.weight": (classes, 4)}

    monkeypatch.setattr(diffcam, "classifier_layout", small)
    found = detect(saved(tmp_path, files.fill(small(7))))
    assert found.parts[0].params == {"classes": 7}


def test_the_deghosting_net_maps_its_generator_to_rosinalitys_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def small(into: int, out: int) -> dict[str, tuple[int, ...]]:
        return {"encoder.0.conv_first.weight": (into, out), "fusion_out.0.bias": (1,)}

    monkeypatch.setattr(diffcam, "fcn_layout", small)
    plain = files.generator_tensors(mapping=8)
    back = {
        "input.input": "constant_input.input", "conv1.conv.weight": "conv1.conv.weight_orig",
        "noises.noise_1": "injected_noise_1", "style.3.bias": "style_mapping.3.bias",
    }  # fmt: skip
    named = {back.get(key, key): tensor for key, tensor in plain.items()}
    fcn = files.fill(small(4, 8)) | {"fusion_skip.0.bias": torch.ones(3)}
    with pytest.raises(WeightsError, match="from 4 to 8 px is not known"):
        detect(saved(tmp_path, files.below("FCN.", fcn) | files.below("generator.", named)))
    monkeypatch.setattr(diffcam, "_MIN_INPUT", 4)
    part = detect(saved(tmp_path, files.below("FCN.", fcn) | files.below("generator.", named))).parts[0]
    assert part.params == {"input": 4, "resolution": 8}
    assert torch.equal(part.tensors["generator.noises.noise_1"], plain["noises.noise_1"])
    assert not any("fusion_skip" in key or "kernel" in key for key in part.tensors)


def test_a_safetensors_file_of_our_own_is_known_again(tmp_path: Path) -> None:
    found = detect(files.e4e_file(tmp_path / "net.pt"))
    save_file(dict(parts(found)["encoder"].tensors), tmp_path / "again.safetensors", {"ganinv": '{"arch": "psp"}'})
    assert detect(tmp_path / "again.safetensors").kind == "psp"


# -- files that are nearly right ---------------------------------------------------------------------------------------


def changed(tensors: dict[str, torch.Tensor], key: str, value: torch.Tensor | None) -> dict[str, torch.Tensor]:
    return {name: tensor for name, tensor in (tensors | {key: value}).items() if tensor is not None}


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("convs.1.noise.weight", None, "lacks: convs.1.noise.weight"),
        ("conv1.extra", torch.ones(1), "unknown keys: conv1.extra"),
        ("convs.0.conv.weight", torch.ones(3), r"convs.0.conv.weight \(3,\) instead of"),
        ("convs.0.conv.weight", torch.ones(1, 13, 16, 3, 3), "other shapes"),
        ("convs.0.conv.weight", None, "lacks: convs.0.conv.weight"),
        ("to_rgb1.bias", torch.ones(3), r"to_rgb1.bias \(3,\) instead of \(1, 3, 1, 1\)"),
        ("input.input", torch.full((1, 16, 4, 4), float("nan")), "NaN or infinite numbers in input.input"),
        ("input.input", torch.full((1, 16, 4, 4), float("inf")), "NaN or infinite"),
        ("input.input", torch.ones(1, 16, 4, 4, dtype=torch.int32), "integers in input.input"),
        ("convs.0.conv.blur.kernel", torch.ones(4, 4), "another resampling kernel"),
        ("to_rgbs.5.bias", torch.ones(1, 3, 1, 1), "unknown keys|lacks|known"),
    ],
)
def test_a_generator_that_is_not_exactly_one_is_refused(
    tmp_path: Path, key: str, value: torch.Tensor | None, message: str
) -> None:
    tensors = changed(files.generator_tensors(), key, value)
    with pytest.raises(WeightsError, match=message) as caught:
        detect(saved(tmp_path, {"g_ema": tensors}))
    assert "net.pt" in str(caught.value)
    assert caught.value.exit_code == 5


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ({"latent_avg": None}, "lacks latent_avg"),
        ({"latent_avg": torch.ones(3, 512)}, "latent_avg has shape"),
        ({"latent_avg": torch.full((512,), float("nan"))}, "not finite"),
        ({"opts": {"encoder_type": "ResNetBackboneEncoder"}}, "'ResNetBackboneEncoder', which is not known"),
        ({"strange": torch.ones(2)}, "unknown keys: strange"),
        ({"opts": {"encoder_type": "BackboneEncoder"}}, "restyle encoder"),
    ],
)
def test_an_encoder_checkpoint_that_is_not_exactly_one_is_refused(
    tmp_path: Path, extra: dict[str, Any], message: str
) -> None:
    with pytest.raises(WeightsError, match=message):
        detect(files.e4e_file(tmp_path / "net.pt", **extra))


def test_another_network_is_named_by_its_keys(tmp_path: Path) -> None:
    with pytest.raises(
        WeightsError, match=r"its keys \(layer1.weight, ...\) are those of no network .* known: StyleGAN2"
    ):
        detect(saved(tmp_path, {"layer1.weight": torch.ones(2)}))


def test_keys_that_come_twice_are_refused(tmp_path: Path) -> None:
    tensors = files.generator_tensors()
    with pytest.raises(WeightsError, match="twice"):
        detect(saved(tmp_path, tensors | {"module.input.input": tensors["input.input"]}))


@pytest.mark.parametrize("name", ["net.pt", "net.pkl", "net.safetensors", "net.dat"])
@pytest.mark.parametrize("data", [b"", b"\x80", b"PK\x03\x04", b"garbage" * 30, b"\x10\0\0\0\0\0\0\0{" + b" " * 40])
def test_bytes_that_are_nothing_are_one_sentence(tmp_path: Path, name: str, data: bytes) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(WeightsError, match=name) as caught:
        detect(tmp_path / name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.99])
def test_a_truncated_checkpoint_is_one_sentence(tmp_path: Path, legacy: bool, share: float) -> None:
    path = saved(tmp_path, {"g_ema": {"a": torch.zeros(3000)}}, legacy)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(WeightsError, match=r"net\.pt") as caught:
        detect(path)
    assert "\n" not in str(caught.value)


def test_a_safetensors_header_that_claims_more_than_the_file_has_is_refused(tmp_path: Path) -> None:
    header = b'{"a":{"dtype":"F32","shape":[1000000000,1000],"data_offsets":[0,4000000000000]}}'
    (tmp_path / "net.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(64))
    with pytest.raises(WeightsError, match="cannot be read as safetensors"):
        detect(tmp_path / "net.safetensors")


# -- real files ----------------------------------------------------------------------------------------------------------


@pytest.mark.weights
def test_dlibs_face_network_is_read_and_its_landmark_file_pointed_elsewhere(store: WeightStore) -> None:
    found = detect(store.path("id-dlib"))
    assert (found.kind, found.parts[0].arch) == ("dlib-resnet", "dlib-resnet")
    with pytest.raises(WeightsError, match="--as landmarks-68"):
        detect(store.path("landmarks-68"))


@pytest.mark.weights
@pytest.mark.parametrize("name", ["st-lpips-alex", "mobilenetv2-imagenet"])
def test_published_checkpoints_pass_the_scan_and_are_told_to_be_others(store: WeightStore, name: str) -> None:
    assert store.tensors(name)
    with pytest.raises(WeightsError, match="no network that ganinv knows"):
        detect(store.path(name))
