"""The recipe that is written for a folder of one's own scans."""

import dataclasses

import numpy as np
import pytest
import yaml
from builders.paths import REPOSITORY

from cmdfusion_ros.checkpoint.file import load_checkpoint
from cmdfusion_ros.class_map import load_class_map
from cmdfusion_ros.cli.main import main
from cmdfusion_ros.inference import default_checkpoint_path
from cmdfusion_ros.training.own_recipe import own_recipe, recipe_text
from cmdfusion_ros.training.recipe import load_recipe
from cmdfusion_ros.training.trainer import NETWORK, Trainer

CLASSES = [
    {"name": "ground", "raw": 1, "color": [128, 64, 128]},
    {"name": "thing", "raw": 2, "color": [60, 110, 255]},
]


def folder_of(tmp_path, **scans):
    """A folder with so many labelled scans in each sequence, and the class map's file."""
    rng = np.random.default_rng(0)
    for sequence, count in scans.items():
        for sub in ("velodyne", "labels"):
            (tmp_path / "scans" / sequence / sub).mkdir(parents=True)
        for number in range(count):
            points = rng.normal(0, 5, (300, 4)).astype(np.float32)
            points[:, 2], points[:, 3] = rng.uniform(-2, 1, 300), rng.random(300)
            stem = tmp_path / "scans" / sequence / "velodyne" / f"{number:06d}.bin"
            points.tofile(stem)
            raw = np.where(points[:, 2] < -1, 1, 2).astype(np.uint32)
            raw[:20] = 0
            raw.tofile(stem.parents[1] / "labels" / f"{number:06d}.label")
    classes = tmp_path / "yard.yaml"
    classes.write_text(yaml.safe_dump({"name": "yard", "classes": CLASSES}))
    return tmp_path / "scans", classes


def recipe_of(tmp_path, **scans):
    data, classes = folder_of(tmp_path, **scans)
    path = tmp_path / "own.yaml"
    path.write_text(own_recipe(data, classes))
    return load_recipe(path), data


def test_the_recipe_in_config_is_such_a_one():
    path = REPOSITORY / "config" / "train" / "own.yaml"
    data = {"dataset": "yard", "called": "own"}
    train = {"sequences": ["00"], "last_scan": 40, **data}
    validation = {"sequences": ["00"], "first_scan": 44, **data}
    assert path.read_text() == recipe_text("../classes/yard.yaml", [train], validation)
    assert load_class_map(load_recipe(path).class_map).names[0] == "drivable"


def test_of_one_sequence_the_end_validates_and_a_gap_is_left(tmp_path):
    recipe, data = recipe_of(tmp_path, a=15)
    assert (recipe.train.last_scan, recipe.validation.first_scan) == (10, 12)
    assert recipe.train_too == () and recipe.frozen == ("images",)
    assert recipe.model == load_checkpoint(default_checkpoint_path()).model_config


def test_of_two_sequences_the_longer_one_is_cut(tmp_path):
    recipe, _ = recipe_of(tmp_path, a=3, b=40)
    assert recipe.train.sequences == recipe.validation.sequences == ("b",)
    assert (recipe.train.last_scan, recipe.validation.first_scan) == (29, 32)
    assert [each.sequences for each in recipe.train_too] == [("a",)]


def test_of_many_sequences_whole_ones_validate(tmp_path):
    recipe, _ = recipe_of(tmp_path, a=5, b=5, c=1, d=2)
    assert recipe.train.sequences == ("a", "b") and recipe.validation.sequences == ("c", "d")


def test_it_trains_from_the_weights_that_ship_and_learns_the_classes(tmp_path):
    recipe, data = recipe_of(tmp_path, a=6)
    Trainer(dataclasses.replace(recipe, steps=3), data, tmp_path / "run").run(progress=False)
    made = load_checkpoint(tmp_path / "run" / NETWORK)
    assert made.class_map.names == ("ground", "thing")
    taken = made.card["started_from"]["taken"]
    assert taken["classes"] == {"ground": [], "thing": []}
    assert "head" in taken["new"] and {"stem", "images"} <= set(taken["taken"])


def test_from_nothing_the_network_that_ships_trains_without_its_weights(tmp_path):
    data, classes = folder_of(tmp_path, a=6)
    path = tmp_path / "own.yaml"
    path.write_text(own_recipe(data, classes, start="nothing"))
    recipe = load_recipe(path)
    assert recipe.model == load_checkpoint(default_checkpoint_path()).model_config
    assert (recipe.start_from, recipe.start_partly, recipe.frozen) == ("", False, ())
    assert recipe.learning_rate == 0.003  # the better of those that docs/own_data.md compares
    Trainer(dataclasses.replace(recipe, steps=2), data, tmp_path / "run").run(progress=False)
    assert "started_from" not in load_checkpoint(tmp_path / "run" / NETWORK).card


def test_the_file_of_a_checkpoint_is_gone_on_from(tmp_path):
    recipe, data = recipe_of(tmp_path, a=6)
    short = dataclasses.replace(recipe, steps=2)
    first = Trainer(short, data, tmp_path / "run, first").run(progress=False)
    again = tmp_path / "again.yaml"
    again.write_text(own_recipe(data, recipe.class_map, start=str(first)))
    recipe = load_recipe(again)
    assert recipe.start_from == str(first) and recipe.frozen == ("images",)
    taken = Trainer(recipe, data, tmp_path / "again").started_from
    assert "taken" not in taken  # all of it: the same network of the same classes
    with pytest.raises(FileNotFoundError):
        own_recipe(data, recipe.class_map, start=str(tmp_path / "none.safetensors"))


def test_a_run_that_never_started_leaves_no_recipe_in_the_way(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("cmdfusion_ros.training.own_recipe.STEPS", 1)
    data, classes = folder_of(tmp_path, a=6)
    folds = {"pandaset": {0: None, 7: "ground", 13: "thing"}, "street": {0: None, 1: "ground"}}
    classes.write_text(classes.read_text() + yaml.safe_dump({"folds": folds}))
    for path in (data / "a" / "labels").iterdir():
        np.full(300, 7, np.uint32).tofile(path)  # road, as PandaSet calls it
    command = ["train", "--data", str(data), "--classes", str(classes), "--device", "cpu"]
    command += ["--out", str(tmp_path / "run")]
    assert main(command) == 2
    said = "raw ids [7] are not in class map yard for yard; the map has all of them for dataset "
    assert f"{said}pandaset" in capsys.readouterr().err
    assert not (tmp_path / "run.yaml").exists()
    assert main([*command, "--dataset", "pandaset"]) == 0
    assert (tmp_path / "run.yaml").exists() and "recipe: " in capsys.readouterr().out


def test_scans_that_nobody_labelled_yet_are_left_out_and_the_rest_trains(tmp_path, capsys):
    data, classes = folder_of(tmp_path, a=9, b=2)
    labels = data / "a" / "labels"
    (labels / "000001.label").unlink()
    for path in (labels / "000004.label", *(data / "b" / "labels").iterdir()):  # as tools leave it
        np.zeros(300, np.uint32).tofile(path)
    (tmp_path / "own.yaml").write_text(own_recipe(data, classes))
    recipe = load_recipe(tmp_path / "own.yaml")
    assert recipe.train.partly and recipe.train.sequences == ("a",) and not recipe.train_too
    short = dataclasses.replace(recipe, steps=2)
    trainer = Trainer(short, data, tmp_path / "run")
    assert trainer.scans.names == tuple(f"own/a/{number:06d}" for number in (0, 2, 3, 5, 6))
    trainer.run(progress=False)
    assert trainer.validation["points"] == {"ground": trainer.validation["points"]["ground"]} | {
        "thing": 280 - trainer.validation["points"]["ground"]
    }
    whole = ["evaluate", str(tmp_path / "run" / NETWORK), "--data", str(data), "--dataset", "yard"]
    whole += ["--sequences", "a", "--device", "cpu"]
    assert main([*whole, "--allow-trained"]) == 2
    assert main([*whole, "--allow-trained", "--partly"]) == 0
    capsys.readouterr()
    network, scored = whole[1], [*whole, "--partly"]
    for verb in ("evaluate", "calibrate", "robustness"):
        assert main([verb, network, *scored[2:]]) == 2  # though "yard/a/000000" is another name
        assert "was trained on 5 of these 7 scans (own/a/000000, ...)" in capsys.readouterr().err
    assert main([*scored, "--first-scan", "7"]) == main([*scored, "--called", "other"]) == 0


def test_a_batch_without_one_label_does_no_harm(tmp_path):
    recipe, data = recipe_of(tmp_path, a=6)
    for number in range(3):  # of four that train, two a batch
        np.zeros(300, np.uint32).tofile(data / "a" / "labels" / f"{number:06d}.label")
    trainer = Trainer(dataclasses.replace(recipe, steps=2), data, tmp_path / "run")
    path = trainer.run(progress=False)
    weights = load_checkpoint(path).weights.values()
    assert all(np.isfinite(np.asarray(weight, np.float32)).all() for weight in weights)


def test_what_does_not_fit_is_said(tmp_path, capsys):
    data, classes = folder_of(tmp_path, a=4)
    with pytest.raises(ValueError, match="expected 5 labelled scans or more.*got 4"):
        own_recipe(data, classes)
    with pytest.raises(ValueError, match="--dataset: class map yard reads yard, not 'pandaset'"):
        own_recipe(data, classes, "pandaset")
    with pytest.raises(FileNotFoundError, match="no sequence"):
        own_recipe(tmp_path, classes)
    out = str(tmp_path / "run")
    assert main(["train", "--data", str(data), "--out", out]) == 2
    assert "expected a recipe, or --classes FILE" in capsys.readouterr().err
    assert main(["train", "a.yaml", "--dataset", "yard", "--out", out]) == 2
    assert "--dataset: goes with --classes" in capsys.readouterr().err
    assert main(["train", "a.yaml", "--start", "nothing", "--out", out]) == 2
    assert "--start: goes with --classes" in capsys.readouterr().err
