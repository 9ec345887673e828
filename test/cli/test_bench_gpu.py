"""`cmdfusion bench gpu`: the same code on a CPU with a tiny network; the refusal without a card."""

import json

import numpy as np
import pytest
import torch
import yaml
from builders.commands import ON_ONE_CORE, cmdfusion, tiny_flagship

from cmdfusion_ros.cli.benches import gpu as bench_gpu
from cmdfusion_ros.cli.benches.unets import Unet
from cmdfusion_ros.data.synthetic.rendering import render_frames
from cmdfusion_ros.frame import Frame

needs_no_card = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a card")


@needs_no_card
def test_without_a_card_it_says_so_and_ends_with_two(capsys):
    assert cmdfusion("bench", "gpu") == 2
    assert "expected a CUDA device" in capsys.readouterr().err


@pytest.fixture
def small(monkeypatch):
    """A U-Net of two layers a side, and scans of a rig with a fiftieth of their points."""

    def thinned(*args, **kwargs):
        for frame in render_frames(*args, **kwargs):
            rows = np.arange(frame.num_points) % 50 == 0
            few = {name: getattr(frame, name)[rows] for name in ("points", "intensity")}
            yield Frame(**few, views=frame.views)

    monkeypatch.setattr(bench_gpu.unets, "UNETS", {"small": Unet(8, (8, 8), (8, 8), 1)})
    monkeypatch.setattr(bench_gpu, "render_frames", thinned)
    monkeypatch.setattr(bench_gpu, "WARM_UP", 0)


def test_every_part_is_measured_on_a_cpu_by_the_same_code(tmp_path, capsys, small):
    recipe = {
        "name": "tiny",
        "class_map": "street",
        "model": tiny_flagship(),
        "train": {"root": "street", "sequences": ["all"]},
        "steps": 1,
    }
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(recipe))
    words = ["--sizes", 600, "--rigs", "kitti", "--recipes", tmp_path / "tiny.yaml"]
    words += [*ON_ONE_CORE, "--repeats", 1, "--json", tmp_path / "gpu.json"]
    assert cmdfusion("bench", "gpu", *words) == 0
    found = json.loads((tmp_path / "gpu.json").read_text())
    rows = found["rows"]
    assert found["card"] == "none: a CPU" and all(row["ms"] > 0 for row in rows)
    assert {row["case"] for row in rows} == {"shipped, label", "U-Net small", "tiny"}
    ways = {(row["case"], row["way"], row["precision"]) for row in rows}
    for precision in ("float32", "float16"):
        assert ("U-Net small", "torch, maps held", precision) in ways
        assert ("tiny", "torch, forward", precision) in ways
        assert ("tiny", "image encoder", precision) in ways
    assert {("tiny", "torch, step", "float32"), ("tiny", "torch, step", "bfloat16")} <= ways
    same = next(row for row in rows if row["case"] == "shipped, label" and row["way"] == "torch")
    assert same["check"] == "100.00 % the same"
    held = [row["check"] for row in rows if row["way"] == "torch, maps held"]
    assert held == ["0.0e+00 off", "0.0e+00 off"]
    told = capsys.readouterr().out
    assert "CUDA graph left out, RuntimeError: graphs need CUDA" in told
    assert told.count("\n| ") > len(rows)


def test_a_recipe_that_is_nowhere_is_named(capsys):
    assert cmdfusion("bench", "gpu", "--device", "cpu", "--recipes", "flagship_huge") == 2
    assert "--recipes flagship_huge: expected a .yaml file or a name" in capsys.readouterr().err
