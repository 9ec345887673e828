"""The verb bench on a small made-up street."""

import json
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from builders.commands import cmdfusion
from builders.paths import REPOSITORY

from cmdfusion_ros.cli.benches import clouds as bench_clouds
from cmdfusion_ros.cli.benches import node as bench_node
from cmdfusion_ros.cli.benches import peers as bench_peers
from cmdfusion_ros.cli.benches import sparse as bench_sparse
from cmdfusion_ros.cli.benches import stopwatch
from cmdfusion_ros.cli.benches.unets import (
    CpuEngine,
    CpuTorchEngine,
    TorchEngine,
    Unet,
    gmacs_of,
    layers_of,
    random_weights,
    run_unet,
)
from cmdfusion_ros.cli.runs import live
from cmdfusion_ros.cli.runs.record import RunRecord
from cmdfusion_ros.sparse import native
from cmdfusion_ros.sparse.voxelise import unique_voxels

KEYS = {"input", "case", "backend", "ms", "gmacs", "fraction_of_sgemm", "ratio_to_ours"}
PEERS = {"spconv", "torchsparse"}


@pytest.fixture
def short_samples(monkeypatch):
    """One call a sample and no second try, however busy the machine is."""
    monkeypatch.setattr(stopwatch, "LONG_ENOUGH", 0.0)
    monkeypatch.setattr(stopwatch, "PATIENCE", 1)


def test_rows_of_every_case_and_backend_are_written(tmp_path, capsys, short_samples):
    path = tmp_path / "bench.json"
    arguments = [
        "bench",
        "sparse",
        "--sizes",
        "3000",
        "--channels",
        "8",
        "--networks",
        "small",
        "spv_pyramid",
        "--threads",
        "1",
        "--repeats",
        "1",
    ]
    assert cmdfusion(*arguments, "--voxel-size", "0.5", "--json", path) == 0
    result = json.loads(path.read_text())
    assert all(row.keys() == KEYS and row["ms"] > 0 for row in result["rows"])
    found = {
        (row["case"], row["backend"])
        for row in result["rows"]
        if row["backend"].split()[0] not in PEERS
    }
    ours = ["cpu", *(["cpu-torch"] if native.kernels() else [])]
    cases = {
        "kernel maps": ours,
        **dict.fromkeys(["layer C=8", "network small", "network spv_pyramid"], [*ours, "torch"]),
    }
    assert found == {(case, backend) for case, backends in cases.items() for backend in backends}
    assert all(row["ratio_to_ours"] == 1 for row in result["rows"] if row["backend"] == "cpu")
    (facts,) = result["inputs"].values()
    assert (
        facts.keys() == {"points", "voxels", "peak_memory_mb"}
        and facts["points"] > facts["voxels"] > 0
    )
    assert "network spv_pyramid" in capsys.readouterr().out


def test_only_the_backends_that_were_asked_for_are_measured(tmp_path, short_samples):
    path = tmp_path / "bench.json"
    arguments = [
        "bench",
        "sparse",
        "--sizes",
        "2000",
        "--channels",
        "8",
        "--networks",
        "--threads",
        "1",
        "2",
        "--repeats",
        "1",
        "--voxel-size",
        "0.5",
    ]
    assert cmdfusion(*arguments, "--backends", "torch", "--json", path) == 0
    assert {row["backend"] for row in json.loads(path.read_text())["rows"]} == {
        "cpu",
        "torch",
        "cpu x2",
        "torch x2",
    }


def test_libraries_that_cannot_run_here_are_named(monkeypatch):
    monkeypatch.setattr(bench_peers.importlib.util, "find_spec", lambda name: None)
    engines, left_out = bench_peers.peer_engines()
    assert (
        engines == []
        and left_out.keys() == PEERS
        and left_out["spconv"] == "not installed (pip install spconv)"
    )


def test_the_shipped_network_runs_on_other_engines(monkeypatch):
    class Engine(TorchEngine):
        def with_features(self, x, features):
            return x.with_features(features)

    torch.manual_seed(0)
    conv = torch.nn.Sequential(
        bench_peers.SubmanifoldConv(4, 4), bench_peers.SubmanifoldConv(4, 4, 1)
    )
    coords = torch.cartesian_prod(*[torch.arange(n, dtype=torch.int32) for n in (1, 4, 3, 2)])
    tensor = TorchEngine({}, 1).begin(coords, torch.randn(24, 4))
    with torch.no_grad():
        expected = conv(tensor).features
        replaced = bench_peers.run_on(Engine, conv, 1)
        assert (
            type(replaced[0]).__name__ == "_PeerConv"
            and type(replaced[1]).__name__ == "SubmanifoldConv"
        )
        torch.testing.assert_close(replaced(tensor).features, expected)


def test_samples_disturbed_by_others_are_dropped(monkeypatch):
    taken = iter([(0.9, 9.0), (0.0, 1.0), (0.5, 5.0), (0.02, 3.0), (0.0, 2.0)])
    monkeypatch.setattr(stopwatch, "_sample", lambda way, calls, one_thread: next(taken))
    assert stopwatch.measure_in_turn({"one": lambda: None}, 3) == (
        {"one": 2.0},
        pytest.approx(0.02 / 3),
    )


def test_where_it_never_gets_quiet_the_least_disturbed_samples_count(monkeypatch):
    monkeypatch.setattr(stopwatch, "PATIENCE", 6)
    shares = iter(range(100, 0, -1))
    monkeypatch.setattr(
        stopwatch, "_sample", lambda way, calls, one_thread: (next(shares) / 100, 1.0)
    )
    assert stopwatch.measure_in_turn({"one": lambda: None}, 2) == (
        {"one": 1.0},
        pytest.approx(0.895),
    )


def test_waiting_for_a_core_does_not_count_on_one_thread():
    waiting = {"one": lambda: time.sleep(0.02)}
    assert stopwatch.measure_in_turn(waiting, 1)[0]["one"] >= 0.02
    assert stopwatch.measure_in_turn(waiting, 1, one_thread=True)[0]["one"] < 0.02


def test_busy_time_counts_all_but_idle_and_waiting(tmp_path):
    (tmp_path / "stat").write_text("cpu  100 20 30 4000 500 6 7 8 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n")
    ticks = stopwatch.os.sysconf("SC_CLK_TCK")
    assert stopwatch._busy_seconds(tmp_path / "stat") == (100 + 20 + 30 + 6 + 7 + 8) / ticks
    assert stopwatch._busy_seconds(tmp_path / "none") == 0


def test_stages_of_the_node_are_summed_up_without_the_first_clouds():
    record = RunRecord("/labels", "/status", 9)
    for stamp in range(9):
        record.take({"event": "cloud", "stamp": stamp, "wall": stamp * 100_000_000})
        record.take(
            {
                "event": "message",
                "topic": "/labels",
                "stamp": stamp,
                "wall": stamp * 100_000_000 + (900_000_000 if stamp < 5 else 60_000_000),
            }
        )
        record.take(
            {
                "event": "message",
                "topic": "/status",
                "stamp": stamp,
                "mode": "LIDAR_ONLY",
                "stages": dict.fromkeys(bench_node.STAGES, 2.0 + stamp),
            }
        )
    result = bench_node.figures(record)
    assert result["sent"] == result["labelled"] == 9 and result["stages_ms"][
        "message to message"
    ] == [60.0, 60.0]
    assert result["stages_ms"]["inference"] == [8.5, pytest.approx(9.85, abs=0.06)]
    words = bench_node.table({"input": "street", **result})
    assert (
        words.startswith("street: 9 of 9 clouds labelled at ")
        and "none dropped" in words
        and "no stages" not in words
    )


def test_the_node_is_not_measured_without_ros(monkeypatch, capsys):
    monkeypatch.setattr(live, "ros_is_there", lambda: False)
    assert cmdfusion("bench", "node") == 2
    assert "needs ROS 2" in capsys.readouterr().err


def test_engines_agree_on_a_whole_network():
    generator = np.random.default_rng(0)
    coords = np.concatenate(
        [np.zeros((800, 1), int), generator.integers(-12, 12, (800, 3))], axis=1
    )
    coords = torch.from_numpy(unique_voxels(coords.T).voxel_coords)
    unet = Unet(8, (8, 12), (12, 8), 1)
    weights, features = (
        random_weights(layers_of(unet)),
        torch.randn(len(coords), 4, generator=torch.Generator().manual_seed(0)),
    )
    with torch.inference_mode():
        results = [
            run_unet(engine(weights, 2), unet, coords, features)
            for engine in (TorchEngine, CpuEngine, CpuTorchEngine)
        ]
    for result in results[1:]:
        torch.testing.assert_close(result, results[0], rtol=1e-4, atol=1e-4)


def test_multiply_adds_of_one_lone_voxel_by_hand():
    lone = torch.zeros(1, 4, dtype=torch.int32)
    layers = layers_of(Unet(16, (32,), (8,), 1))
    # stem 4x16; down 16x16; skip 16x32, first 16x32, second 32x32; up 32x8; skip 24x8, first 24x8,
    # second 8x8: one pair each
    assert gmacs_of(layers, lone) == pytest.approx(
        (64 + 256 + 512 + 512 + 1024 + 256 + 192 + 192 + 64) / 1e9
    )


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda path: bench_clouds.read_cloud(str(path)),
            "10 numbers are not whole points of 4; say how many a point has",
        ),
        (lambda path: bench_clouds.read_cloud(f"{path}:2"), "not whole points of 2"),
    ],
)
def test_a_file_of_other_points_is_named(tmp_path, make, message):
    path = tmp_path / "cloud.bin"
    np.zeros(10, np.float32).tofile(path)
    with pytest.raises(ValueError, match=message):
        make(path)


def test_a_cloud_is_read_with_its_columns(tmp_path):
    path = tmp_path / "cloud.bin"
    np.array([[1, 2, 3, 0, 7], [np.nan, 0, 0, 0, 0], [4, 5, 6, 0, 8]], np.float32).tofile(path)
    name, points = bench_clouds.read_cloud(f"{path}:5")
    assert name == "cloud.bin" and points.tolist() == [[1, 2, 3], [4, 5, 6]]


def test_results_that_disagree_stop_the_measurement():
    case = bench_sparse.SparseCase(
        "layer",
        1.0,
        1,
        {"cpu": lambda: torch.ones(3), "torch": lambda: torch.tensor([1.0, 1.0, 2.0])},
    )
    with pytest.raises(RuntimeError, match="layer: torch and cpu differ by 100.0%"):
        bench_sparse.measure(case, 1, 1)


def test_the_pictures_are_drawn_from_the_rows(tmp_path):
    rows = [
        {
            "input": name,
            "case": case,
            "backend": "cpu",
            "ms": 3.0,
            "fraction_of_sgemm": 0.5,
            "ratio_to_ours": 1.0,
        }
        for case in ("layer C=16", "layer C=32", "network small")
        for name in ("street 10", "street 100")
    ]
    inputs = {
        "street 10": {"points": 10, "voxels": 8, "peak_memory_mb": 200},
        "street 100": {"points": 100, "voxels": 80, "peak_memory_mb": 300},
    }
    (tmp_path / "rows.json").write_text(json.dumps({"rows": rows, "inputs": inputs}))
    script = REPOSITORY / "benchmarks" / "sparse.py"
    one = {
        "rows": [row for row in rows if row["input"] == "street 10"],
        "inputs": {"street 10": inputs["street 10"]},
    }
    (tmp_path / "one.json").write_text(json.dumps(one))
    for name in ("rows", "one"):
        subprocess.run(
            [sys.executable, script, tmp_path / f"{name}.json", tmp_path / f"{name}.png"],
            check=True,
        )
        assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")
