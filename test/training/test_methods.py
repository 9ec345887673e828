"""Each method, with all its terms and teachers, learns a scan by heart."""

import numpy as np
import pytest

from cmdfusion_ros.checkpoint.file import load_checkpoint
from cmdfusion_ros.config import settings_from_dict
from cmdfusion_ros.evaluation.metrics import score
from cmdfusion_ros.inference import Segmenter
from cmdfusion_ros.training.recipe import Recipe
from cmdfusion_ros.training.trainer import NETWORK, Trainer

OWN_IMAGES = {"teacher": "own_images", "features": 1.0}
M2SKD = {
    "teacher": "shared",
    "match": "voxel",
    "view": {"kind": "instance_fused", "previous": 2, "classes": ["person"]},
    "logits": 5.0,
    "logit_kind": "absolute",
    "logit_floor": 0.01,
    "temperature": 3.33,
    "affinity": 1.0,
    "labels": 0.2,
}
SWEEPS = {"kind": "multi_sweep", "previous": 2, "following": 1}
OF_SWEEPS = {
    "teacher": "checkpoint",
    "path": "sweeps.safetensors",
    "match": "point",
    "view": SWEEPS,
}
METHODS = {  # name -> (network, teachers)
    "cmdfusion": (
        "cmdfusion",
        [{"teacher": "checkpoint", "path": "image.safetensors", "features": 1.0}],
    ),
    "u2mkd": ("u2mkd", [OWN_IMAGES, {**OF_SWEEPS, "features": 0.01, "logits": 1.0}]),
    "m2skd": ("spv_pyramid", [M2SKD]),
    "flagship": ("flagship", [OWN_IMAGES, M2SKD]),
}


def train(data, out, network, **changes):
    strides = [1, 2, 4, 8, 16] if network in ("u2mkd", "spv_unet") else [1, 2, 4]
    values = {
        "model": {
            "network": network,
            "channels": 8,
            "voxel_size": 0.4,
            "strides": strides,
            "image_size": [64, 32],
        },
        "train": {
            "root": "kitti",
            "sequences": ["01"],
            "first_scan": 3,
            "last_scan": 5,
            "images": True,
        },
        "learning_rate": 0.02,
        "ema_decay": 0.9,
        "save_every": 1000,
        "steps": 20,
    }
    trainer = Trainer(settings_from_dict(Recipe, {**values, **changes}), data, out)
    trainer.run(progress=False)
    return trainer


@pytest.fixture(scope="module")
def with_teachers(street_data, tmp_path_factory):
    """The data folder, with a network of images and one that sees several sweeps in it."""
    out = tmp_path_factory.mktemp("teachers")
    for name, network, view in (("image", "image", {}), ("sweeps", "spv_unet", SWEEPS)):
        train(street_data, out / name, network, view=view)
        (street_data / f"{name}.safetensors").write_bytes((out / name / NETWORK).read_bytes())
    return street_data


@pytest.mark.parametrize("network, teachers", METHODS.values(), ids=METHODS)
def test_a_method_learns_a_scan_by_heart(with_teachers, tmp_path, network, teachers):
    trainer = train(
        with_teachers,
        tmp_path / "run",
        network,
        distill=teachers,
        steps=60 if "images" in str(teachers) else 110,
    )
    segmenter = Segmenter(load_checkpoint(tmp_path / "run" / NETWORK), device="cpu")
    frame = trainer.scans[2]
    scores = score(segmenter.segment, [frame], trainer.class_map)
    assert scores.overall.accuracy > 0.95, scores.to_dict()["iou"]
    assert np.nanmin(scores.overall.iou) > 0.6
