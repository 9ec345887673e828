"""`cmdfusion label --format semantickitti`: a folder for point_labeler, and back into training."""

import struct
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
import yaml
from builders.commands import ON_ONE_CORE, cmdfusion
from builders.drives import lane_frames, write_lane_bag

from cmdfusion_ros.class_map import load_class_map
from cmdfusion_ros.data.readers.semantic_kitti import SemanticKitti
from cmdfusion_ros.inference import Segmenter

STREET = load_class_map("street")
TO_FOLDER = ("--format", "semantickitti", "--device", "cpu")


@pytest.fixture(scope="module")
def lane(tmp_path_factory):
    return write_lane_bag(tmp_path_factory.mktemp("drive") / "lane", 6)


@pytest.fixture(scope="module")
def folder(lane, tmp_path_factory):
    """What becomes of the bag of a lane."""
    out = tmp_path_factory.mktemp("label") / "own"
    assert cmdfusion("label", lane, "--out", out, *TO_FOLDER) == 0
    return out


def test_a_bag_becomes_byte_for_byte_what_the_network_says(lane, folder):
    frames, segmenter = lane_frames(6), Segmenter()
    sequence = folder / "sequences" / "lane"
    names = sorted(path.name for path in sequence.iterdir())
    assert names == ["calib.txt", "labels", "poses.txt", "scans.txt", "times.txt", "velodyne"]
    for number, frame in enumerate(frames):
        labels = segmenter.segment(frame).labels
        points = b"".join(
            struct.pack("<4f", *point, intensity)
            for point, intensity in zip(frame.points, frame.intensity, strict=True)
        )
        assert (sequence / "velodyne" / f"{number:06d}.bin").read_bytes() == points
        words = b"".join(struct.pack("<I", STREET.classes[label].raw) for label in labels)
        assert (sequence / "labels" / f"{number:06d}.label").read_bytes() == words
    poses = [line.split() for line in (sequence / "poses.txt").read_text().splitlines()]
    assert [float(row[3]) for row in poses] == pytest.approx([0, 0.5, 1, 1.5, 2, 2.5])  # 5 m/s
    assert "Tr: 1 0 0 0 0 1 0 0 0 0 1 0" in (sequence / "calib.txt").read_text()
    last = (sequence / "scans.txt").read_text().splitlines()[-1]
    assert last == f"000005 lane/{frames[5].stamp}"


def test_our_reader_reads_it_back_with_poses_and_labels(folder):
    scans = SemanticKitti(folder, ["lane"], STREET, "street")
    frames, segmenter = lane_frames(6), Segmenter()
    for frame, made in zip(frames, scans, strict=True):
        np.testing.assert_array_equal(made.points, frame.points)
        np.testing.assert_array_equal(made.labels, segmenter.segment(frame).labels)
        assert made.stamp == frame.stamp - frames[0].stamp
        np.testing.assert_allclose(made.world_from_lidar, frame.world_from_lidar, atol=1e-9)


def test_the_class_list_is_as_point_labeler_reads_it(folder):
    """Its getLabels asks each <label> under <config> for id, name, color and root."""
    config = ElementTree.parse(folder / "labels.xml").getroot()
    assert config.tag == "config"
    entries = {int(each.find("id").text): each for each in config.findall("label")}
    assert set(entries) == {0} | {each.raw for each in STREET.classes}
    for each in STREET.classes:
        entry = entries[each.raw]
        assert entry.find("name").text == each.name and entry.find("root").text
        assert [int(part) for part in entry.find("color").text.split()] == list(each.color)
        assert (entry.find("instanceable") is not None) == each.thing


def test_corrected_it_trains_and_labels_again_in_ones_own_classes(lane, tmp_path, capsys):
    colors = {"color": [1, 2, 3]}
    names = {name: "low" if name in ("road", "sidewalk") else "high" for name in STREET.names}
    classes = tmp_path / "own.yaml"
    values = {
        "name": "own",
        "classes": [{"name": "low", "raw": 7, **colors}, {"name": "high", "raw": 9, **colors}],
        "through": {"street": names},
    }
    classes.write_text(yaml.safe_dump(values))
    out, run = tmp_path / "own", tmp_path / "run"
    assert cmdfusion("label", lane, "--out", out, "--classes", classes, *TO_FOLDER) == 0
    labels = sorted((out / "sequences" / "lane" / "labels").iterdir())
    assert set(np.unique(np.fromfile(labels[0], "<u4"))) <= {7, 9}
    np.zeros(3000, "<u4").tofile(labels[1])  # nobody came to it yet
    for path, frame in zip(labels, lane_frames(6), strict=True):
        if path != labels[1]:
            np.where(frame.labels == STREET.label("road"), 7, 9).astype("<u4").tofile(path)
    recipe = run.with_suffix(".yaml")
    data = ("--data", out, "--out", run, *ON_ONE_CORE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cmdfusion_ros.training.own_recipe.STEPS", 2)
        assert cmdfusion("train", "--classes", classes, *data) == 0
    assert yaml.safe_load(recipe.read_text())["train"]["partly"] is True
    network = run / "network.safetensors"
    more = write_lane_bag(tmp_path / "more", 2)  # joins the folder that there is
    assert cmdfusion("label", more, "--out", out, "--checkpoint", network, *TO_FOLDER) == 0
    first = out / "sequences" / "more" / "labels" / "000000.label"
    assert set(np.unique(np.fromfile(first, "<u4"))) <= {7, 9}
    assert cmdfusion("label", more, "--out", out, *TO_FOLDER) == 2
    assert "labels.xml: has other classes than street" in capsys.readouterr().err


def test_the_strange_scan_is_chosen(lane, tmp_path, capsys):
    clouds = tmp_path / "clouds"
    clouds.mkdir()
    rng = np.random.default_rng(0)
    for number, frame in enumerate(lane_frames(6)):
        points = frame.points
        if number == 4:  # a low roof over a wall all around
            azimuth = rng.uniform(-np.pi, np.pi, 3000)
            points = np.c_[3 * np.cos(azimuth), 3 * np.sin(azimuth), rng.uniform(-1.7, 3, 3000)]
        np.c_[points, np.full(len(points), 0.5)].astype("<f4").tofile(clouds / f"{number}.bin")
    out = tmp_path / "own"
    assert cmdfusion("label", clouds, "--out", out, "--choose", "2", "--odometry", "none",
                     *TO_FOLDER) == 0  # fmt: skip
    assert "chosen   2 of 6 scans" in capsys.readouterr().out
    lines = (out / "sequences" / "clouds" / "scans.txt").read_text().splitlines()
    tenths = {(int(line.split("/")[1]) - 1_700_000_000_000_000_000) // 100_000_000
              for line in lines}  # fmt: skip
    assert len(tenths) == 2 and 4 in tenths
    poses = (out / "sequences" / "clouds" / "poses.txt").read_text().split()
    assert [float(value) for value in poses] == [1.0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0] * 2


def test_what_does_not_fit_is_said(lane, folder, tmp_path, capsys):
    assert cmdfusion("label", lane, "--out", folder, *TO_FOLDER) == 2
    assert "perhaps with corrected labels; give another --out" in capsys.readouterr().err
    assert cmdfusion("label", lane, "--out", tmp_path / "a", "--choose", "3") == 2
    assert "go with --format semantickitti or supervisely" in capsys.readouterr().err
    assert cmdfusion("label", lane, "--out", tmp_path / "a", "--choose", "0", *TO_FOLDER) == 2
    assert "--choose 0: expected 1 or more" in capsys.readouterr().err
    silent = ("--silence", "all@1")
    assert cmdfusion("label", lane, "--out", tmp_path / "a", *silent, *TO_FOLDER) == 2
    assert "--silence goes with --format bag" in capsys.readouterr().err
