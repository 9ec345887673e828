"""Recipes and trainings of small networks on the `street_data` of test/training/conftest.py."""

from cmdfusion_ros.config import settings_from_dict
from cmdfusion_ros.training.recipe import Recipe
from cmdfusion_ros.training.trainer import Trainer

SHAPE = {"channels": 8, "voxel_size": 0.5, "strides": [1, 2, 4], "image_size": [64, 32]}


def recipe(network="cmdfusion", distill=(), **changes):
    values = {
        "model": {**SHAPE, "network": network},
        "train": {
            "root": "kitti",
            "sequences": ["01"],
            "first_scan": 2,
            "last_scan": 4,
            "images": True,
        },
        "augment": {"yaw": 180.0, "flip": 0.5, "point_dropout": 0.1},
        "distill": list(distill),
        "steps": 4,
        "batch_size": 2,
        "learning_rate": 0.01,
        "save_every": 100,
    }
    return settings_from_dict(Recipe, {**values, **changes})


def make_trainer(data, out, network, distill, **changes):
    shape = {**SHAPE, "network": network}
    if network in ("spv_unet", "u2mkd"):
        shape["strides"] = [1, 2, 4, 8, 16]
    return Trainer(recipe(model=shape, distill=distill, **changes), data, out)
