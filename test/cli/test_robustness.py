"""`cmdfusion robustness`, from the command line to what the checkpoint's card says."""

import json

import numpy as np
import pytest
import torch
from builders.commands import cmdfusion

from cmdfusion_ros.checkpoint.file import load_checkpoint, save_checkpoint
from cmdfusion_ros.class_map import load_class_map
from cmdfusion_ros.config import ModelConfig
from cmdfusion_ros.models import build_network

STREET = load_class_map("street")
CONFIG = ModelConfig(channels=8, voxel_size=0.5, strides=(1, 2))


@pytest.fixture
def data(tmp_path):
    rng = np.random.default_rng(0)
    for scan in range(3):
        for name in ("velodyne", "labels"):
            (tmp_path / "01" / name).mkdir(parents=True, exist_ok=True)
        points = np.c_[rng.uniform(-15, 15, (200, 2)), np.full(200, -1.7), np.full(200, 0.1)]
        points.astype(np.float32).tofile(tmp_path / "01" / "velodyne" / f"{scan:06d}.bin")
        raw = np.repeat(np.array([7, 41], np.uint32), 100)
        raw.tofile(tmp_path / "01" / "labels" / f"{scan:06d}.label")
    return tmp_path


def save(path, seed, card):
    torch.manual_seed(seed)
    save_checkpoint(path, build_network(CONFIG, STREET.num_classes).eval(), CONFIG, STREET, card)
    return str(path)


def robustness(data, path, *options):
    where = ["--data", str(data), "--dataset", "pandaset", "--sequences", "01"]
    return cmdfusion("robustness", path, *where, "--device", "cpu", *options)


def test_the_figures_are_printed_written_drawn_and_kept(data, tmp_path, capsys):
    path, baseline = (
        save(tmp_path / "a.safetensors", 0, {}),
        save(tmp_path / "b.safetensors", 1, {}),
    )
    files = ["--json", str(tmp_path / "figures.json"), "--picture", str(tmp_path / "plot.png")]
    assert robustness(data, path, "--baseline", baseline, "--scans", "2", "--keep", *files) == 0
    printed = capsys.readouterr().out
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert figures["scans"] == ["pandaset/01/000000", "pandaset/01/000002"]
    assert figures["baseline"] == "b.safetensors" and len(figures["corruptions"]) == 8
    assert figures["suites"]["robo3d"]["mce"] is not None and "mCE" in printed
    assert (tmp_path / "plot.png").stat().st_size > 1000
    assert load_checkpoint(path).card["robustness"] == figures
    assert "robustness" not in load_checkpoint(baseline).card


def test_scans_of_the_training_and_networks_of_sweeps_are_refused(data, tmp_path, capsys):
    trained = save(tmp_path / "a.safetensors", 0, {"trained_on": ["pandaset/01/000001"]})
    assert robustness(data, trained) == 2
    assert "was trained on 1 of these 3 scans (pandaset/01/000001" in capsys.readouterr().err
    view = {"kind": "multi_sweep", "previous": 2}
    sweeps = save(tmp_path / "b.safetensors", 0, {"recipe": {"view": view}})
    assert robustness(data, sweeps) == 2
    assert "sees multi_sweep; expected a network that sees single scans" in capsys.readouterr().err
    assert robustness(data, trained, "--scans", "0") == 2
    assert "--scans: expected 1 or more, got 0" in capsys.readouterr().err
