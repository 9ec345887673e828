"""Real processes: two train as one does, and one that is killed goes on to the same numbers."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
import yaml
from safetensors.torch import load_file

from cmdfusion_ros.config import settings_from_dict
from cmdfusion_ros.training.recipe import Recipe
from cmdfusion_ros.training.trainer import LOG, NETWORK, STATE, Trainer

RECIPE = {
    "model": {
        "network": "flagship",
        "channels": 8,
        "voxel_size": 0.5,
        "strides": [1, 2, 4],
        "image_size": [64, 32],
    },
    "train": {"root": "kitti", "sequences": ["01"], "last_scan": 3, "images": True},
    "validation": {"root": "kitti", "sequences": ["01"], "first_scan": 4, "images": True},
    "augment": {"yaw": 180.0, "camera_dropout": 0.5, "point_dropout": 0.2},
    "distill": [
        {"features": 1.0},
        {
            "teacher": "shared",
            "match": "voxel",
            "logits": 1.0,
            "view": {"kind": "instance_fused", "previous": 1, "classes": ["person"]},
        },
    ],
    "steps": 6,
    "batch_size": 4,
    "parts": 2,
    "learning_rate": 0.01,
    "save_every": 2,
}


def write_recipe(folder, **changes):
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump({**RECIPE, **changes}))
    return path


def command(recipe, data, out, *options):
    return [
        "-m",
        "cmdfusion_ros",
        "train",
        str(recipe),
        "--data",
        str(data),
        "--out",
        str(out),
        "--device",
        "cpu",
        "--threads",
        "1",
        *options,
    ]


def numbers_of(out):
    rows = [json.loads(line) for line in (out / LOG).read_text().splitlines()]
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


def test_two_processes_take_the_steps_that_one_takes(street_data, tmp_path):
    trainer = Trainer(settings_from_dict(Recipe, RECIPE), street_data, tmp_path / "one")
    trainer.run(progress=False)
    launch = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc_per_node",
        "2",
    ]
    recipe = write_recipe(tmp_path)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*launch, *command(recipe, street_data, tmp_path / "two")],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("checkpoint:") == 1  # one of them speaks
    one, two = (load_file(tmp_path / name / NETWORK) for name in ("one", "two"))
    for name in one:
        if name.endswith("num_batches_tracked"):  # how often a process looked, which nothing reads
            continue
        torch.testing.assert_close(two[name], one[name], rtol=1e-5, atol=1e-7)
    for ours, theirs in zip(
        numbers_of(tmp_path / "one"), numbers_of(tmp_path / "two"), strict=True
    ):
        assert ours.keys() == theirs.keys()
        assert theirs.get("gradient_norm", 0) == pytest.approx(
            ours.get("gradient_norm", 0), rel=1e-5
        )
        assert theirs.get("shared.pairs") == ours.get("shared.pairs") and theirs.get(
            "points"
        ) == ours.get("points")


def test_parts_that_processes_cannot_share_are_named(street_data, tmp_path, monkeypatch):
    from cmdfusion_ros.training import trainer as module
    from cmdfusion_ros.training.replicas import Processes

    monkeypatch.setattr(
        module.Processes, "from_environment", classmethod(lambda cls, device: Processes(0, 3))
    )
    with pytest.raises(ValueError, match="parts is 2, which 3 processes cannot share"):
        Trainer(settings_from_dict(Recipe, RECIPE), street_data, tmp_path / "run")


def test_a_killed_process_goes_on_to_the_same_numbers(street_data, tmp_path):
    changes = {
        "steps": 16,
        "parts": 1,
        "save_every": 3,
        "model": {**RECIPE["model"], "network": "cmdfusion"},
        "distill": RECIPE["distill"][1:],
    }
    recipe, out = write_recipe(tmp_path, **changes), tmp_path / "killed"
    process = subprocess.Popen(
        [sys.executable, *command(recipe, street_data, out)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 200
    while not (out / STATE).exists():
        assert process.poll() is None and time.monotonic() < deadline, "ended before it saved"
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    resumed = Trainer(
        settings_from_dict(Recipe, {**RECIPE, **changes}), street_data, out, resume=True
    )
    assert 3 <= resumed.step < 16
    resumed.run(progress=False)
    whole = Trainer(
        settings_from_dict(Recipe, {**RECIPE, **changes}), street_data, tmp_path / "whole"
    )
    whole.run(progress=False)
    assert numbers_of(out) == numbers_of(tmp_path / "whole")
    ours, theirs = load_file(out / NETWORK), load_file(tmp_path / "whole" / NETWORK)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_threads_that_read_ahead_change_no_number(street_data, tmp_path):
    recipe = settings_from_dict(Recipe, {**RECIPE, "steps": 4, "validation": {}})
    for name, workers in (("without", 0), ("with", 2)):
        Trainer(recipe, street_data, tmp_path / name, workers=workers).run(progress=False)
    assert numbers_of(tmp_path / "with") == numbers_of(tmp_path / "without")


def test_bfloat16_trains(street_data, tmp_path):
    changes = {
        "precision": "bfloat16",
        "steps": 15,
        "batch_size": 2,
        "parts": 1,
        "validation": {},
        "save_every": 20,
    }
    recipe = settings_from_dict(Recipe, {**RECIPE, **changes})
    Trainer(recipe, street_data, tmp_path / "run").run(progress=False)
    rows = numbers_of(tmp_path / "run")
    assert rows[-1]["cross_entropy"] < 0.7 * rows[0]["cross_entropy"]


def test_tensorboard_is_asked_for_and_named_where_it_is_missing(street_data, tmp_path):
    recipe = settings_from_dict(Recipe, {**RECIPE, "steps": 1, "distill": []})
    try:
        import tensorboard  # noqa: F401
    except ImportError:
        with pytest.raises(ModuleNotFoundError, match="pip install tensorboard"):
            Trainer(recipe, street_data, tmp_path / "run", tensorboard=True)
        return
    Trainer(recipe, street_data, tmp_path / "run", tensorboard=True).run(progress=False)
    assert list((tmp_path / "run").glob("events.out.tfevents.*"))
