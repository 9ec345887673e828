"""The verbs train and evaluate, from the command line to the files they leave."""

import json

import numpy as np
import pytest
import yaml
from builders import nuscenes_layout
from builders.commands import cmdfusion, evaluate_pandaset, own_images, tiny_flagship, train

from cmdfusion_ros.checkpoint.file import load_checkpoint
from cmdfusion_ros.training.provenance import scans_seen

NUM_SCANS = 4


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A flat road with a wall beside it, as PandaSet labels them."""
    root = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    for name in ("velodyne", "labels"):
        (root / "01" / name).mkdir(parents=True)
    for scan in range(NUM_SCANS):
        road = np.c_[rng.uniform(-15, 15, (300, 2)), np.full(300, -1.7), np.full(300, 0.1)]
        wall = np.c_[
            rng.uniform(-15, 15, 200), np.full(200, 6.0), rng.uniform(-1, 4, 200), np.full(200, 0.5)
        ]
        np.concatenate([road, wall]).astype(np.float32).tofile(
            root / "01" / "velodyne" / f"{scan:06d}.bin"
        )
        np.repeat(np.array([7, 41], np.uint32), (300, 200)).tofile(
            root / "01" / "labels" / f"{scan:06d}.label"
        )
    return root


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    """A finished run: its folder, and the recipe it was made with."""
    folder = tmp_path_factory.mktemp("train")
    recipe = {
        "name": "tiny",
        "model": {"channels": 8, "voxel_size": 0.5, "strides": [1, 2]},
        "train": {"dataset": "pandaset", "sequences": ["01"], "last_scan": 1},
        "validation": {"dataset": "pandaset", "sequences": ["01"], "first_scan": 2},
        "steps": 12,
        "learning_rate": 0.02,
        "ema_decay": 0.5,
    }
    return train(recipe, data, folder)


def evaluate(data, run, *options, more=()):
    """(exit code, scores or None); `more`: checkpoints beside that of `run`."""
    path = run.parent / "scores.json"
    code = evaluate_pandaset([run / "network.safetensors", *more], data, path, *options)
    return code, json.loads(path.read_text()) if code == 0 else None


def test_evaluate_gives_the_scores_that_training_saw(data, run, capsys):
    code, scores = evaluate(data, run, "--first-scan", "2")
    assert code == 0
    card = load_checkpoint(run / "network.safetensors").card
    for key in ("miou", "iou", "points", "by_distance"):
        assert scores[key] == card["validation"][key]
    assert scores["points"]["road"] == 600 and scores["points"]["building"] == 400
    assert (
        scores["trained_on"] == []
        and scores["scans"] == ["pandaset/01/000002", "pandaset/01/000003"]
        and scores["ece"] is not None
    )
    printed = capsys.readouterr().out
    assert "building" in printed and "chance" in printed
    assert scores["chance"]["road"] == pytest.approx(0.6 / 1.4, abs=0.01)


def test_evaluate_refuses_scans_it_was_trained_on_unless_told(data, run, capsys):
    code, _ = evaluate(data, run)
    assert code == 2
    assert "was trained on 2 of these 4 scans (pandaset/01/000000, ...)" in capsys.readouterr().err
    code, scores = evaluate(data, run, "--allow-trained")
    assert (
        code == 0
        and scores["allow_trained"]
        and scores["trained_on"] == ["pandaset/01/000000", "pandaset/01/000001"]
    )
    assert "NOTE: the checkpoint was trained on 2 of these 4 scans" in capsys.readouterr().out


def test_scans_that_weights_started_from_count_as_seen():
    card = {
        "trained_on": ["a/00/000001"],
        "started_from": {
            "trained_on": ["b/00/000001"],
            "started_from": {"trained_on": ["c/00/000001"]},
        },
    }
    assert scans_seen(card) == {"a/00/000001", "b/00/000001", "c/00/000001"}


def test_train_does_not_overwrite_a_run_and_resumes_a_finished_one_to_no_effect(data, run, capsys):
    words = ("train", run.parent / "recipe.yaml", "--data", data, "--out", run, "--device", "cpu")
    before = (run / "network.safetensors").read_bytes()
    assert cmdfusion(*words) == 2
    assert "holds a run" in capsys.readouterr().err
    assert cmdfusion(*words, "--resume", "--json", run.parent / "train.json") == 0
    figures = json.loads((run.parent / "train.json").read_text())
    assert (
        figures["steps"] == 12
        and len(figures["trained_on"]) == 2
        and figures["validation"]["miou"] is not None
    )
    assert (run / "network.safetensors").read_bytes() == before


def test_a_misspelt_setting_is_named(data, tmp_path, capsys):
    (tmp_path / "recipe.yaml").write_text("stepps: 3\n")
    files = ("--data", data, "--out", tmp_path / "run")
    assert cmdfusion("train", tmp_path / "recipe.yaml", *files) == 2
    assert "stepps: unknown setting; did you mean 'steps'?" in capsys.readouterr().err


def test_a_missing_data_folder_is_named(run, tmp_path, capsys):
    code, _ = evaluate(tmp_path, run)
    assert (
        code == 2
        and "no sequence '01' with a velodyne folder; found none" in capsys.readouterr().err
    )


def test_the_scores_have_the_promised_keys_and_are_kept_in_the_checkpoint_and_on_a_page(
    data, run, tmp_path
):
    kept = tmp_path / "run" / "network.safetensors"
    kept.parent.mkdir()
    kept.write_bytes((run / "network.safetensors").read_bytes())
    code, scores = evaluate(
        data, kept.parent, "--first-scan", "2", "--keep", "--page", str(tmp_path / "page.html")
    )
    assert code == 0
    assert {
        "miou",
        "iou",
        "points",
        "by_distance",
        "by_live_cameras",
        "ece",
        "tta",
        "trained_on",
    } <= set(scores)
    present = [scores["iou"][name] for name, points in scores["points"].items() if points]
    alone = {
        "miou": scores["miou"],
        "miou_of_present": pytest.approx(sum(present) / len(present), abs=2e-6),
        "points": 1000,
        "subsets": 2,
    }
    assert scores["tta"] == "none" and scores["by_live_cameras"] == {"0": alone}
    assert load_checkpoint(kept).card["evaluation"] == scores
    before, after = load_checkpoint(run / "network.safetensors"), load_checkpoint(kept)
    assert all((before.weights[name] == after.weights[name]).all() for name in before.weights)
    page = (tmp_path / "page.html").read_text()
    assert (
        page.count("data:image/png;base64") == 3
        and "pandaset/01/000003" in page
        and "By live cameras" in page
    )


def test_several_checkpoints_give_a_mean_and_a_spread(data, run, tmp_path, capsys):
    recipe = {**yaml.safe_load((run.parent / "recipe.yaml").read_text()), "seed": 1}
    again = train(recipe, data, tmp_path)
    singles = [evaluate(data, folder, "--first-scan", "2")[1]["miou"] for folder in (run, again)]
    code, scores = evaluate(data, run, "--first-scan", "2", more=[again / "network.safetensors"])
    assert (
        code == 0
        and scores["spread"]["mious"] == singles
        and scores["miou"] == pytest.approx(np.mean(singles), abs=1e-6)
    )
    assert scores["spread"]["standard_deviation"]["miou"] == pytest.approx(
        np.std(singles, ddof=1), abs=1e-6
    )
    assert "mean of 2 checkpoints" in capsys.readouterr().out


def test_averaging_over_changed_scans_is_named(data, run):
    code, scores = evaluate(data, run, "--first-scan", "2", "--tta", "yaw12")
    assert code == 0 and scores["tta"] == "yaw12" and scores["miou"] is not None


def test_training_and_scoring_on_the_layout_of_nuscenes_start_from_one_command_each(tmp_path):
    nuscenes_layout.write_nuscenes(tmp_path / "nuscenes")
    sets = {"layout": "nuscenes", "root": "nuscenes", "dataset": "nuscenes", "images": True}
    recipe = {
        "class_map": "nuscenes",
        "model": tiny_flagship(channels=8, voxel_size=0.5),
        "train": {**sets, "sequences": ["mini_train"]},
        "validation": {**sets, "sequences": ["mini_val"]},
        "distill": [{"features": 1.0}],
        "steps": 3,
    }
    run = train(recipe, tmp_path, tmp_path)
    scans = ("--data", tmp_path / "nuscenes", "--layout", "nuscenes", "--sequences", "mini_val")
    options = ("--images", "--device", "cpu", "--json", tmp_path / "scores.json")
    assert cmdfusion("evaluate", run / "network.safetensors", *scans, *options) == 0
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert {number: entry["subsets"] for number, entry in scores["by_live_cameras"].items()} == {
        "0": 3,
        "1": 6,
        "2": 3,
    }
    assert (
        scores["in_view"]["points"] + scores["out_of_view"]["points"] == 3 * 600
        and scores["points"]["manmade"] == 900
    )


def test_training_on_a_labelled_bag_starts_from_one_command(small_bag, tmp_path):
    bags = {
        "layout": "bags",
        "root": str(small_bag.parent),
        "dataset": "street",
        "sequences": [small_bag.name],
        "images": True,
    }
    recipe = own_images({**bags, "last_scan": 5}, {**bags, "first_scan": 6})
    recipe["model"] = tiny_flagship(channels=8, voxel_size=2.0)
    card = load_checkpoint(train(recipe, ".", tmp_path) / "network.safetensors").card
    assert len(card["trained_on"]) == 6 and card["validation"]["points"]["road"] > 0
