"""A network that looks through cameras starts from a LiDAR network, part of it frozen."""

import dataclasses
from pathlib import Path

import pytest
import torch
import yaml
from builders.small_trainings import SHAPE, recipe

from cmdfusion_ros.checkpoint.file import load_checkpoint
from cmdfusion_ros.class_map import load_class_map
from cmdfusion_ros.frame import IGNORE_LABEL
from cmdfusion_ros.models.output import Output
from cmdfusion_ros.training.objective import harm_of_images
from cmdfusion_ros.training.starting_weights import class_tensors, told_start
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
    with pytest.raises(ValueError, match="needs the same voxel_size and inputs"):
        changed = {**FLAGSHIP, "voxel_size": 0.8}
        flagship(lidar, tmp_path / "run", model=changed)


def written_classes(folder, **onto):
    """A class map file: `onto` says where classes of street go, the rest goes to `other`."""
    names = sorted({*onto.values(), "other"} - {None})
    street = load_class_map("street").names
    values = {
        "name": "yard",
        "classes": [
            {"name": name, "raw": 1 + number, "color": [number, 0, 0]}
            for number, name in enumerate(names)
        ],
        "through": {"street": {name: onto.get(name, "other") for name in street}},
    }
    path = folder / "yard.yaml"
    path.write_text(yaml.safe_dump(values))
    return str(path)


def test_of_other_classes_each_starts_as_those_that_fold_onto_it(lidar, tmp_path):
    classes = written_classes(tmp_path, road="drivable", sidewalk="drivable", car="car")
    trainer = flagship(lidar, tmp_path / "run", class_map=classes)
    before = load_checkpoint(lidar / "lidar" / NETWORK)
    ours, head = trainer.network.state_dict(), class_tensors(before.model_config, 12)
    assert sorted(head) == ["head.bias", "head.weight"]
    for name, tensor in before.weights.items():
        if name not in head:
            assert torch.equal(ours[name], tensor)
    theirs = before.class_map
    rows = before.weights["head.weight"]
    kin = {"car": ["car"], "drivable": ["road", "sidewalk"]}
    kin["other"] = [name for name in theirs.names if name not in ("car", "road", "sidewalk")]
    for name, found in kin.items():
        expected = rows[[theirs.label(each) for each in found]].mean(0)
        own = ours["head.weight"][trainer.class_map.label(name)]
        torch.testing.assert_close(own, expected)
    taken = trainer.card()["started_from"]["taken"]
    assert taken["classes"] == kin and "head" in taken["taken"]
    lines = told_start("lidar", trainer.started_from)
    assert lines[0].startswith("started from lidar: took ") and "  class car: as car" in lines
    trainer.run(progress=False)
    assert load_checkpoint(tmp_path / "run" / NETWORK).class_map.names == (
        "car",
        "drivable",
        "other",
    )


def test_classes_of_the_same_number_are_told_apart(lidar, tmp_path):
    """Twelve classes again, in another order: no row may go to the wrong one."""
    street = load_class_map("street")
    values = {**street.to_dict(), "name": "turned", "classes": street.to_dict()["classes"][::-1]}
    path = tmp_path / "turned.yaml"
    path.write_text(yaml.safe_dump(values))
    with pytest.raises(ValueError, match="set start_partly"):
        flagship(lidar, tmp_path / "a", model=UNET, class_map=str(path), start_partly=False)
    trainer = flagship(lidar, tmp_path / "b", model=UNET, class_map=str(path))
    before = load_checkpoint(lidar / "lidar" / NETWORK).weights
    assert torch.equal(trainer.network.head.weight, before["head.weight"].flip(0))


def test_a_run_is_not_resumed_with_other_classes(lidar, tmp_path):
    classes = written_classes(tmp_path, road="drivable")
    flagship(lidar, tmp_path / "run", class_map=classes, steps=2).run(progress=False)
    changed = Path(classes).read_text().replace("drivable", "passable")
    Path(classes).write_text(changed)
    with pytest.raises(ValueError, match="made with other classes than .*yard.yaml has now"):
        again = recipe(
            model=FLAGSHIP,
            start_from=f"lidar/{NETWORK}",
            start_partly=True,
            class_map=classes,
            steps=2,
        )
        Trainer(again, lidar, tmp_path / "run", resume=True)


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
