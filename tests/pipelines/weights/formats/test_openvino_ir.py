"""Constants of an OpenVINO network: read by name, refused when the files do not fit together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipelines.errors import WeightsError
from pipelines.weights.formats.mobile_ir import mobile_state
from pipelines.weights.formats.openvino_ir import read_constants

GRAPH = """<?xml version="1.0"?><net><layers>
<layer id="0" name="bias" type="Const"><data element_type="f32" shape="2, 3" offset="4" size="24"/></layer>
<layer id="1" name="axis" type="Const"><data element_type="i64" shape="" offset="28" size="8"/></layer>
<layer id="2" name="add" type="Add"/></layers></net>"""


@pytest.fixture
def network(tmp_path: Path) -> tuple[Path, Path]:
    graph, blob = tmp_path / "n.xml", tmp_path / "n.bin"
    graph.write_text(GRAPH)
    blob.write_bytes(b"\0" * 4 + np.arange(6, dtype=np.float32).tobytes() + np.int64(7).tobytes())
    return graph, blob


def test_reads_by_name(network: tuple[Path, Path]) -> None:
    constants = read_constants(*network)
    assert constants["bias"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert constants["axis"].item() == 7


def test_cut_file_is_refused(network: tuple[Path, Path]) -> None:
    graph, blob = network
    blob.write_bytes(blob.read_bytes()[:20])
    with pytest.raises(WeightsError, match=r"bias does not fit into n\.bin"):
        read_constants(graph, blob)


@pytest.mark.parametrize("text", ["", "<net/>", "<net><layers><layer", GRAPH.replace("f32", "u7")])
def test_foreign_graph_is_refused(network: tuple[Path, Path], text: str) -> None:
    graph, blob = network
    graph.write_text(text)
    with pytest.raises(WeightsError, match=r"n\.(xml|bin)"):
        read_constants(graph, blob)


def test_another_network_is_refused(network: tuple[Path, Path]) -> None:
    constants = read_constants(*network)
    with pytest.raises(WeightsError, match="not the MobileStyleGAN network"):
        mobile_state(constants, constants)
