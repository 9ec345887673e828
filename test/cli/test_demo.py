"""The demo from bag to picture: offline everywhere, and live through real ROS 2 where it is
installed. The network is a stand-in.
"""

import importlib.util
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from builders.commands import cmdfusion

from cmdfusion_ros.class_map import load_class_map
from cmdfusion_ros.cli import demo
from cmdfusion_ros.data.bags.bag import read_labelled_clouds
from cmdfusion_ros.data.bags.frame_bag import read_bag_labels

SUMMARY_KEYS = (
    "received labelled dropped reasons placement modes cameras rate_hz latency_ms miou"
).split()
needs_ros = pytest.mark.skipif(
    importlib.util.find_spec("rclpy") is None,
    reason="ROS 2 (rclpy) is not installed: the live demo is not tested",
)


def run_demo(bag, out, *options):
    code = cmdfusion("demo", bag, "--out", out, "--backend", "fake", *options)
    return code, json.loads((out / "summary.json").read_text())


def test_offline_every_cloud_is_labelled_scored_and_drawn(small_bag, tmp_path, capsys):
    code, summary = run_demo(small_bag, tmp_path, "--offline")
    assert code == 0 and list(summary) == SUMMARY_KEYS
    assert summary["received"] == summary["labelled"] == 8 and summary["dropped"] == {}
    assert summary["modes"] == {"FUSED": 8, "PARTIAL": 0, "LIDAR_ONLY": 0}
    assert summary["cameras"] == {"front": {"FUSED": 8}, "left": {"FUSED": 8}}
    assert (
        summary["latency_ms"]["p50"] <= summary["latency_ms"]["p95"] <= summary["latency_ms"]["max"]
    )
    assert cv2.imread(str(tmp_path / "picture.png")).shape == (1080, 1920, 3)
    assert len(list(read_labelled_clouds(tmp_path / "labelled", demo.LABELLED_TOPIC))) == 8
    said = capsys.readouterr().out
    assert (
        "labelling offline, as asked" in said
        and "8 clouds received, 8 labelled, none dropped" in said
    )


def test_the_score_is_that_of_the_published_labels(small_bag, tmp_path):
    _, summary = run_demo(small_bag, tmp_path, "--offline")
    class_map = load_class_map("street")
    truth = np.concatenate(
        [
            class_map.labels_from_raw(raw, "street")
            for _, raw in sorted(read_bag_labels(small_bag).raw.items())
        ]
    )
    said = np.concatenate(
        [
            columns["label"]
            for _, columns in read_labelled_clouds(tmp_path / "labelled", demo.LABELLED_TOPIC)
        ]
    )
    # the stand-in knows one class, raw id 1
    road = np.mean([((truth == 0) & (said == 1)).sum() / ((truth == 0) | (said == 1)).sum()])
    assert summary["miou"] == pytest.approx(road / class_map.num_classes, abs=1e-4)


def test_a_second_run_replaces_the_first_and_strange_files_are_left_alone(small_bag, tmp_path):
    run_demo(small_bag, tmp_path, "--offline")
    assert (
        run_demo(small_bag, tmp_path, "--offline", "--silence", "all@0")[1]["modes"]["LIDAR_ONLY"]
        == 8
    )
    (tmp_path / "labelled" / "thesis.tex").write_text("years of work")
    assert cmdfusion("demo", small_bag, "--out", tmp_path, "--backend", "fake", "--offline") == 2
    assert (tmp_path / "labelled" / "thesis.tex").exists()


def test_a_bag_without_known_labels_has_no_score(small_bag, tmp_path):
    (tmp_path / "unlabelled").symlink_to(small_bag)
    assert run_demo(tmp_path / "unlabelled", tmp_path / "out", "--offline")[1]["miou"] is None


def test_label_writes_the_bag_it_was_asked_for_and_no_other(small_bag, tmp_path, capsys):
    out = tmp_path / "labelled"
    assert (
        cmdfusion("label", small_bag, "--out", out, "--backend", "fake", "--silence", "front@0")
        == 0
    )
    assert len(list(read_labelled_clouds(out, demo.LABELLED_TOPIC))) == 8
    assert "8 PARTIAL" in capsys.readouterr().out
    assert cmdfusion("label", small_bag, "--out", small_bag, "--backend", "fake") == 2
    assert "is no bag of labels; move it away" in capsys.readouterr().err


def test_label_replaces_the_labels_of_an_earlier_run_and_nothing_else(small_bag, tmp_path, capsys):
    out = tmp_path / "labelled"
    for words in (["--silence", "front@0"], []):
        assert cmdfusion("label", small_bag, "--out", out, "--backend", "fake", *words) == 0
    said = capsys.readouterr().out
    assert "earlier run are replaced" in said and "8 FUSED" in said
    for stranger in ("folder", "file"):
        place = tmp_path / stranger
        place.mkdir() if stranger == "folder" else place.write_text("a thesis")
        assert cmdfusion("label", small_bag, "--out", place, "--backend", "fake") == 2
        assert "is no bag of labels; move it away" in capsys.readouterr().err and place.exists()
    for source in ("no such bag", str(out)):
        assert cmdfusion("label", source, "--out", out, "--backend", "fake") == 2
    assert len(list(read_labelled_clouds(out, demo.LABELLED_TOPIC))) == 8


def test_without_a_bag_a_street_is_made_up_once(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(demo, "_STREET_SCANS", 2)
    assert cmdfusion("demo", tmp_path, "--street-only") == 2
    assert "leave out" in capsys.readouterr().err
    assert cmdfusion("demo", "--out", tmp_path, "--street-only") == 0
    assert {item.name for item in tmp_path.iterdir()} == {"street", "street_labels.npz"}
    assert cmdfusion("demo", "--out", tmp_path, "--backend", "fake", "--offline") == 0
    assert capsys.readouterr().out.count("making up a street") == 1
    assert json.loads((tmp_path / "summary.json").read_text())["miou"] is not None


def test_only_the_first_seconds_are_taken_if_asked_for(small_bag, tmp_path):
    code, summary = run_demo(small_bag, tmp_path, "--offline", "--duration", "0.4")
    assert code == 0 and 0 < summary["received"] == summary["labelled"] < 8


@pytest.mark.parametrize("rate", ["0", "-1", "fast"])
def test_a_rate_is_auto_or_a_positive_number(rate, capsys):
    with pytest.raises(SystemExit) as stop:
        cmdfusion("demo", "--rate", rate)
    assert stop.value.code == 2 and "--rate" in capsys.readouterr().err


@needs_ros
def test_live_every_cloud_is_accounted_for(small_bag, tmp_path):
    code, summary = run_demo(small_bag, tmp_path, "--rate", "0.5", "--duration", "0.65")
    assert code == 0 and list(summary) == SUMMARY_KEYS
    assert summary["received"] == 7 == summary["labelled"] + sum(summary["dropped"].values())
    assert summary["labelled"] > 0 and summary["latency_ms"]["max"] > 0 and summary["miou"] > 0
    if importlib.util.find_spec("cmdfusion_ros.msg") is not None:  # else nothing is on ~/status
        clouds = {name: sum(counts.values()) for name, counts in summary["cameras"].items()}
        assert clouds == dict.fromkeys(("front", "left"), summary["labelled"])
    assert cv2.imread(str(tmp_path / "picture.png")) is not None


@needs_ros
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_and_sigterm_end_every_process_of_the_run(small_bag, tmp_path, number):
    command = [
        sys.executable,
        "-m",
        "cmdfusion_ros",
        "demo",
        str(small_bag),
        "--out",
        str(tmp_path / "run"),
        "--backend",
        "fake",
        "--rate",
        "0.05",
    ]
    run = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        text=True,
        start_new_session=True,
    )
    while "starting the node" not in run.stdout.readline():
        assert run.poll() is None
    assert processes_about(tmp_path / "run")
    run.send_signal(number)
    assert run.wait(60) == 130
    assert not processes_about(tmp_path / "run")


@needs_ros
def test_a_node_that_cannot_start_is_told_with_its_last_words(
    small_bag, tmp_path, capsys, monkeypatch
):
    (tmp_path / "broken.safetensors").write_bytes(b"no network")
    monkeypatch.setattr(demo, "model_class_map", lambda options: load_class_map("street"))
    assert (
        cmdfusion(
            "demo",
            small_bag,
            "--out",
            tmp_path / "run",
            "--rate",
            "1",
            "--checkpoint",
            tmp_path / "broken.safetensors",
        )
        == 2
    )
    assert "broken.safetensors" in capsys.readouterr().err
    assert not processes_about(tmp_path / "run")


def processes_about(path):
    """Command lines of running processes that name `path`, but not that of the demo itself."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = entry.read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        if any(word.startswith(str(path)) for word in words) and "demo" not in words:
            found.append(words)
    return found


def test_labels_that_do_not_fold_onto_the_networks_classes_give_no_score(
    small_bag, tmp_path, capsys
):
    assert demo.score(small_bag, tmp_path / "labelled", load_class_map("semantic_kitti")) is None
    assert "no mIoU: the bag's labels are those of street" in capsys.readouterr().out
