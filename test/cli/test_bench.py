"""The verb bench on a small made-up street."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from cmdfusion_ros.cli import bench
from cmdfusion_ros.cli.bench_unet import CpuEngine, TorchEngine, Unet, gmacs_of, layers_of, random_weights, run_unet
from cmdfusion_ros.cli.main import main
from cmdfusion_ros.sparse.voxelise import unique_voxels

KEYS = {"input", "points", "case", "voxels", "backend", "threads", "ms", "cpu_ms", "gmacs", "fraction_of_sgemm", "ratio_to_ours"}


def test_rows_of_every_case_and_backend_are_written(tmp_path, capsys):
    path = tmp_path / "bench.json"
    arguments = ["bench", "sparse", "--points", "3000", "--channels", "8", "--networks", "small", "spv_pyramid", "--threads", "1", "2", "--repeats", "1"]
    assert main([*arguments, "--voxel-size", "0.5", "--json", str(path)]) == 0
    result = json.loads(path.read_text())
    assert all(row.keys() == KEYS and row["ms"] > 0 for row in result["rows"])
    found = {(row["case"], row["backend"], row["threads"]) for row in result["rows"] if row["backend"] != "spconv"}
    cases = ["layer C=8", "network small", "network spv_pyramid"]
    assert found == {(case, backend, t) for case in cases for backend in ("torch", "cpu") for t in (1, 2)} | {("kernel maps", "cpu", t) for t in (1, 2)}
    assert all(row["ratio_to_ours"] == 1 for row in result["rows"] if row["backend"] == "cpu")
    assert result["peak_memory_mb"] > 0
    assert "network spv_pyramid" in capsys.readouterr().out


def test_engines_agree_on_a_whole_network():
    generator = np.random.default_rng(0)
    coords = np.concatenate([np.zeros((800, 1), int), generator.integers(-12, 12, (800, 3))], axis=1)
    coords = torch.from_numpy(unique_voxels(coords).voxel_coords)
    unet = Unet(8, (8, 12), (12, 8), 1)
    weights, features = random_weights(layers_of(unet)), torch.randn(len(coords), 4, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        results = [run_unet(engine(weights, 2), unet, coords, features) for engine in (TorchEngine, CpuEngine)]
    torch.testing.assert_close(*results, rtol=1e-4, atol=1e-4)


def test_multiply_adds_of_one_lone_voxel_by_hand():
    lone = torch.zeros(1, 4, dtype=torch.int32)
    layers = layers_of(Unet(16, (32,), (8,), 1))
    # stem 4x16; down 16x16; skip 16x32, first 16x32, second 32x32; up 32x8; skip 24x8, first 24x8, second 8x8: one pair each
    assert gmacs_of(layers, lone) == pytest.approx((64 + 256 + 512 + 512 + 1024 + 256 + 192 + 192 + 64) / 1e9)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: bench.read_cloud(str(path)), "10 numbers are not whole points of 4; say how many a point has"),
        (lambda path: bench.read_cloud(f"{path}:2"), "not whole points of 2"),
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
    name, points = bench.read_cloud(f"{path}:5")
    assert name == "cloud.bin" and points.tolist() == [[1, 2, 3], [4, 5, 6]]


def test_results_that_disagree_stop_the_measurement():
    case = bench.Case("layer", 1.0, 1, {"cpu": lambda: torch.ones(3), "torch": lambda: torch.tensor([1.0, 1.0, 2.0])})
    with pytest.raises(RuntimeError, match="layer: torch and cpu differ by 100.0%"):
        bench.measure(case, 1, 1)


def test_the_picture_is_drawn_from_the_rows(tmp_path):
    rows = [{"case": case, "backend": "cpu", "threads": 1, "points": points, "ms": 3.0} for case in ("layer C=16", "network small") for points in (10, 100)]
    (tmp_path / "rows.json").write_text(json.dumps({"rows": rows}))
    script = Path(__file__).resolve().parents[2] / "benchmarks" / "sparse.py"
    subprocess.run([sys.executable, script, tmp_path / "rows.json", tmp_path / "plot.png"], check=True)
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
