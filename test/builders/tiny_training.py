"""A made-up set of six small scans, and a recipe that trains a tiny network on it in a second."""

import numpy as np

from cmdfusion_ros.config import settings_from_dict
from cmdfusion_ros.training.recipe import Recipe

ROAD, CAR, BUILDING = 7, 13, 41  # raw ids of PandaSet


def write_scene(folder, scan, rng):
    """A flat road, a wall beside it and a car on it, somewhere else in every scan."""
    road = np.c_[rng.uniform(-12, 12, (500, 2)), rng.normal(-1.7, 0.02, 500)]
    wall = np.c_[rng.uniform(-12, 12, 200), np.full(200, 8.0), rng.uniform(-1.5, 4, 200)]
    car = rng.uniform(-1, 1, (100, 3)) * (2, 0.9, 0.6) + (
        rng.uniform(-8, 8),
        rng.uniform(-5, 5),
        -0.9,
    )
    points = np.concatenate([road, wall, car]).astype(np.float32)
    np.c_[points, np.full(len(points), 0.3, np.float32)].astype(np.float32).tofile(
        folder / "velodyne" / f"{scan:06d}.bin"
    )
    np.repeat(np.array([ROAD, BUILDING, CAR], np.uint32), (500, 200, 100)).tofile(
        folder / "labels" / f"{scan:06d}.label"
    )


def write_tiny_set(root):
    """Six scans in SemanticKITTI's layout as made/01 under `root`, which is returned."""
    for name in ("velodyne", "labels"):
        (root / "made" / "01" / name).mkdir(parents=True)
    rng = np.random.default_rng(0)
    for scan in range(6):
        write_scene(root / "made" / "01", scan, rng)
    return root


def recipe(**changes):
    values = {
        "model": {"channels": 8, "voxel_size": 0.5, "strides": [1, 2, 4]},
        "train": {"root": "made", "dataset": "pandaset", "sequences": ["01"], "last_scan": 3},
        "validation": {"root": "made", "dataset": "pandaset", "sequences": ["01"], "first_scan": 4},
        "augment": {"yaw": 180.0, "point_dropout": 0.1, "shift_z": [-0.1, 0.1]},
        "steps": 8,
        "batch_size": 2,
        "learning_rate": 0.01,
        "save_every": 3,
        "ema_decay": 0.8,
    }
    return settings_from_dict(Recipe, {**values, **changes})
