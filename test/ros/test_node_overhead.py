"""benchmarks/node_overhead.py measures like with like: the three ways give the same labelled
cloud, with and without ROS.
"""

import importlib
import sys

import pytest
from builders.paths import REPOSITORY

pytest.importorskip("rosbags", reason="rosbags is not installed")


@pytest.fixture(scope="module")
def benchmark():
    """The benchmark as a module, found as `python benchmarks/node_overhead.py` finds it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(REPOSITORY / "benchmarks"))
        yield importlib.import_module("node_overhead")


@pytest.mark.parametrize("images", ["jpeg", "bgr8"])
def test_the_three_ways_give_the_same_and_every_step_is_timed(benchmark, images):
    # exits where results differ
    found = benchmark.measure(
        num_points=300, num_cameras=2, images=images, images_per_cloud=2, repeats=1
    )
    assert list(found.medians) == ["ours", "structured", "loop"]
    assert all(tuple(steps) == benchmark.STEPS for steps in found.medians.values())
    assert len(found.notes) == 3


def test_it_runs_without_ros_and_says_so(benchmark, monkeypatch):
    monkeypatch.setitem(sys.modules, "rclpy", None)
    monkeypatch.setitem(sys.modules, "rclpy.serialization", None)
    found = benchmark.measure(
        num_points=300, num_cameras=1, images="bgr8", images_per_cloud=1, repeats=1
    )
    assert found.notes[0] == "messages: rosbags"
    assert "re-written here" in found.notes[1]
