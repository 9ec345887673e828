"""A network that looks through cameras starts from a LiDAR network, part of it frozen."""

import dataclasses

import pytest
import torch
from builders.small_trainings import SHAPE, recipe

from cmdfusion_ros.checkpoint.file import load_checkpoint
from cmdfusion_ros.frame import IGNORE_LABEL
from cmdfusion_ros.models.output import Output
from cmdfusion_ros.training.objective import harm_of_images
from cmdfusion_ros.training.trainer import NETWORK, Trainer

UNET = {**SHAPE, "strides": [1, 2, 4, 8, 16], "network": "spv_unet", "widths": "slim"}
FLAGSHIP = {**UNET, "network": "unet_flagship", "image_focal": 32.0}
LIDAR_PARTS = ["embedding", "stem", "down", "up", "of_points", "head"]


@pytest.fixture(scope="module")
def lidar(street_data, tmp_path_factory):
    """A folder with lidar/network.safetensors, three steps old, and the data."""
    out = street_data / "lidar"
    Trainer(recipe(model=UNET, steps=3), street_data, out).run(progress=False)
    return street_data


def flagship(lidar, out, **changes):
    start = {"start_from": f"lidar/{NETWORK}", "start_partly": True}
    return Trainer(recipe(**{"model": FLAGSHIP, **start, **changes}), lidar, out)


def test_what_fits_is_taken_and_the_card_says_what(lidar, tmp_path):
    trainer = flagship(lidar, tmp_path / "run")
    before = load_checkpoint(lidar / "lidar" / NETWORK).weights
    ours = trainer.network.state_dict()
    assert all(torch.equal(ours[name], tensor) for name, tensor in before.items())
    parts = trainer.card()["started_from"]["taken"]
    assert parts["taken"] == sorted(LIDAR_PARTS) and parts["left"] == []
    assert {"images", "joins", "knowledge", "trust"} <= set(parts["new"])


def test_another_network_is_no_start_unless_it_is_asked_for(lidar, tmp_path):
    with pytest.raises(ValueError, match="set start_partly"):
        flagship(lidar, tmp_path / "run", start_partly=False)
    with pytest.raises(ValueError, match="needs the same class_map, voxel_size and inputs"):
        changed = {**FLAGSHIP, "voxel_size": 0.8}
        flagship(lidar, tmp_path / "run", model=changed)


def test_frozen_parts_stay_bit_by_bit_statistics_too_and_others_learn(lidar, tmp_path):
    trainer = flagship(lidar, tmp_path / "run", frozen=LIDAR_PARTS, steps=3, no_harm=1.0)
    new = {
        name: tensor.clone()
        for name, tensor in trainer.network.state_dict().items()
        if name.startswith("to_knowledge")
    }
    trainer.run(progress=False)
    after, before = trainer.network.state_dict(), load_checkpoint(lidar / "lidar" / NETWORK).weights
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    assert not all(torch.equal(after[name], tensor) for name, tensor in new.items())


def test_an_unknown_part_to_freeze_is_named_beside_the_known_ones(lidar, tmp_path):
    with pytest.raises(ValueError, match="no part 'trunk'; it has embedding, stem"):
        flagship(lidar, tmp_path / "run", frozen=["trunk"])


def output_of(logits, **fields):
    logits = torch.tensor(logits, requires_grad=True)
    return Output(logits, torch.arange(len(logits)), **fields)


def test_images_harm_where_the_answer_with_them_is_worse_on_seen_labelled_points():
    """Three points: worse, better, and worse but unseen or unlabelled: log 3 - log 2 of 2."""
    log = torch.log(torch.tensor([3.0, 2.0])).tolist()
    # cross-entropy of class 0: log(1 + e^l) for logits (0, l)
    blind = output_of([[0.0, 0.0], [0.0, log[1]], [0.0, 0.0], [0.0, 0.0]])
    seeing = output_of([[0.0, log[1]], [0.0, 0.0], [0.0, 9.0], [0.0, 9.0]])
    seeing = dataclasses.replace(
        seeing, without_images=blind, camera_mask=torch.tensor([1, 1, 0, 1])
    )
    labels = torch.tensor([0, 0, 0, IGNORE_LABEL])
    harm = harm_of_images(seeing, labels)
    assert harm.item() == pytest.approx((log[0] - log[1]) / 2)
    harm.backward()
    assert blind.row_logits.grad is None and seeing.row_logits.grad[0].abs().max() > 0
