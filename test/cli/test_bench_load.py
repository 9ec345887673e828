"""`cmdfusion bench load`: what is sent, what is counted, and what is printed and drawn."""

import importlib.util
import json

import numpy as np
import pytest
from builders.commands import cmdfusion

from cmdfusion_ros.cli.benches import load
from cmdfusion_ros.cli.runs import live
from cmdfusion_ros.cli.runs.record import RunRecord
from cmdfusion_ros.frame import CameraView, Frame


def scan():
    views = tuple(
        CameraView(name, np.zeros((4, 6, 3), np.uint8), np.eye(3), np.eye(4), stamp=1_000 + number)
        for number, name in enumerate(("front", "left"))
    )
    return Frame(np.zeros((5, 3), np.float32), np.zeros(5, np.float32), 1_000, "lidar", views)


def test_a_scan_is_sent_again_and_again_with_the_cameras_asked_for():
    frames = list(load.repeated(scan(), 1, hz=20.0, seconds=0.5))
    assert [frame.stamp for frame in frames] == [1_000 + 50_000_000 * n for n in range(10)]
    assert [[view.name for view in frame.views] for frame in frames] == [["front"]] * 10
    assert frames[3].views[0].stamp == 150_001_000
    assert len(list(load.repeated(scan(), 0, hz=0.1, seconds=1.0))) == 2  # a bag needs a period


def record(labelled, late_ms):
    """Ten clouds sent 100 ms apart; the first `labelled` come back `late_ms` later."""
    it = RunRecord("/labels", "/status", 10)
    for number in range(10):
        it.take({"event": "cloud", "stamp": number, "wall": number * 100_000_000})
    for number in range(labelled):
        wall = number * 100_000_000 + int(late_ms * 1e6)
        it.take({"event": "message", "topic": "/labels", "stamp": number, "wall": wall})
    it.take({"event": "counts", "counts": {"dropped.busy": 10 - labelled}})
    it.node_cores = 0.514
    return it


def test_rows_say_what_was_labelled_how_late_and_at_what_cost(tmp_path):
    result = load.figures(record(8, 40.0))
    assert (result["sent"], result["labelled"], result["dropped"]) == (10, 8, {"busy": 2})
    assert result["latency_ms"] == [40.0] * 4 and result["rate_hz"] == 10.0
    assert result["cores"] == 0.51
    nothing = load.figures(record(0, 0.0))
    assert nothing["latency_ms"] == [] and nothing["labelled"] == 0
    rows = [
        {"rig": "r", "points": 34_000, "cameras": 0, "hz": 10.0, **result},
        {"rig": "r", "points": 34_000, "cameras": 6, "hz": 10.0, **nothing},
    ]
    lines = load.table(rows).splitlines()
    assert lines[2] == "| 34,000 | 0 | 10 | 10.0 | 8/10 | 40.0 | 40.0 | 40.0 | 0.51 |"
    assert "| 0/10 | - | - | - |" in lines[3]
    load.draw(rows, tmp_path / "load.png")
    assert (tmp_path / "load.png").read_bytes()[:4] == b"\x89PNG"


def test_without_ros_it_says_so(monkeypatch, capsys):
    monkeypatch.setattr(live, "ros_is_there", lambda: False)
    assert cmdfusion("bench", "load") == 2
    assert "not installed" in capsys.readouterr().err


@pytest.mark.skipif(importlib.util.find_spec("rclpy") is None, reason="rclpy is not installed")
def test_a_node_is_played_past_what_it_can(tmp_path, capfd):
    words = ["--rigs", "nuscenes", "--cameras", "1", "--hz", "10", "--seconds", "1"]
    code = cmdfusion("bench", "load", *words, "--backend", "fake", "--json", tmp_path / "load.json")
    assert code == 0
    assert "| 1 | 10 |" in capfd.readouterr().out.splitlines()[-1]
    (row,) = json.loads((tmp_path / "load.json").read_text())
    # a machine that others use may drop some, and says so
    assert row["sent"] == 10 == row["labelled"] + sum(row["dropped"].values())
    assert row["labelled"] and row["cores"] is not None
