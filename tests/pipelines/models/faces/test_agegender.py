"""Age and gender networks: preprocessing, meaning of the numbers, refusals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipelines.errors import WeightsError
from pipelines.images.pixels import decode
from pipelines.models.faces.agegender import PADDING, DlibAge, DlibGender
from pipelines.models.faces.attributes import AttributeMeter
from pipelines.models.faces.finders import DlibFinder
from pipelines.models.faces.years import YEARS_ASSET, load_years
from pipelines.types import U8Image
from pipelines.weights.store import WeightStore


def _grey(size: int, level: int = 120) -> U8Image:
    return np.full((size, size, 3), level, np.uint8)


@pytest.mark.parametrize("network", [DlibAge, DlibGender])
def test_a_foreign_file_is_named(tmp_path: Path, network: type[DlibAge | DlibGender]) -> None:
    path = tmp_path / "age-v1.onnx"
    with pytest.raises(WeightsError, match=r"age-v1\.onnx cannot be read"):
        network(path)
    path.write_bytes(b"not onnx")
    with pytest.raises(WeightsError, match=r"age-v1\.onnx cannot be read"):
        network(path)


@pytest.fixture(scope="module")
def age(store: WeightStore) -> DlibAge:
    return DlibAge(store.path("age-dlib"))


@pytest.fixture(scope="module")
def gender(store: WeightStore) -> DlibGender:
    return DlibGender(store.path("gender-dlib"))


@pytest.mark.weights
def test_swapped_networks_are_refused(store: WeightStore) -> None:
    with pytest.raises(WeightsError, match="another network"):
        DlibAge(store.path("gender-dlib"))
    with pytest.raises(WeightsError, match="another network"):
        DlibGender(store.path("age-dlib"))


@pytest.mark.weights
def test_wrong_chips_are_refused(age: DlibAge, gender: DlibGender) -> None:
    with pytest.raises(ValueError, match="64 x 64"):
        age.measure([_grey(DlibGender.chip)])
    with pytest.raises(ValueError, match="32 x 32"):
        gender.measure([_grey(DlibAge.chip)])
    assert (len(age.measure([])), len(gender.measure([]))) == (0, 0)


@pytest.mark.weights
def test_numbers_match_a_plain_reading_of_the_networks(store: WeightStore, age: DlibAge, gender: DlibGender) -> None:
    import onnxruntime as ort

    rng = np.random.default_rng(0)
    ages = [rng.integers(0, 256, (64, 64, 3), dtype=np.uint8) for _ in range(3)]
    genders = [chip[:32, :32] for chip in ages]
    found_ages, found_genders = age.measure(ages), gender.measure(genders)
    for index in range(3):
        for name, chip in (("age-dlib", ages[index]), ("gender-dlib", genders[index])):
            session = ort.InferenceSession(str(store.path(name)))
            planes = [
                (chip[..., c].astype(np.float32) - mean) / 256 for c, mean in enumerate((122.782, 117.001, 104.298))
            ]
            (probabilities,) = session.run(None, {"images": np.stack(planes)[None].astype(np.float32)})[0]
            if name == "age-dlib":
                want = 0.25 * probabilities[0] + sum(year * probabilities[year] for year in range(1, 81))
                assert found_ages[index] == pytest.approx(want, rel=1e-4)
            else:
                want = np.log(probabilities[1]) - np.log(probabilities[0])
                assert found_genders[index] == pytest.approx(want, rel=1e-3, abs=1e-3)


@pytest.mark.weights
def test_real_faces(store: WeightStore, gender: DlibGender) -> None:
    years = load_years(store.tensors(YEARS_ASSET))
    meter = AttributeMeter(DlibFinder(store.path("landmarks-68")), gender, years)
    names = ("sample-obama", "sample-biden", "sample-astronaut")  # two men of about 50 and 70, a woman of 36
    found = meter.measure([decode(store.path(name).read_bytes()) for name in names])
    assert (np.sign(found["gender"]) == (1, 1, -1)).all()
    assert (found["age"] > 20).all()
    assert found["age"][1] > found["age"][2] + 10
    assert PADDING == 0.2
