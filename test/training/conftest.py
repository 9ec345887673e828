"""A made-up sequence in the SemanticKITTI layout with all that teachers need: images, poses,
things that keep their ids.
"""

import cv2
import numpy as np
import pytest
import torch
from builders.small_trainings import SHAPE, recipe
from builders.tiny_training import recipe as tiny_recipe
from builders.tiny_training import write_tiny_set

from cmdfusion_ros.models.resnet import ResNet
from cmdfusion_ros.training.trainer import NETWORK, Trainer

ROAD, PERSON, BUILDING = 40, 30, 50  # raw ids of SemanticKITTI
PROJECTION = "32 0 32 0 0 32 16 0 0 0 1 0"
TR = "0 -1 0 0 0 0 -1 0 1 0 0 0"


@pytest.fixture(scope="module", autouse=True)
def one_torch_thread():
    """Sums of several threads differ in their last bit, and threads of small networks only wait
    for one another.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """A data folder with a road, walls and cars."""
    return write_tiny_set(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory):
    """The folder of a whole training on it."""
    out = tmp_path_factory.mktemp("run") / "whole"
    Trainer(tiny_recipe(), data, out).run(progress=False)
    return out


def write_scan(folder, scan, rng):
    """A road, a wall beside it and two people who walk along it, as the vehicle sees them after
    0.5 m a scan.
    """
    x = 0.5 * scan
    road = np.c_[rng.uniform(-12, 12, (300, 2)), rng.normal(-1.7, 0.02, 300)]
    wall = np.c_[rng.uniform(-12, 12, 150), np.full(150, 8.0), rng.uniform(-1.5, 4, 150)]
    people = [
        rng.uniform(-1, 1, (40, 3)) * (0.3, 0.3, 0.8) + (place - x, side, -0.9)
        for place, side in ((6 + 0.1 * scan, 2.0), (9 - 0.1 * scan, -3.0))
    ]
    points = np.concatenate([road, wall, *people]).astype(np.float32)
    np.c_[points, np.full(len(points), 0.3, np.float32)].astype(np.float32).tofile(
        folder / "velodyne" / f"{scan:06d}.bin"
    )
    raw = np.repeat(
        np.array([ROAD, BUILDING, PERSON | 5 << 16, PERSON | 6 << 16], np.uint32),
        (300, 150, 40, 40),
    )
    raw.tofile(folder / "labels" / f"{scan:06d}.label")
    cv2.imwrite(
        str(folder / "image_2" / f"{scan:06d}.png"), rng.integers(0, 256, (32, 64, 3), np.uint8)
    )


@pytest.fixture(scope="session")
def street_data(tmp_path_factory):
    """A data folder with `kitti/sequences/01`, six scans."""
    root = tmp_path_factory.mktemp("street_data")
    folder = root / "kitti" / "sequences" / "01"
    for name in ("velodyne", "labels", "image_2"):
        (folder / name).mkdir(parents=True)
    rng = np.random.default_rng(0)
    for scan in range(6):
        write_scan(folder, scan, rng)
    (folder / "calib.txt").write_text(f"P2: {PROJECTION}\nTr: {TR}\n")
    (folder / "poses.txt").write_text(
        "".join(f"1 0 0 0 0 1 0 0 0 0 1 {0.5 * scan}\n" for scan in range(6))
    )
    (folder / "times.txt").write_text("".join(f"{0.1 * scan}\n" for scan in range(6)))
    return root


@pytest.fixture(scope="session")
def teachers(street_data, tmp_path_factory):
    """A data folder that also holds teachers: image.safetensors, unet.safetensors, resnet.pth."""
    out = tmp_path_factory.mktemp("teachers")
    for network in ("image", "spv_unet"):
        shape = {**SHAPE, "network": network, "strides": [1, 2, 4, 8, 16]}
        Trainer(recipe(model=shape, steps=4), street_data, out / network).run(progress=False)
        (street_data / f"{network}.safetensors").write_bytes((out / network / NETWORK).read_bytes())
    torch.manual_seed(0)
    torch.save(ResNet(18).state_dict(), street_data / "resnet.pth")
    return street_data
