"""Golden arrays of `mobile-ffhq`, computed by the OpenVINO runtime in float32 from the published networks.

Run: pip install -e '.[golden]' && python -m tests.golden.make_mobile   (writes tests/golden/mobile_ffhq.npz)

Kept per picture: every 8th pixel of the 1024 px image, four 48 px squares at full density (so that no phase of the Haar
steps goes unseen), and the row means of all pixels.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import openvino as ov

from pipelines.weights.store import StoreConfig, WeightStore
from tests.golden.make_mobile_points import CORNERS


def compiled(store: WeightStore, graph: str, blob: str) -> ov.CompiledModel:
    core = ov.Core()
    model = core.read_model(str(store.path(graph)), str(store.path(blob)))
    # Without the hint OpenVINO computes in bfloat16 on CPUs that have it: another picture.
    return core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})


def main() -> None:
    store = WeightStore(StoreConfig.from_env(os.environ))
    mapping = compiled(store, "mobile-ffhq-mapping-graph", "mobile-ffhq-mapping")
    synthesis = compiled(store, "mobile-ffhq-graph", "mobile-ffhq")
    z = np.random.default_rng(20210721).standard_normal((3, 512), dtype=np.float32)
    arrays: dict[str, np.ndarray] = {"z": z}
    for i in range(len(z)):
        w = mapping(z[i : i + 1])[0]
        image = synthesis(w)[0][0]
        arrays[f"w{i}"] = w[0]
        arrays[f"sparse{i}"] = image[:, ::8, ::8]
        arrays[f"dense{i}"] = np.stack([image[:, y : y + 48, x : x + 48] for y, x in CORNERS])
        arrays[f"rows{i}"] = image.mean(axis=2)
    np.savez_compressed(Path(__file__).with_name("mobile_ffhq.npz"), **arrays)


if __name__ == "__main__":
    main()
