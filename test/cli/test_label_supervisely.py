"""`cmdfusion label --format supervisely`, and what Supervisely exports back into training."""

import json
import shutil
import struct
import uuid

import numpy as np
import pytest
from builders.commands import cmdfusion
from builders.drives import lane_frames, write_lane_bag

from cmdfusion_ros.class_map import load_class_map
from cmdfusion_ros.data.readers.cloud_files import read_cloud_file
from cmdfusion_ros.data.readers.semantic_kitti import SemanticKitti
from cmdfusion_ros.inference import Segmenter

STREET = load_class_map("street")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What becomes of the bag of a lane."""
    place = tmp_path_factory.mktemp("label")
    bag, out = write_lane_bag(place / "lane", 2), place / "tool"
    options = ("--format", "supervisely", "--device", "cpu")
    assert cmdfusion("label", bag, "--out", out, *options) == 0
    return out


def rows_of(path):
    """[(x, y, z, intensity, label)] of a .pcd by its documented header, without the package."""
    head, body = path.read_bytes().split(b"DATA binary\n")
    lines = dict(line.split(" ", 1) for line in head.decode().splitlines() if line[0] != "#")
    assert lines["FIELDS"] == "x y z intensity label" and lines["COUNT"] == "1 1 1 1 1"
    assert lines["SIZE"] == "4 4 4 4 2" and lines["TYPE"] == "F F F F U"
    rows = list(struct.iter_unpack("<4fH", body))
    assert int(lines["POINTS"]) == int(lines["WIDTH"]) == len(rows)
    return rows


def project_of(folder, out):
    """What Supervisely makes of such a folder by its documents: a figure a class, exported."""
    (mapping,) = folder.rglob("class_mapping.json")
    names = json.loads(mapping.read_text())
    (out / "ds0" / "ann").mkdir(parents=True)
    (out / "ds0" / "pointcloud").mkdir()
    (out / "meta.json").write_text(json.dumps({"classes": [], "tags": []}))
    for scan in sorted(folder.rglob("*.pcd")):
        labels = [row[4] for row in rows_of(scan)]
        objects, figures = [], []
        for raw in sorted(set(labels) & set(map(int, names))):
            key = uuid.uuid4().hex
            objects.append({"key": key, "classTitle": names[str(raw)], "tags": []})
            indices = [row for row, label in enumerate(labels) if label == raw]
            figure = {"key": uuid.uuid4().hex, "objectKey": key, "geometryType": "point_cloud"}
            figures.append({**figure, "geometry": {"indices": indices}})
        shutil.copy(scan, out / "ds0" / "pointcloud")
        content = {"description": "", "tags": [], "objects": objects, "figures": figures}
        (out / "ds0" / "ann" / f"{scan.name}.json").write_text(json.dumps(content))
    return out


def test_the_files_hold_what_the_network_says_byte_for_byte(folder):
    segmenter = Segmenter()
    assert json.loads((folder / "class_mapping.json").read_text()) == {
        str(each.raw): each.name for each in STREET.classes
    }
    for number, frame in enumerate(lane_frames(2)):
        path = folder / "sequences" / "lane" / f"lane_{number:06d}.pcd"
        raw = STREET.raw_from_labels(segmenter.segment(frame).labels)
        expected = zip(*frame.points.T, frame.intensity, raw, strict=True)
        assert rows_of(path) == [tuple(row) for row in expected]
        np.testing.assert_array_equal(read_cloud_file(path)[0], frame.points)


def test_a_folder_of_pcd_files_is_labelled_too(folder, tmp_path):
    clouds, out = folder / "sequences" / "lane", tmp_path / "own"
    options = ("--format", "semantickitti", "--odometry", "none", "--device", "cpu")
    assert cmdfusion("label", clouds, "--out", out, *options) == 0
    for number in range(2):
        points = (out / "sequences" / "lane" / "velodyne" / f"{number:06d}.bin").read_bytes()
        sent = rows_of(clouds / f"lane_{number:06d}.pcd")
        assert points == b"".join(struct.pack("<4f", *row[:4]) for row in sent)


def test_what_comes_back_is_what_went_out(folder, tmp_path):
    project, out = project_of(folder, tmp_path / "project"), tmp_path / "own"
    assert cmdfusion("label", project, "--out", out, "--format", "semantickitti") == 0
    for number, frame in enumerate(SemanticKitti(out, ["ds0"], STREET, "street")):
        name = f"{number:06d}"
        sent = rows_of(folder / "sequences" / "lane" / f"lane_{name}.pcd")
        back = (out / "sequences" / "ds0" / "velodyne" / f"{name}.bin").read_bytes()
        assert back == b"".join(struct.pack("<4f", *row[:4]) for row in sent)
        words = (out / "sequences" / "ds0" / "labels" / f"{name}.label").read_bytes()
        assert words == b"".join(struct.pack("<I", row[4]) for row in sent)
        assert len(frame.labels) == len(sent)
    assert (out / "sequences" / "ds0" / "scans.txt").read_text().split()[1] == "ds0/lane_000000"


def test_a_persons_change_arrives_and_what_nobody_marked_stays_unlabelled(folder, tmp_path):
    project, out = project_of(folder, tmp_path / "project"), tmp_path / "own"
    path = project / "ds0" / "ann" / "lane_000000.pcd.json"
    content = json.loads(path.read_text())
    content["objects"] = [{"key": "a", "classTitle": "car"}, {"key": "b", "classTitle": "person"}]
    box = {"objectKey": "a", "geometryType": "cuboid_3d", "geometry": {}}  # is not of points
    content["figures"] = [box] + [
        {"objectKey": key, "geometryType": "point_cloud", "geometry": {"indices": indices}}
        for key, indices in (("a", [0, 1, 2]), ("b", [2, 5]))
    ]
    path.write_text(json.dumps(content))
    assert cmdfusion("label", project, "--out", out, "--format", "semantickitti") == 0
    raw = np.fromfile(out / "sequences" / "ds0" / "labels" / "000000.label", "<u4")
    car, person = (STREET.classes[STREET.label(name)].raw for name in ("car", "person"))
    assert raw[:6].tolist() == [car, car, person, 0, 0, person] and not raw[6:].any()


@pytest.mark.parametrize(
    ("figure", "why"),
    [
        ({"objectKey": "a", "geometry": {"indices": [9999]}}, "9999 of a scan of 3000"),
        ({"objectKey": "b", "geometry": {"indices": [1]}}, "no class 'dragon'"),
        ({"objectKey": "c", "geometry": {"indices": [1]}}, "'c'"),
        ({"objectKey": "a", "geometry": {}}, "'indices'"),
    ],
)
def test_a_damaged_project_is_named(folder, tmp_path, capsys, figure, why):
    project = project_of(folder, tmp_path / "project")
    path = project / "ds0" / "ann" / "lane_000001.pcd.json"
    objects = [{"key": "a", "classTitle": "car"}, {"key": "b", "classTitle": "dragon"}]
    figures = [{"geometryType": "point_cloud", **figure}]
    path.write_text(json.dumps({"objects": objects, "figures": figures}))
    out = tmp_path / "own"
    assert cmdfusion("label", project, "--out", out, "--format", "semantickitti") == 2
    said = capsys.readouterr().err
    assert "lane_000001.pcd.json: not readable as Supervisely's" in said and why in said


def test_a_project_is_not_labelled_by_a_network(folder, tmp_path, capsys):
    project = project_of(folder, tmp_path / "project")
    options = ("--format", "supervisely")
    assert cmdfusion("label", project, "--out", tmp_path / "own", *options) == 2
    assert "is a Supervisely project, labelled by people" in capsys.readouterr().err
