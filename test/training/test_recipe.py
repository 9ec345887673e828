"""Recipes come back from YAML, know their datasets, and those that ship can be read."""

import pytest
from builders.paths import REPOSITORY

from cmdfusion_ros.config import SettingsError, save_settings, settings_from_dict
from cmdfusion_ros.training.recipe import Recipe, load_recipe

SHIPPED = sorted((REPOSITORY / "config" / "train").glob("*.yaml"))


def test_a_recipe_comes_back_from_yaml(tmp_path):
    recipe = settings_from_dict(
        Recipe,
        {
            "train": {"sequences": ["00", "01"]},
            "augment": {"yaw": 90.0, "paste": ["person"]},
            "model": {"channels": 8},
        },
    )
    save_settings(recipe, tmp_path / "recipe.yaml")
    assert load_recipe(tmp_path / "recipe.yaml") == recipe


def test_a_recipe_may_train_on_several_sets(tmp_path):
    sets = [
        {"root": "a", "sequences": ["01"], "repeat": 3},
        {"root": "b", "dataset": "pandaset", "sequences": ["02"]},
    ]
    recipe = settings_from_dict(Recipe, {"train": {"sequences": ["00"]}, "train_too": sets})
    assert [data.root for data in recipe.train_too] == ["a", "b"] and recipe.train_too[
        0
    ].repeat == 3
    save_settings(recipe, tmp_path / "recipe.yaml")
    assert load_recipe(tmp_path / "recipe.yaml") == recipe
    with pytest.raises(SettingsError, match=r"train_too\[0\].root: expected str, got 3"):
        settings_from_dict(Recipe, {"train_too": [{"root": 3}]})
    with pytest.raises(
        SettingsError, match=r"train_too\[1\].dataset: class map street reads .*not 'argoverse'"
    ):
        settings_from_dict(
            Recipe, {"train_too": [{}, {"dataset": "argoverse", "sequences": ["01"]}]}
        )
    with pytest.raises(SettingsError, match="train_too: expected tuple"):
        settings_from_dict(Recipe, {"train_too": {"root": "a"}})


def test_a_dataset_that_the_class_map_cannot_read_is_refused():
    with pytest.raises(
        SettingsError, match="train.dataset: class map street reads .*pandaset.*, not 'argoverse'"
    ):
        settings_from_dict(Recipe, {"train": {"dataset": "argoverse", "sequences": ["01"]}})


def test_a_misspelt_setting_is_named_with_the_nearest():
    with pytest.raises(
        SettingsError, match="learning_rat: unknown setting; did you mean 'learning_rate'"
    ):
        settings_from_dict(Recipe, {"learning_rat": 1.0})
    with pytest.raises(SettingsError, match="augment.yav: unknown setting; did you mean 'yaw'"):
        settings_from_dict(Recipe, {"augment": {"yav": 1.0}})


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_recipe_reads_and_trains_on_something(path):
    recipe = load_recipe(path)
    drawn = recipe.train.layout == "synthetic_stream"  # streets without end have no names
    assert drawn or recipe.train.sequences
    # whoever trains on own scans says what holds for them
    assert path.stem == "own" or (recipe.licence and recipe.attribution)
