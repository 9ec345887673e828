"""The reader of nuScenes: axes, chains of poses and sweeps against a made-up world; every kind
of broken file is named.
"""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from builders import nuscenes_layout
from builders.paths import DATA

from cmdfusion_ros.class_map import load_class_map
from cmdfusion_ros.data.augment.scan_context import add_sweeps
from cmdfusion_ros.data.readers.nuscenes import SENSOR_FROM_LIDAR, NuScenes, read_sweep
from cmdfusion_ros.data.readers.nuscenes_splits import scenes_of_split
from cmdfusion_ros.frame import IGNORE_LABEL
from cmdfusion_ros.geometry.projection import project_points
from cmdfusion_ros.geometry.transforms import apply, invert, quaternion_from_rotation

MAP = load_class_map("nuscenes")


@pytest.fixture
def root(tmp_path):
    nuscenes_layout.write_nuscenes(tmp_path, panoptic=True)
    return tmp_path


def reader(root, sequences=("scene-0061",), **options):
    return NuScenes(root, sequences, MAP, **options)


def test_points_come_in_our_axes_with_labels_and_ids(root):
    scans = reader(root)
    assert len(scans) == 3 and scans.names[1] == "nuscenes/scene-0061/scene-0061-lidar3"
    frame = scans[1]
    world, raw = nuscenes_layout.world_points(seed=3)
    # 0.15 s at 5 m/s, and where the LiDAR sits; our axes are those of the vehicle
    seen = world - (0.75 + 0.9, 0.0, 1.8)
    np.testing.assert_allclose(frame.points, seen, atol=1e-4)
    assert [MAP.names[label] for label in np.unique(frame.labels)] == [
        "driveable_surface",
        "manmade",
    ]
    np.testing.assert_array_equal(frame.instance_ids, raw == nuscenes_layout.WALL)
    assert frame.stamp == 1_600_000_000_150_000_000 and frame.intensity == pytest.approx(0.2)


def test_poses_put_all_scans_into_one_world(root):
    for number, frame in zip((0, 3, 6), reader(root), strict=True):
        np.testing.assert_allclose(
            apply(frame.world_from_lidar, frame.points),
            nuscenes_layout.world_points(seed=number)[0],
            atol=1e-3,
        )


def test_cameras_see_the_points_where_they_are_when_the_image_is_taken(root):
    frame = reader(root, images=True)[1]
    assert [view.name for view in frame.views] == ["CAM_BACK", "CAM_FRONT"]
    world = apply(frame.world_from_lidar, frame.points.astype(np.float64))
    for view in frame.views:
        np.testing.assert_array_equal(view.image[0, 0], (200, 0, 0))
        in_camera = apply(nuscenes_layout.camera_from_world(view.name, view.stamp // 1000), world)
        pixels, visible = project_points(
            frame.points, view.intrinsic, view.camera_from_lidar, view.image_size
        )
        assert visible.sum() > 20
        expected = in_camera[visible][:, :2] / in_camera[visible][:, 2:] * 40 + (32, 24)
        np.testing.assert_allclose(pixels[visible], expected, atol=1e-2)


def test_sweeps_between_key_frames_are_the_neighbours(root):
    scans = reader(root)
    others = scans.neighbours(1, (-1, -2, 1, 9))
    assert [frame.name.split("/")[-1] for frame in others] == [
        "scene-0061-lidar2",
        "scene-0061-lidar1",
        "scene-0061-lidar4",
    ]
    assert all((frame.labels == IGNORE_LABEL).all() for frame in others)
    assert scans.neighbours(0, (-1,)) == ()
    swept = add_sweeps(scans[1], others)
    road = apply(scans[1].world_from_lidar, swept.points)
    # the roads of all sweeps lie in one plane
    assert np.isclose(road[:, 2], 0.0, atol=1e-3).sum() > 1000


def test_scenes_are_chosen_by_name_or_split_and_key_frames_by_place(root):
    assert {name.split("/")[1] for name in reader(root, ["mini_val"]).names} == {"scene-0103"}
    assert {name.split("/")[1] for name in reader(root, ["mini_train"]).names} == {"scene-0061"}
    assert len(reader(root, scans=range(1, 9))) == 2


def test_the_split_test_is_all_of_its_tables(tmp_path):
    nuscenes_layout.write_nuscenes(tmp_path, version="v1.0-test")
    assert len(reader(tmp_path, ["test"])) == 6


@pytest.mark.parametrize(
    "version, split, message",
    [
        (
            "v1.0-trainval",
            "mini_train",
            "v1.0-trainval: split mini_train is one of v1.0-mini; take train or val, or names of "
            "scenes",
        ),
        (
            "v1.0-mini",
            "val",
            "v1.0-mini: split val is one of v1.0-trainval; take mini_train or mini_val, or names "
            "of scenes",
        ),
        (
            "v1.0-mini",
            "test",
            "v1.0-mini: split test is one of v1.0-test; take mini_train or mini_val, or",
        ),
        (
            "v1.0-ours",
            "train",
            "v1.0-ours: split train is one of v1.0-trainval; take names of scenes",
        ),
    ],
)
def test_a_split_of_other_tables_is_refused(tmp_path, version, split, message):
    nuscenes_layout.write_nuscenes(tmp_path, version=version)
    assert len(reader(tmp_path)) == 3
    with pytest.raises(ValueError, match=message):
        reader(tmp_path, [split])


def test_the_official_split_has_150_scenes_for_validation():
    folder = Path("v1.0-trainval")
    numbers = scenes_of_split("val", folder, [f"scene-{number:04d}" for number in range(1, 1111)])
    assert len(numbers) == 150 and numbers[0] == "scene-0003" and numbers[-1] == "scene-1073"
    assert "scene-0061" in scenes_of_split("train", folder, ["scene-0061", "scene-0103"])


def test_labels_fold_onto_street(root):
    street = load_class_map("street")
    frame = NuScenes(root, ["scene-0061"], street)[0]
    assert {street.names[label] for label in frame.labels} == {"road", "building"}


def test_without_labels_no_label_file_is_needed(root):
    (root / "v1.0-mini" / "lidarseg.json").unlink()
    assert reader(root, labels=False)[0].labels is None
    with pytest.raises(
        FileNotFoundError,
        match="lidarseg.json: no such table; fetch nuScenes-lidarseg, or read with labels=False",
    ):
        reader(root)


def _edit(path, change):
    rows = json.loads(path.read_text())
    change(rows)
    path.write_text(json.dumps(rows))


def _cut(path, num_bytes):
    path.write_bytes(path.read_bytes()[:-num_bytes])


CLOUD, LABELS, IMAGE = (
    "samples/LIDAR_TOP/scene-0061-lidar0.pcd.bin",
    "lidarseg/scene-0061-lidar0_lidarseg.bin",
    "samples/CAM_FRONT/scene-0061-0.png",
)
BROKEN = [  # (what breaks, error, words of its message)
    (
        lambda r: (r / CLOUD).unlink(),
        FileNotFoundError,
        "lidar0.pcd.bin: expected a file of points",
    ),
    (lambda r: _cut(r / CLOUD, 7), ValueError, "lidar0.pcd.bin: expected whole points of 20 bytes"),
    (
        lambda r: np.full((5, 5), np.nan, np.float32).tofile(r / CLOUD),
        ValueError,
        "lidar0.pcd.bin: 5 points hold NaN",
    ),
    (
        lambda r: np.full((5, 5), 300, np.float32).tofile(r / CLOUD),
        ValueError,
        "expected intensity 0 to 255, got 300",
    ),
    (
        lambda r: (r / LABELS).unlink(),
        FileNotFoundError,
        "lidar0_lidarseg.bin: expected a file of labels",
    ),
    (
        lambda r: _cut(r / LABELS, 1),
        ValueError,
        "lidar0_lidarseg.bin: expected 600 labels .* got 599",
    ),
    (
        lambda r: np.full(600, 77, np.uint8).tofile(r / LABELS),
        ValueError,
        r"lidar0_lidarseg.bin: raw ids \[77\]",
    ),
    (
        lambda r: (r / IMAGE).unlink(),
        FileNotFoundError,
        "scene-0061-0.png: no image; fetch samples/CAM_FRONT",
    ),
    (
        lambda r: (r / IMAGE).write_bytes(b"no picture"),
        ValueError,
        "scene-0061-0.png: not readable as an image",
    ),
    (
        lambda r: cv2.imwrite(str(r / IMAGE), np.zeros((9, 9, 3), np.uint8)),
        ValueError,
        "9 x 9 pixels do not fit the calibration",
    ),
    (
        lambda r: cv2.imwrite(str(r / IMAGE), np.zeros((47, 63, 3), np.uint8)),
        ValueError,
        "expected 64 x 48 pixels, .* got 63 x 47",
    ),
    (
        lambda r: _edit(
            r / "v1.0-mini/ego_pose.json",
            lambda rows: rows[0].update(translation=[float("nan"), 0, 0]),
        ),
        ValueError,
        "ego_pose.json: .*holds NaN",
    ),
    (
        lambda r: _edit(r / "v1.0-mini/ego_pose.json", lambda rows: rows.clear()),
        ValueError,
        "ego_pose.json: no pose pose-scene-0061-lidar0",
    ),
    (
        lambda r: _edit(r / "v1.0-mini/lidarseg.json", lambda rows: rows.clear()),
        ValueError,
        "lidarseg.json: no labels for scene-0061-lidar0",
    ),
    (
        lambda r: _edit(
            r / "v1.0-mini/ego_pose.json", lambda rows: rows[0].update(rotation=[1, 0, 0])
        ),
        ValueError,
        "expected translation .3 numbers.",
    ),
    (
        lambda r: _edit(r / "v1.0-mini/sample_data.json", lambda rows: rows[0].pop("is_key_frame")),
        ValueError,
        "a row of its tables has no 'is_key_frame'",
    ),
    (
        lambda r: (r / "v1.0-mini/sample.json").write_text("[{"),
        ValueError,
        "sample.json: not readable as JSON",
    ),
    (
        lambda r: (r / "v1.0-mini/scene.json").unlink(),
        FileNotFoundError,
        "scene.json: no such table",
    ),
]


@pytest.mark.parametrize("break_it, error, words", BROKEN, ids=[words for _, _, words in BROKEN])
def test_a_broken_file_is_named(root, break_it, error, words):
    break_it(root)
    with pytest.raises(error, match=words):
        reader(root, images=True)[0]


def test_unknown_scenes_and_missing_tables_are_named(root, tmp_path):
    with pytest.raises(
        FileNotFoundError, match="no scene 'scene-0009'; found scene-0061, scene-0103"
    ):
        reader(root, ["scene-0009"])
    with pytest.raises(FileNotFoundError, match="expected one folder v1.0-trainval.* found 0"):
        reader(tmp_path / "nothing")
    with pytest.raises(ValueError, match="hold no key frame with a place in"):
        reader(root, scans=range(50, 60))


def test_a_real_key_frame_reads_and_its_cameras_see_it(tmp_path):
    """One real frame, with tables made of its calibration: all six cameras see points, and cars
    stand where the images show them (checked by eye once).
    """
    source = DATA / "nuscenes_frame"
    if not source.is_dir():
        pytest.skip(f"needs {source}; set CMDFUSION_DATA")
    calibration = json.loads((source / "calibration.json").read_text())
    folder = tmp_path / "v1.0-test"
    folder.mkdir()

    def transform_row(transform):
        x, y, z, w = quaternion_from_rotation(transform[:3, :3])
        return {"translation": transform[:3, 3].tolist(), "rotation": [w, x, y, z]}

    def sensor(channel, transform, intrinsic):
        tables["sensor"].append({"token": channel, "channel": channel})
        tables["calibrated_sensor"].append(
            {
                "token": channel,
                "sensor_token": channel,
                "camera_intrinsic": intrinsic,
                **transform_row(transform),
            }
        )

    def data(channel, filename, stamp, size):
        row = {
            "token": f"data-{channel}",
            "sample_token": "s",
            "ego_pose_token": "p",
            "calibrated_sensor_token": channel,
            "timestamp": stamp,
        }
        tables["sample_data"].append(
            {
                **row,
                "filename": filename,
                "is_key_frame": True,
                "prev": "",
                "next": "",
                "width": size[0],
                "height": size[1],
            }
        )

    tables = {name: [] for name in ("sensor", "calibrated_sensor", "sample_data")}
    tables["scene"] = [{"name": "scene-0001", "first_sample_token": "s"}]
    tables["sample"] = [{"token": "s", "next": ""}]
    tables["ego_pose"] = [{"token": "p", **transform_row(np.eye(4))}]
    sensor("LIDAR_TOP", np.eye(4), [])
    data("LIDAR_TOP", str(source / "lidar.bin"), calibration["lidar"]["stamp_us"], (0, 0))
    for channel, camera in calibration["cameras"].items():
        sensor(channel, invert(np.array(camera["camera_from_lidar"])), camera["intrinsic"])
        data(channel, str(source / camera["file"]), camera["stamp_us"], (1600, 900))
    for name, rows in tables.items():
        (folder / f"{name}.json").write_text(json.dumps(rows))
    (frame,) = NuScenes(tmp_path, ["test"], MAP, labels=False, images=True)
    assert frame.num_points == 34688 and len(frame.views) == 6
    np.testing.assert_allclose(
        apply(SENSOR_FROM_LIDAR, frame.points), read_sweep(source / "lidar.bin")[:, :3], atol=1e-5
    )
    for view in frame.views:
        pixels, visible = project_points(
            frame.points, view.intrinsic, view.camera_from_lidar, view.image_size
        )
        given = np.array(calibration["cameras"][view.name]["camera_from_lidar"])
        theirs, known = project_points(
            read_sweep(source / "lidar.bin")[:, :3], view.intrinsic, given, (1600, 900)
        )
        np.testing.assert_array_equal(visible, known)
        np.testing.assert_allclose(pixels[visible], theirs[visible], atol=0.05)
        assert visible.sum() > 1500
    ahead = {
        view.name: frame.points[
            project_points(frame.points, view.intrinsic, view.camera_from_lidar, view.image_size)[1]
        ].mean(0)
        for view in frame.views
    }
    assert (
        ahead["CAM_FRONT"][0] > 5
        and ahead["CAM_BACK"][0] < -5
        and ahead["CAM_FRONT_LEFT"][1] > 2
        and ahead["CAM_FRONT_RIGHT"][1] < -2
    )
