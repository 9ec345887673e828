"""PandaSet's own layout against a made-up world."""

import json
import sys

import cv2
import numpy as np
import pytest
from builders.commands import own_images, train, trained_on

from cmdfusion_ros.class_map import load_class_map
from cmdfusion_ros.data.augment.scan_context import add_sweeps
from cmdfusion_ros.data.readers.pandaset import PandaSet
from cmdfusion_ros.geometry.projection import project_points
from cmdfusion_ros.geometry.transforms import apply, quaternion_from_rotation, rigid, yaw_rotation

STREET = load_class_map("street")
OPTICAL = np.array([[0.0, -1, 0], [0, 0, -1], [1, 0, 0]])  # of a camera that looks along x


@pytest.fixture
def write_table():
    """A function that writes columns as PandaSet has them: a pickled, gzipped table of pandas."""
    pandas = pytest.importorskip(
        "pandas", reason="pandas is not installed: PandaSet's own layout is not read"
    )
    return lambda path, columns: pandas.DataFrame(columns).to_pickle(path)


def pose_row(transform):
    x, y, z, w = quaternion_from_rotation(transform[:3, :3])
    return {
        "position": dict(zip("xyz", transform[:3, 3].tolist(), strict=True)),
        "heading": {"w": w, "x": x, "y": y, "z": z},
    }


def our_pose(number):
    """world_from_lidar in our axes: turned, and 2 m on with each scan."""
    return rigid(yaw_rotation(0.3), np.array([2.0 * number, 1.0, 1.5]))


@pytest.fixture
def root(tmp_path, write_table):
    folder = tmp_path / "002"
    for name in ("lidar", "annotations/semseg", "camera/front_camera"):
        (folder / name).mkdir(parents=True)
    lidar_poses, camera_poses = [], []
    for number in range(3):
        rng = np.random.default_rng(number)
        world = np.c_[rng.uniform(-10, 20, (200, 2)), np.zeros(200)]
        columns = {
            "x": world[:, 0],
            "y": world[:, 1],
            "z": world[:, 2],
            "i": rng.integers(0, 256, 200).astype(np.float64),
            "t": np.zeros(200),
        }
        columns["d"] = np.repeat([0, 1], 100)
        write_table(folder / "lidar" / f"{number:02d}.pkl.gz", columns)
        write_table(
            folder / "annotations" / "semseg" / f"{number:02d}.pkl.gz",
            {"class": np.repeat([7, 13], 100)},
        )
        # x right, y forward
        sensor = our_pose(number) @ rigid(
            np.array([[0.0, 1, 0], [-1, 0, 0], [0, 0, 1]]), np.zeros(3)
        )
        lidar_poses.append(pose_row(sensor))
        camera_poses.append(
            pose_row(our_pose(number) @ rigid(OPTICAL.T, np.array([0.5, 0.0, -0.2])))
        )
        cv2.imwrite(
            str(folder / f"camera/front_camera/{number:02d}.jpg"),
            np.full((48, 64, 3), (0, 0, 200), np.uint8),
        )
    for name, poses in (("lidar", lidar_poses), ("camera/front_camera", camera_poses)):
        (folder / name / "poses.json").write_text(json.dumps(poses))
        (folder / name / "timestamps.json").write_text(
            json.dumps([1557539924.5 + 0.1 * number for number in range(3)])
        )
    (folder / "camera/front_camera/intrinsics.json").write_text(
        json.dumps({"fx": 40.0, "fy": 40.0, "cx": 32.0, "cy": 24.0})
    )
    return tmp_path


def reader(root, **options):
    return PandaSet(root, ["002"], STREET, **options)


def test_the_turning_lidars_points_come_in_our_axes(root):
    scans = reader(root)
    assert scans.names == tuple(f"pandaset/002/{number:06d}" for number in range(3))
    frame = scans[1]
    world = np.random.default_rng(1).uniform(-10, 20, (200, 2))[:100]
    expected = (np.c_[world, np.zeros(100)] - (2.0, 1.0, 1.5)) @ yaw_rotation(0.3)
    np.testing.assert_allclose(frame.points, expected, atol=1e-4)
    # the other LiDAR's points, all cars, are left out
    assert {STREET.names[label] for label in frame.labels} == {"road"}
    np.testing.assert_allclose(frame.world_from_lidar, our_pose(1), atol=1e-9)
    assert (
        frame.stamp == 1557539924600000000
        and 0 <= frame.intensity.min()
        and 0.9 < frame.intensity.max() <= 1
    )


def test_the_camera_looks_where_its_pose_says(root):
    frame = reader(root, images=True)[2]
    (view,) = frame.views
    np.testing.assert_allclose(view.camera_from_lidar[:3, :3], OPTICAL, atol=1e-6)
    np.testing.assert_allclose(view.image.mean((0, 1)), (200, 0, 0), atol=3)
    _, visible = project_points(
        frame.points, view.intrinsic, view.camera_from_lidar, view.image_size
    )
    assert visible.any() and frame.points[visible, 0].min() > 0.5


def test_sweeps_join_in_the_world(root):
    scans = reader(root)
    swept = add_sweeps(scans[1], scans.neighbours(1, (-1, 1, 5)))
    assert (
        swept.num_points > 290
        and np.abs(apply(swept.world_from_lidar, swept.points)[:, 2]).max() < 1e-3
    )


def test_training_on_it_starts_from_one_command(root, tmp_path):
    sets = {"layout": "pandaset", "dataset": "pandaset", "sequences": ["002"], "images": True}
    train(own_images({**sets, "last_scan": 1}, {**sets, "first_scan": 2}), root, tmp_path)
    figures, rows = trained_on(tmp_path)
    assert (
        figures["trained_on"] == ["pandaset/002/000000", "pandaset/002/000001"]
        and figures["validation"]["points"]["road"] == 100
    )
    assert all(row["own_images.pairs"] > 0 for row in rows)


def _rows(path, change):
    rows = json.loads(path.read_text())
    change(rows)
    path.write_text(json.dumps(rows))


BROKEN = [
    (lambda f: (f / "lidar/00.pkl.gz").write_bytes(b"cut"), ValueError, "00.pkl.gz: not readable"),
    (
        lambda f: (f / "annotations/semseg/00.pkl.gz").unlink(),
        FileNotFoundError,
        "semseg/00.pkl.gz: is missing",
    ),
    (lambda f: (f / "camera/front_camera/00.jpg").unlink(), FileNotFoundError, "00.jpg: no image"),
    (
        lambda f: (f / "camera/front_camera/00.jpg").write_bytes(b"x"),
        ValueError,
        "00.jpg: not readable as an image",
    ),
    (
        lambda f: cv2.imwrite(
            str(f / "camera/front_camera/00.jpg"), np.zeros((24, 32, 3), np.uint8)
        ),
        ValueError,
        "32 x 24 pixels do not fit",
    ),
    (
        lambda f: _rows(
            f / "lidar/poses.json", lambda rows: rows[0]["position"].update(x=float("nan"))
        ),
        ValueError,
        "poses.json, row 1: holds NaN",
    ),
    (
        lambda f: _rows(f / "lidar/poses.json", lambda rows: rows.clear()),
        ValueError,
        "poses.json: has 0 rows, scan 00 needs row 1",
    ),
    (
        lambda f: (f / "lidar/timestamps.json").unlink(),
        FileNotFoundError,
        "timestamps.json: is missing",
    ),
    (
        lambda f: (f / "lidar/poses.json").write_text("["),
        ValueError,
        "poses.json: not readable as JSON",
    ),
]


@pytest.mark.parametrize("break_it, error, words", BROKEN, ids=[words for _, _, words in BROKEN])
def test_a_broken_file_is_named(root, break_it, error, words):
    break_it(root / "002")
    with pytest.raises(error, match=words):
        reader(root, images=True)[0]


def test_wrong_tables_are_named(root, write_table):
    write_table(root / "002/annotations/semseg/00.pkl.gz", {"class": np.zeros(7, np.int64)})
    with pytest.raises(ValueError, match="expected 200 labels .* got 7"):
        reader(root)[0]
    write_table(root / "002/annotations/semseg/00.pkl.gz", {"klass": np.zeros(200, np.int64)})
    with pytest.raises(ValueError, match="expected columns class, got klass"):
        reader(root)[0]
    write_table(root / "002/annotations/semseg/00.pkl.gz", {"class": np.full(200, 99)})
    with pytest.raises(ValueError, match=r"semseg/00.pkl.gz: raw ids \[99\]"):
        reader(root)[0]


def test_an_intensity_that_is_no_number_is_named(root, write_table):
    path = root / "002/lidar/00.pkl.gz"
    columns = {name: np.ones(200) for name in "xyzitd"}
    columns["d"][:100], columns["i"][7] = 0, np.nan
    write_table(path, columns)
    with pytest.raises(
        ValueError, match="lidar/00.pkl.gz: 1 points hold NaN or infinity in x, y, z or i"
    ):
        reader(root)[0]


def test_missing_sequences_are_named(root):
    with pytest.raises(FileNotFoundError, match="no sequence with a folder lidar; found 002"):
        PandaSet(root, ["003"], STREET)
    with pytest.raises(ValueError, match="hold no scan with a number in"):
        reader(root, scans=range(50, 60))


def test_without_pandas_its_name_is_said(root, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ModuleNotFoundError, match="pip install pandas"):
        reader(root)[0]
