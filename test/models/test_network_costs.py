"""`benchmarks/networks.py` measures every network."""

import pytest
from builders.paths import load_script

from cmdfusion_ros.config import ModelConfig


@pytest.fixture(scope="module")
def benchmark():
    return load_script("benchmarks/networks.py")


def test_every_network_is_taken_apart(benchmark):
    choices = ModelConfig.__dataclass_fields__["network"].metadata["choices"]
    assert set(benchmark.PARTS) == set(choices)
    assert all(
        parts[-1][0] == network and {name for name, _ in parts} <= set(choices)
        for network, parts in benchmark.PARTS.items()
    )


def test_parts_leave_out_what_only_the_whole_has(benchmark):
    whole = ModelConfig(network="flagship", image_trust="learned")
    assert [
        benchmark.part_of(whole, name).image_trust for name, _ in benchmark.PARTS["flagship"]
    ] == ["full", "full", "learned", "learned"]
    assert benchmark.part_of(whole, "flagship") == whole
    attentive = ModelConfig(network="u2mkd", attention="windows")
    assert [
        benchmark.part_of(attentive, name).attention for name, _ in benchmark.PARTS["u2mkd"]
    ] == ["windows"] * len(benchmark.PARTS["u2mkd"])


@pytest.mark.parametrize("network, labels", [("flagship", True), ("image", False)])
def test_a_row_has_all_figures(benchmark, network, labels):
    config = ModelConfig(
        network=network, channels=4, voxel_size=1.0, strides=(1, 2), image_size=(64, 32)
    )
    row = benchmark.measure(config, 1500, 2, "cpu", 1, 1)
    assert (
        row["parameters"] > 11e6
        and 500 < row["points"] < 3000
        and row["step_ms"] > 0
        and row["step_cpu_ms"] > 0
        and row["step_mb"] > 50
    )
    assert (row["label_ms"] is not None) == labels == ("backend" in row)
