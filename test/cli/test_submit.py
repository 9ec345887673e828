"""The verb submit: labels a test set without labels and checks what it wrote."""

import json
import shutil
import zipfile

import numpy as np
import pytest
import torch
from builders import nuscenes_layout
from builders.commands import cmdfusion

from cmdfusion_ros.checkpoint.file import save_checkpoint
from cmdfusion_ros.class_map import load_class_map
from cmdfusion_ros.config import ModelConfig
from cmdfusion_ros.models import build_network

SHAPE = ModelConfig(channels=8, voxel_size=0.5, strides=(1, 2))


def write_network(path, class_map, view=None):
    torch.manual_seed(0)
    class_map = load_class_map(class_map)
    recipe = {"view": view} if view else {}
    save_checkpoint(
        path,
        build_network(SHAPE, class_map.num_classes),
        SHAPE,
        class_map,
        {"trained_on": [], "recipe": recipe},
    )
    return str(path)


@pytest.fixture
def kitti(tmp_path):
    """Two sequences of the test set: scans alone."""
    rng = np.random.default_rng(0)
    for sequence, number in (("11", 2), ("12", 1)):
        folder = tmp_path / "kitti" / "sequences" / sequence / "velodyne"
        folder.mkdir(parents=True)
        for scan in range(number):
            np.c_[rng.normal(0, 5, (100 + scan, 3)), np.full(100 + scan, 0.5)].astype(
                np.float32
            ).tofile(folder / f"{scan:06d}.bin")
    return tmp_path


def submit_kitti(kitti, *words):
    sets = ("--layout", "semantic_kitti", "--data", kitti / "kitti", "--sequences", "11", "12")
    return cmdfusion("submit", *words, *sets, "--out", kitti / "out.zip")


def test_semantic_kitti_is_labelled_written_and_checked(kitti, capsys):
    network = write_network(kitti / "network.safetensors", "semantic_kitti")
    options = ("--device", "cpu", "--tta", "flip4", "--json", kitti / "figures.json")
    assert submit_kitti(kitti, network, *options) == 0
    assert json.loads((kitti / "figures.json").read_text())["points"] == 301
    assert "3 scans, 301 points, as semantic_kitti wants them" in capsys.readouterr().out
    assert (
        zipfile.ZipFile(kitti / "out.zip").namelist()[0] == "sequences/11/predictions/000000.label"
    )
    assert submit_kitti(kitti) == 0  # checks what is there
    np.zeros((5, 4), np.float32).tofile(kitti / "kitti/sequences/12/velodyne/000001.bin")
    assert submit_kitti(kitti) == 2
    assert "misses 1 of 4 files: sequences/12/predictions/000001.label" in capsys.readouterr().err


def test_nuscenes_is_labelled_written_and_checked(tmp_path, capsys):
    nuscenes_layout.write_nuscenes(tmp_path / "nuscenes", version="v1.0-test")
    shutil.rmtree(tmp_path / "nuscenes/lidarseg")
    (tmp_path / "nuscenes/v1.0-test/lidarseg.json").unlink()
    network = write_network(
        tmp_path / "network.safetensors", "nuscenes", {"kind": "multi_sweep", "previous": 2}
    )
    sets = ("--layout", "nuscenes", "--data", tmp_path / "nuscenes", "--sequences", "test")
    out = ("--out", tmp_path / "out", "--device", "cpu")
    assert cmdfusion("submit", network, *sets, *out) == 0
    assert "6 scans, 3600 points, as nuscenes wants them" in capsys.readouterr().out
    assert len(list((tmp_path / "out/lidarseg/test").iterdir())) == 6


def test_other_classes_and_networks_that_see_the_future_are_refused(kitti, capsys):
    assert submit_kitti(kitti, write_network(kitti / "street.safetensors", "street")) == 2
    assert "this benchmark wants those of semantic_kitti" in capsys.readouterr().err
    future = write_network(
        kitti / "future.safetensors", "semantic_kitti", {"kind": "multi_sweep", "following": 1}
    )
    assert submit_kitti(kitti, future) == 2
    assert "sees later scans" in capsys.readouterr().err
