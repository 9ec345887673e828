"""The loop learns; a killed run resumes to the same numbers; wrong starts are refused. On a
made-up scene and a tiny network.
"""

import json
import shutil

import cv2
import numpy as np
import pytest
import torch
from builders.tiny_training import recipe
from safetensors.torch import load_file

from cmdfusion_ros.checkpoint.file import load_checkpoint
from cmdfusion_ros.config import load_settings
from cmdfusion_ros.data.readers.semantic_kitti import SemanticKitti
from cmdfusion_ros.training.recipe import Recipe
from cmdfusion_ros.training.trainer import CURVES, LOG, NETWORK, RECIPE, STATE, Trainer


def steps_of(out):
    rows = [json.loads(line) for line in (out / LOG).read_text().splitlines()]
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


def frames_of(trainer, step):
    size = trainer.recipe.batch_size
    return [trainer.samples.draw(item).frame for item in range(step * size, (step + 1) * size)]


def test_it_learns_road_wall_and_car(data, tmp_path):
    trainer = Trainer(recipe(steps=60, save_every=60), data, tmp_path / "run")
    trainer.run(progress=False)
    rows = steps_of(tmp_path / "run")
    assert rows[59]["loss"] < 0.3 * rows[0]["loss"]
    scores = rows[-1]["validation"]
    assert (
        scores["iou"]["road"] > 0.8
        and scores["iou"]["building"] > 0.8
        and scores["iou"]["car"] > 0.6
    )
    assert scores["points"]["road"] == 1000  # two validation scans


def test_a_run_leaves_log_curve_recipe_and_a_checkpoint_that_says_what_it_is(finished):
    assert {path.name for path in finished.iterdir()} == {LOG, CURVES, RECIPE, STATE, NETWORK}
    assert [row["step"] for row in steps_of(finished)] == [1, 2, 3, 4, 5, 6, 7, 8, 8]
    assert load_settings(Recipe, finished / RECIPE) == recipe()
    checkpoint = load_checkpoint(finished / NETWORK)
    assert checkpoint.card["trained_on"] == [f"pandaset/01/00000{scan}" for scan in range(4)]
    assert checkpoint.card["training_points"]["road"] == 2000 and checkpoint.card["steps"] == 8
    assert checkpoint.card["validation"]["scans"] == ["pandaset/01/000004", "pandaset/01/000005"]
    assert checkpoint.class_map.name == "street" and checkpoint.model_config.channels == 8
    assert (finished / CURVES).read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("reads_before_the_kill", [9, 11])
def test_a_killed_run_resumes_to_the_same_numbers(
    data, finished, tmp_path, monkeypatch, reads_before_the_kill
):
    """The kill hits while a step reads its scans: after the save at step 3, before the one at step
    6.
    """
    out = tmp_path / "killed"
    trainer = Trainer(recipe(), data, out)
    reads = 0
    read = SemanticKitti.__getitem__

    def killed(scans, index):
        nonlocal reads
        reads += 1
        if reads > reads_before_the_kill:
            raise KeyboardInterrupt
        return read(scans, index)

    with monkeypatch.context() as patch:
        patch.setattr(SemanticKitti, "__getitem__", killed)
        with pytest.raises(KeyboardInterrupt):
            trainer.run(progress=False)
    assert 3 < len(steps_of(out)) < 6
    with open(out / LOG, "a") as stream:
        stream.write('{"step": 6, "lo')  # a line cut short by the kill
    resumed = Trainer(recipe(), data, out, resume=True)
    assert resumed.step == 3
    resumed.run(progress=False)
    assert steps_of(out) == steps_of(finished)
    whole, killed_weights = load_file(finished / NETWORK), load_file(out / NETWORK)
    assert all(torch.equal(whole[name], killed_weights[name]) for name in whole)


def test_a_batch_of_two_scans_has_the_points_of_both_and_every_scan_comes_once_an_epoch(
    data, tmp_path
):
    trainer = Trainer(recipe(augment={}), data, tmp_path / "run")
    epoch = [frame.name for step in (0, 1) for frame in frames_of(trainer, step)]
    assert sorted(epoch) == sorted(trainer.scans.names)
    assert [frame.name for step in (2, 3) for frame in frames_of(trainer, step)] != epoch


def test_sets_are_mixed_each_as_often_as_the_recipe_says(data, tmp_path):
    further = [
        {
            "root": "made",
            "dataset": "pandaset",
            "sequences": ["01"],
            "first_scan": 3,
            "last_scan": 3,
            "called": "street",
            "repeat": 2,
        }
    ]
    changes = {
        "train": {"root": "made", "dataset": "pandaset", "sequences": ["01"], "last_scan": 1},
        "train_too": further,
    }
    trainer = Trainer(recipe(augment={}, **changes), data, tmp_path / "run")
    epoch = [frame.name for step in (0, 1) for frame in frames_of(trainer, step)]
    assert sorted(epoch) == [
        "pandaset/01/000000",
        "pandaset/01/000001",
        "street/01/000003",
        "street/01/000003",
    ]
    assert trainer.card()["trained_on"] == [
        "pandaset/01/000000",
        "pandaset/01/000001",
        "street/01/000003",
    ]
    assert trainer.counts[trainer.class_map.label("road")] == 4 * 500


def test_training_starts_from_the_weights_of_a_checkpoint_and_says_so(data, finished, tmp_path):
    shutil.copytree(finished, tmp_path / "before")
    shutil.copytree(data / "made", tmp_path / "made")
    later = recipe(start_from=f"before/{NETWORK}", steps=2, save_every=1, learning_rate=1e-6)
    trainer = Trainer(later, tmp_path, tmp_path / "run")
    weights = load_file(finished / NETWORK)
    assert all(
        torch.equal(tensor, weights[name]) for name, tensor in trainer.network.state_dict().items()
    )
    trainer.run(progress=False)
    shutil.rmtree(tmp_path / "before")  # a resumed run does not need it
    resumed = Trainer(later, tmp_path, tmp_path / "run", resume=True)
    for card in (load_checkpoint(tmp_path / "run" / NETWORK).card, resumed.card()):
        assert card["started_from"]["steps"] == 8 and card["started_from"]["trained_on"] == [
            f"pandaset/01/00000{scan}" for scan in range(4)
        ]


def test_a_checkpoint_of_another_shape_is_no_start(data, finished, tmp_path):
    shutil.copy(finished / NETWORK, data / "narrow.safetensors")
    wider = {"channels": 16, "voxel_size": 0.5, "strides": [1, 2, 4]}
    with pytest.raises(
        ValueError,
        match="narrow.safetensors: holds .*channels=8.* the recipe asks for .*channels=16",
    ):
        Trainer(recipe(start_from="narrow.safetensors", model=wider), data, tmp_path / "run")


def test_sgd_trains_too_and_validation_may_be_absent(data, tmp_path):
    out = tmp_path / "run"
    Trainer(recipe(optimizer="sgd", validation={}, steps=2), data, out).run(progress=False)
    assert len(steps_of(out)) == 2 and "validation" not in load_checkpoint(out / NETWORK).card


def test_a_folder_with_a_run_is_not_overwritten_and_another_recipe_does_not_resume_it(
    data, finished
):
    with pytest.raises(FileExistsError, match="holds a run; go on with --resume"):
        Trainer(recipe(), data, finished)
    with pytest.raises(ValueError, match=r"made with another recipe \(learning_rate differ\)"):
        Trainer(recipe(learning_rate=0.02), data, finished, resume=True)


def test_a_run_that_was_killed_before_it_saved_anything_starts_anew(data, tmp_path):
    out = tmp_path / "run"
    killed = Trainer(recipe(), data, out)
    killed.log.write({"step": 1, "loss": 99.0})
    assert not (out / STATE).exists()
    Trainer(recipe(steps=2), data, out).run(progress=False)
    assert [row["step"] for row in steps_of(out) if "loss" in row] == [1, 2] and steps_of(out)[0][
        "loss"
    ] != 99.0


def test_a_start_that_saw_the_validation_scans_is_refused(data, finished, tmp_path):
    (data / "saw").mkdir()
    shutil.copy(finished / NETWORK, data / "saw" / NETWORK)
    one, other = (
        {"root": "made", "dataset": "pandaset", "sequences": ["01"], **which}
        for which in ({"first_scan": 4}, {"last_scan": 3})
    )
    with pytest.raises(
        ValueError,
        match="the network to start from, network was trained on 4 of the validation scans",
    ):
        Trainer(
            recipe(start_from=f"saw/{NETWORK}", train=one, validation=other), data, tmp_path / "run"
        )


def test_nothing_to_resume_is_said(data, tmp_path):
    with pytest.raises(FileNotFoundError, match="no run to resume"):
        Trainer(recipe(), data, tmp_path, resume=True)


def test_validating_on_training_scans_is_refused(data, tmp_path):
    both = {"root": "made", "dataset": "pandaset", "sequences": ["01"]}
    with pytest.raises(ValueError, match="4 scans are both trained on and validated on"):
        Trainer(recipe(validation=both), data, tmp_path / "run")


def test_a_run_that_diverges_stops_and_says_where(data, tmp_path):
    out = tmp_path / "run"
    trainer = Trainer(recipe(), data, out)
    with torch.no_grad():
        next(trainer.network.parameters()).fill_(float("nan"))
    with pytest.raises(
        FloatingPointError, match="step 0: loss nan.*pandaset/01/.*lower learning_rate"
    ):
        trainer.run(progress=False)


def test_a_resumed_run_can_be_moved(data, finished, tmp_path):
    shutil.copytree(finished, tmp_path / "moved")
    assert Trainer(recipe(), data, tmp_path / "moved", resume=True).step == 8


def test_a_run_from_before_a_setting_existed_resumes_with_its_default(data, finished, tmp_path):
    shutil.copytree(finished, tmp_path / "older")
    state = torch.load(tmp_path / "older" / STATE, weights_only=True)
    del state["recipe"]["auxiliary_weight"]
    torch.save(state, tmp_path / "older" / STATE)
    assert Trainer(recipe(), data, tmp_path / "older", resume=True).step == 8
    with pytest.raises(ValueError, match=r"made with another recipe \(auxiliary_weight differ\)"):
        Trainer(recipe(auxiliary_weight=0.5), data, tmp_path / "older", resume=True)


def test_both_directions_of_cmdfusion_are_trained(data, tmp_path):
    model = {"network": "cmdfusion", "channels": 8, "voxel_size": 0.5, "strides": [1, 2, 4]}
    trainer = Trainer(
        recipe(model=model, steps=30, save_every=30, validation={}), data, tmp_path / "run"
    )
    before = {name: tensor.clone() for name, tensor in trainer.network.named_parameters()}
    trainer.run(progress=False)
    rows = steps_of(tmp_path / "run")
    assert (
        rows[-1]["auxiliary"] < 0.6 * rows[0]["auxiliary"]
        and rows[-1]["cross_entropy"] < 0.6 * rows[0]["cross_entropy"]
    )
    assert not [
        name
        for name, tensor in trainer.network.named_parameters()
        if torch.equal(tensor, before[name])
    ]
    assert load_checkpoint(tmp_path / "run" / NETWORK).model_config.network == "cmdfusion"


def test_the_flagship_trains_on_scans_with_images_of_which_some_are_missing(data, tmp_path):
    shutil.copytree(data / "made", tmp_path / "made")
    folder = tmp_path / "made" / "01"
    (folder / "image_2").mkdir()
    for scan in range(6):
        cv2.imwrite(
            str(folder / "image_2" / f"{scan:06d}.png"),
            np.random.default_rng(scan).integers(0, 256, (32, 64, 3), np.uint8),
        )
    projection = "32 0 32 0 0 32 16 0 0 0 1 0"
    (folder / "calib.txt").write_text(
        "".join(f"P{i}: {projection}\n" for i in range(4)) + "Tr: 0 -1 0 0 0 0 -1 0 1 0 0 0\n"
    )
    model = {
        "network": "flagship",
        "channels": 8,
        "voxel_size": 0.5,
        "strides": [1, 2, 4],
        "image_size": [64, 32],
    }
    images = {"root": "made", "dataset": "pandaset", "sequences": ["01"], "images": True}
    augment = {
        "yaw": 180.0,
        "camera_dropout": 0.4,
        "image_crop": 0.2,
        "image_mirror": 0.5,
        "image_gain": 1.5,
    }
    changes = {
        "model": model,
        "train": {**images, "last_scan": 3},
        "validation": {**images, "first_scan": 4},
        "augment": augment,
    }
    trainer = Trainer(recipe(**changes, steps=6), tmp_path, tmp_path / "run")
    counts = [sum(len(frame.views) for frame in frames_of(trainer, step)) for step in range(20)]
    assert set(counts) == {0, 1, 2}
    before = {name: tensor.clone() for name, tensor in trainer.network.named_parameters()}
    trainer.run(progress=False)
    assert not [
        name
        for name, tensor in trainer.network.named_parameters()
        if torch.equal(tensor, before[name])
    ]
    assert steps_of(tmp_path / "run")[-1]["validation"]["miou"] is not None
