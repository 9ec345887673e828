"""benchmarks/world.py times what it says and counts the classes."""

import re

import numpy as np
import pytest
from builders.paths import load_script

from cmdfusion_ros.data.synthetic import lidar
from cmdfusion_ros.frame import Frame


@pytest.fixture(scope="module")
def benchmark():
    return load_script("benchmarks/world.py")


def test_it_says_what_a_scan_and_a_picture_cost_and_leaves_the_functions_as_they_were(
    benchmark, capsys
):
    cast = lidar.cast
    assert benchmark.main(["speed", "--rigs", "demo", "--scans", "1"]) == 0
    printed = capsys.readouterr().out
    assert "demo: 32 beams" in printed and "6 pictures of 352x198" in printed
    scan = float(re.search(r"a scan ([\d.]+) s", printed)[1])
    stages = dict(re.findall(r"(\w+) ([\d.]+)", re.search("of a scan: (.*)", printed)[1]))
    assert 0 < float(stages["cast"]) <= scan + 0.01 and set(stages) == {
        "cast",
        "surfaces_at",
        "paint_surfaces",
        "solids",
    }
    assert lidar.cast is cast


def test_frequencies_stand_beside_the_real_ones(benchmark, capsys):
    assert benchmark.main(["frequencies", "--streets", "1"]) == 0
    rows = {
        name: (float(ours), float(theirs))
        for name, ours, theirs in re.findall(
            r"^(\S+) +([\d.]+) % +([\d.]+) %", capsys.readouterr().out, re.MULTILINE
        )
    }
    assert len(rows) == 19 and sum(ours for ours, _ in rows.values()) == pytest.approx(
        100, abs=0.05
    )
    assert rows["vegetation"][1] == pytest.approx(32.83, abs=0.01)


def test_statistics_are_those_worked_out_by_hand(benchmark):
    points = np.array([[5, 0, -2], [6, 0, -2], [0, 12, 1], [50, 0, 0]], np.float32)
    labels = np.array([0, 0, 3, 255], np.uint8)
    intensity = np.array([0.1, 0.3, 0.2, 0.9], np.float32)
    statistics = benchmark.Statistics()
    statistics.add(Frame(points=points, intensity=intensity, labels=labels))
    shares, (height, rank) = statistics.row(3)
    assert shares.tolist() == [0, 100, 0, 0]  # alone from 10 to 20 m
    assert height.tolist() == [3, 3, 3]  # over the road's -2 m
    assert rank[1] == pytest.approx(1 / 3)  # one of the three known points is darker
    assert statistics.row(0)[0].tolist() == [100, 0, 0, 0] and statistics.row(5)[1] is None
