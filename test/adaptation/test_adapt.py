"""`cmdfusion adapt` and `cmdfusion map` from end to end, on a lane between hedges."""

import json

import numpy as np
import pytest
import torch
from builders.commands import cmdfusion
from builders.drives import HEDGE, ROAD, STREET, lane_frames, write_lane_bag, write_lane_streets
from builders.tiny_teachers import write_colour_network

from cmdfusion_ros.checkpoint.file import load_checkpoint, save_checkpoint
from cmdfusion_ros.config import ModelConfig
from cmdfusion_ros.inference import Segmenter
from cmdfusion_ros.models import build_network

pytest.importorskip("onnxruntime", reason="needs onnxruntime; pip install 'cmdfusion_ros[onnx]'")
SETTINGS = (
    "learning_rate: {rate:.10f}\nbatch_size: 1\nsector: 360.0\nlessons: {{voxel_size: 0.5}}\n"
)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A bag, a teacher, streets, and a network that has learnt nothing."""
    folder = tmp_path_factory.mktemp("adapt")
    write_lane_bag(folder / "lane", num_scans=8)
    write_colour_network(folder / "cityscapes.onnx")
    write_lane_streets(folder / "streets")
    torch.manual_seed(0)
    config = ModelConfig(network="spv_pyramid", channels=8, voxel_size=0.5, strides=(1, 2, 4))
    network = build_network(config, STREET.num_classes)
    save_checkpoint(folder / "start.safetensors", network, config, STREET, {"name": "start"})
    return folder


def adapt(place, out, rate, steps, *more):
    (place / "settings.yaml").write_text(SETTINGS.format(rate=rate))
    return cmdfusion(
        "adapt",
        place / "lane",
        "--teacher",
        place / "cityscapes.onnx",
        "--streets",
        place / "streets",
        "--checkpoint",
        place / "start.safetensors",
        "--settings",
        place / "settings.yaml",
        "--steps",
        steps,
        "--threads",
        "1",
        "--out",
        out,
        *more,
    )


def test_a_network_learns_a_drive_from_pictures_alone(place, tmp_path, capsys):
    out = tmp_path / "new.safetensors"
    assert adapt(place, out, 0.02, 40, "--json", str(tmp_path / "figures.json")) == 0
    said = capsys.readouterr().out
    assert "better: agreement with the teacher on held-out scans" in said
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert figures["after"]["drives"]["accuracy"] > 0.95 > figures["before"]["drives"]["accuracy"]
    shares = figures["shares"]
    assert 0 < shares["direct"] < shares["carried"] <= shares["learnt"]
    # the truth, also where no camera looked: behind
    frame = lane_frames(8)[7]
    behind = frame.points[:, 0] < -2
    answer = Segmenter(out, cpu_threads=1).segment(frame).labels
    assert (answer[behind] == frame.labels[behind]).mean() > 0.95
    card = load_checkpoint(out).card
    assert card["adaptation"]["teacher"] == "cityscapes.onnx" and card["name"] == "start_adapted"
    assert set(card["adaptation"]["trained_on"]).isdisjoint(card["adaptation"]["judged_on"])
    page = (tmp_path / "new" / "page.html").read_text()
    assert page.count("<img") == 6  # one scan judges: from above and in its picture, three of each
    assert "class=good" in page and "made-up streets" in page


def test_a_run_that_was_stopped_goes_on_and_asks_the_teacher_nothing_twice(
    place, tmp_path, monkeypatch
):
    work = ["--work", str(tmp_path / "work")]
    stop = RuntimeError("stopped")

    def stopped(*args):
        raise stop

    with monkeypatch.context() as patch:
        patch.setattr("cmdfusion_ros.cli.adapt.train", stopped)
        assert adapt(place, tmp_path / "a.safetensors", 0.02, 30, *work) == 1
    monkeypatch.setattr("cmdfusion_ros.image_teachers.teacher.NetworkTeacher.answer", stopped)
    assert adapt(place, tmp_path / "a.safetensors", 0.02, 30, *work) == 0


def test_what_did_not_get_better_is_not_saved(place, tmp_path, capsys):
    out = tmp_path / "new.safetensors"
    assert adapt(place, out, 1e-9, 1) == 1
    said = capsys.readouterr().out
    assert "no gain" in said and f"NOT SAVED as {out}" in said and not out.exists()
    assert "class=bad" in (tmp_path / "new" / "page.html").read_text()


def test_wrong_input_is_said_before_any_work(place, tmp_path, capsys):
    assert adapt(place, tmp_path / "new.pt", 0.02, 1) == 2
    assert "ends in .safetensors" in capsys.readouterr().err
    words = ["--teacher", str(place / "cityscapes.onnx"), "--out", str(tmp_path / "x.safetensors")]
    assert cmdfusion("adapt", tmp_path / "absent", *words) == 2
    assert "there is nothing; expected a bag or a folder of scans" in capsys.readouterr().err
    twice = [str(place / "lane"), str(place / "lane")]
    assert cmdfusion("adapt", *twice, *words) == 2
    assert "two drives are called 'lane'" in capsys.readouterr().err


def test_a_map_is_one_labelled_point_a_voxel(place, tmp_path, capsys):
    out = tmp_path / "lane.ply"
    words = (place / "lane", "--teacher", place / "cityscapes.onnx", "--out", out)
    assert cmdfusion("map", *words, "--voxel-size", "0.5", "--json", tmp_path / "m") == 0
    figures = json.loads((tmp_path / "m").read_text())
    assert figures["odometry"] == "transforms odom <- lidar" and figures["scans"] == 8
    content = out.read_bytes()
    header, rows = content.split(b"end_header\n", 1)
    assert f"element vertex {figures['points']}".encode() in header
    kinds = "<f8 <f8 <f8 <f4 u1 u1 u1 <u2 <f4".split()
    names = "x y z intensity red green blue label confidence".split()
    cloud = np.frombuffer(rows, np.dtype(list(zip(names, kinds, strict=True))))
    assert len(cloud) == figures["points"] > 300
    keys = np.floor(np.column_stack([cloud[axis] for axis in "xyz"]) / 0.5)
    assert len(np.unique(keys, axis=0)) == len(cloud)
    ground = cloud["z"] < -1
    raw = STREET.raw_from_labels(np.array([ROAD, HEDGE], np.uint8))
    assert set(cloud["label"][ground]) <= {0, raw[0]} and (cloud["label"] == raw[0]).any()
    assert set(cloud["label"][~ground]) <= {0, raw[1]} and (cloud["label"] == raw[1]).any()
    assert cmdfusion("map", *words, "--out", tmp_path / "lane.xyz") == 2
    assert "ends in .ply or .las" in capsys.readouterr().err
