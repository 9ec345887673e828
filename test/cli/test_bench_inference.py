"""`cmdfusion bench inference`: the stages add up to the whole, of the shipped network and of a
U-Net.
"""

import json

import numpy as np
import pytest

from cmdfusion_ros.checkpoint.file import Checkpoint
from cmdfusion_ros.class_map import load_class_map
from cmdfusion_ros.cli.benches import inference as bench_inference
from cmdfusion_ros.cli.benches import node as bench_node
from cmdfusion_ros.cli.main import main
from cmdfusion_ros.cli.runs import live
from cmdfusion_ros.config import ModelConfig
from cmdfusion_ros.data.bags.bag_layout import inspect_bag
from cmdfusion_ros.frame import Frame
from cmdfusion_ros.inference import Segmenter
from cmdfusion_ros.models import build_network

EVERYWHERE = {"voxelise", "nest scales", "kernel maps", "embedding", "labels, confidence", "rest"}


def check(result):
    stages = result["stages"]
    assert stages.keys() >= EVERYWHERE | {"layers, stride 1", "layers, stride 8"}
    # medians of few frames, and what lies before and after the stages
    spent = sum(row["cpu_ms"] for row in stages.values())
    assert spent == pytest.approx(result["total_cpu_ms"], rel=0.5)


def test_the_shipped_network_is_drawn_and_written_by_stage(tmp_path, capsys):
    files = {name: tmp_path / name for name in ("stages.json", "stages.png")}
    arguments = ["bench", "inference", "--sizes", "800", "--repeats", "2"]
    arguments += ["--json", str(files["stages.json"]), "--picture", str(files["stages.png"])]
    assert main(arguments) == 0
    (result,) = json.loads(files["stages.json"].read_text())
    check(result)
    assert files["stages.png"].stat().st_size > 1000
    assert "layers, stride 1" in capsys.readouterr().out


def test_a_u_net_has_its_stages_too():
    config, class_map = ModelConfig(network="spv_unet", channels=4), load_class_map("street")
    weights = build_network(config, class_map.num_classes).state_dict()
    segmenter = Segmenter(
        Checkpoint(weights, config, class_map), device="cpu", backend="cpu", cpu_threads=1
    )
    points = np.random.default_rng(0).uniform(-5, 5, (500, 3)).astype(np.float32)
    frame = Frame(points, np.zeros(500, np.float32))
    check(bench_inference.profile(segmenter, frame, 2))


def test_a_rig_is_measured_with_its_cameras(tmp_path, capsys):
    words = ["--rigs", "kitti", "--repeats", "1", "--json", str(tmp_path / "stages.json")]
    assert main(["bench", "inference", *words]) == 0
    (row,) = json.loads((tmp_path / "stages.json").read_text())
    assert row["cameras"] >= 1 and "camera" in capsys.readouterr().out
    stages = set(row["stages"])
    assert {"scaling, projection", "image encoder", "reading maps", "fusion"} <= stages
    assert {"encoder", "knowledge branch", "decoder, head", "labels, confidence"} <= stages
    spent = sum(stage["cpu_ms"] for stage in row["stages"].values())
    assert 0.8 * row["total_cpu_ms"] < spent <= 1.01 * row["total_cpu_ms"]


def test_the_stages_of_the_node_are_those_of_a_cloud_with_the_images_paired_with_it(small_bag):
    row = bench_node.stages_of(inspect_bag(small_bag), "small")
    assert (row["input"], row["points"], row["cameras"]) == ("small", 2000, 2)
    assert {"image encoder", "reading maps", "fusion", "decoder, head"} <= row["stages"].keys()
    check(row)


def test_a_picture_of_stages_that_are_not_asked_for_is_refused(monkeypatch, capsys):
    monkeypatch.setattr(live, "ros_is_there", lambda: True)
    assert main(["bench", "node", "--picture", "stages.png"]) == 2
    assert "--picture: draws the stages; say --stages too" in capsys.readouterr().err
