"""The command line as tests call it."""

import json

import yaml

from cmdfusion_ros.cli.main import main

ON_ONE_CORE = ("--device", "cpu", "--threads", "1")


def cmdfusion(*words):
    """The exit code of a command; its words may be anything with a text."""
    return main([str(word) for word in words])


def train(recipe, data, out):
    """Train `recipe` (plain values) on the data folder; the folder of the run, `out`/run.

    `out` has the recipe, and run.json with the figures.
    """
    path = out / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe))
    files = ("--data", data, "--out", out / "run", "--json", out / "run.json")
    assert cmdfusion("train", path, *files, *ON_ONE_CORE) == 0
    return out / "run"


def trained_on(out):
    """The figures that `train` left in `out`, and the rows of its log that are steps."""
    rows = [json.loads(line) for line in (out / "run" / "log.jsonl").read_text().splitlines()]
    return json.loads((out / "run.json").read_text()), [row for row in rows if "loss" in row]


def tiny_flagship(channels=4, voxel_size=1.0):
    """The section `model` of a recipe for a network that looks at images."""
    return {
        "network": "flagship",
        "channels": channels,
        "voxel_size": voxel_size,
        "strides": [1, 2],
        "image_size": [64, 32],
    }


def own_images(train, validation=None):
    """A recipe of two steps: `tiny_flagship` on the data section `train`, its own images the
    teacher.
    """
    sets = {"train": train} if validation is None else {"train": train, "validation": validation}
    return {"model": tiny_flagship(), **sets, "distill": [{"features": 1.0}], "steps": 2}


def evaluate_pandaset(checkpoints, data, scores, *options):
    """The exit code of `cmdfusion evaluate` on sequence 01 with PandaSet's labels; the scores go
    into the file `scores`.
    """
    sets = ("--data", data, "--dataset", "pandaset", "--sequences", "01")
    return cmdfusion("evaluate", *checkpoints, *sets, "--device", "cpu", "--json", scores, *options)
