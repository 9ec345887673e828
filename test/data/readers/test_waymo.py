"""The Waymo Open Dataset, read from files in its true schema, against a world that is known."""

import cv2
import numpy as np
import pytest
from builders.waymo_layout import SEGMENT, range_image, write_component

from cmdfusion_ros.class_map import load_class_map
from cmdfusion_ros.config import SettingsError
from cmdfusion_ros.data.augment.scan_context import add_sweeps
from cmdfusion_ros.data.readers.data_settings import DataSettings
from cmdfusion_ros.data.readers.range_images import rotations
from cmdfusion_ros.data.readers.waymo import Waymo
from cmdfusion_ros.frame import IGNORE_LABEL
from cmdfusion_ros.geometry.projection import project_points
from cmdfusion_ros.geometry.transforms import apply, invert, rigid, yaw_rotation

pytest.importorskip("pyarrow", reason="pyarrow is not installed: Waymo's files are not read")
STREET, NATIVE = load_class_map("street"), load_class_map("waymo")
CAR, ROAD, WALKABLE = 1, 18, 21  # the set's own classes
ROWS, COLUMNS = 4, 6
TIMES = (1_500_000, 1_600_000, 1_700_000)  # microseconds
INCLINATIONS = np.radians((-20.0, -9.0, -2.0, 1.0))  # from below, as the set lists them
TOP_MOUNT = rigid(yaw_rotation(2.6), np.array([1.4, 0.0, 2.2]))
SIDE_MOUNT = rigid(yaw_rotation(1.5), np.array([3.2, 1.0, 0.9]))
CAMERA_MOUNT = rigid(np.eye(3), np.array([1.5, 0.0, 2.0]))
SIZE = (64, 48)


def vehicle_pose(seconds):
    """Driving at 10 m/s and turning."""
    return rigid(yaw_rotation(0.3 + 0.2 * seconds), np.array([10 * seconds, 4.0, 0.5]))


def angles(transform):
    """roll, pitch, yaw, x, y, z of a pose that only turns about z."""
    yaw = np.arctan2(transform[1, 0], transform[0, 0])
    return [0.0, 0.0, yaw, *transform[:3, 3]]


def expected(time, laser_mount, ranges, inclinations, seconds_of):
    """(H, W, 3) in the world, by a slow loop over the set's written rule."""
    world = np.zeros((ROWS, COLUMNS, 3))
    yaw = np.arctan2(laser_mount[1, 0], laser_mount[0, 0])
    for row in range(ROWS):
        for column in range(COLUMNS):
            up = inclinations[::-1][row]
            around = ((COLUMNS - column - 0.5) / COLUMNS * 2 - 1) * np.pi - yaw
            ray = np.array([np.cos(around) * np.cos(up), np.sin(around) * np.cos(up), np.sin(up)])
            point = (ranges[row, column] * ray)[None]
            pose = vehicle_pose(seconds_of(time, column))
            world[row, column] = apply(pose @ laser_mount, point)[0]
    return world


def while_turning(time, column):
    """The TOP LiDAR measures its columns one after another."""
    return time / 1e6 - 0.1 + 0.1 * column / COLUMNS


def at_once(time, column):
    return time / 1e6


def make_ranges(seed):
    ranges = np.random.default_rng(seed).uniform(5, 40, (ROWS, COLUMNS)).astype(np.float32)
    ranges[1, 2] = ranges[3, 0] = -1  # as the set marks pixels without a return
    return ranges


def lidar_image(ranges, seed):
    rng = np.random.default_rng(seed)
    rest = rng.uniform(0, 2, (ROWS, COLUMNS, 3)).astype(np.float32)
    return np.concatenate([ranges[..., None], rest], 2)


def raw_labels(seed):
    """(H, W, 2): instance id, class."""
    rng = np.random.default_rng(seed)
    classes = rng.choice([0, CAR, ROAD, WALKABLE], (ROWS, COLUMNS))
    return np.stack([np.where(classes == CAR, 7, 0), classes], 2).astype(np.int32)


@pytest.fixture
def root(tmp_path):
    """Three frames, of which the first and the last are labelled; every LiDAR but REAR..."""
    folder = tmp_path / "training"
    lidar, poses, vehicle, labels, images = [], [], [], [], []
    for place, time in enumerate(TIMES):
        key = {"key.frame_timestamp_micros": time, "key.laser_name": 1}
        one, two = make_ranges(place), make_ranges(10 + place)
        two[:2] = 0  # few rays come back twice
        lidar.append(
            {
                **key,
                **range_image("LiDARComponent", 1, lidar_image(one, place)),
                **range_image("LiDARComponent", 2, lidar_image(two, place)),
            }
        )
        for laser in range(2, 6):
            lidar.append(
                {
                    **key,
                    "key.laser_name": laser,
                    **range_image("LiDARComponent", 1, lidar_image(make_ranges(20 + laser), place)),
                }
            )
        pixel_poses = [
            angles(vehicle_pose(while_turning(time, column))) for column in range(COLUMNS)
        ]
        poses.append(
            {**key, **range_image("LiDARPoseComponent", 1, np.array([pixel_poses] * ROWS))}
        )
        frame = {"key.frame_timestamp_micros": time}
        transform = "[VehiclePoseComponent].world_from_vehicle.transform"
        vehicle.append({**frame, transform: vehicle_pose(time / 1e6).ravel().tolist()})
        if place != 1:
            labels.append(
                {
                    **key,
                    **range_image("LiDARSegmentationLabelComponent", 1, raw_labels(place)),
                    **range_image("LiDARSegmentationLabelComponent", 2, raw_labels(10 + place)),
                }
            )
        seen_from = vehicle_pose(time / 1e6 + 0.03)
        picture = np.full((SIZE[1], SIZE[0], 3), (40 * place, 90, 200), np.uint8)
        images.append({
            **frame,
            "key.camera_name": 1,
            "[CameraImageComponent].image": cv2.imencode(".jpg", picture[..., ::-1])[1].tobytes(),
            "[CameraImageComponent].pose.transform": seen_from.ravel().tolist(),
            "[CameraImageComponent].pose_timestamp": time / 1e6 + 0.03,
        })  # fmt: skip
    for name, rows in (
        ("lidar", lidar),
        ("lidar_pose", poses),
        ("vehicle_pose", vehicle),
        ("lidar_segmentation", labels),
        ("camera_image", images),
    ):
        write_component(folder, name, rows)
    write_calibrations(folder)
    return tmp_path


def write_calibrations(folder):
    name = "[LiDARCalibrationComponent]"
    rows = [
        {
            "key.laser_name": laser,
            f"{name}.extrinsic.transform": (TOP_MOUNT if laser == 1 else SIDE_MOUNT)
            .ravel()
            .tolist(),
            f"{name}.beam_inclination.values": INCLINATIONS.tolist() if laser == 1 else None,
            f"{name}.beam_inclination.min": -0.4,
            f"{name}.beam_inclination.max": 0.4,
        }
        for laser in range(1, 6)
    ]
    write_component(folder, "lidar_calibration", rows)
    lens, values = "[CameraCalibrationComponent]", (50.0, 52.0, 32.5, 24.5, 0, 0, 0, 0, 0)
    names = "f_u f_v c_u c_v k1 k2 p1 p2 k3".split()
    camera = {
        "key.camera_name": 1,
        **{f"{lens}.intrinsic.{key}": value for key, value in zip(names, values, strict=True)},
        f"{lens}.extrinsic.transform": CAMERA_MOUNT.ravel().tolist(),
        f"{lens}.width": SIZE[0],
        f"{lens}.height": SIZE[1],
        f"{lens}.rolling_shutter_direction": 1,
    }
    write_component(folder, "camera_calibration", [camera])


def test_both_returns_are_where_a_slow_loop_puts_them(root):
    scans = Waymo(root, ["training"], STREET)
    assert scans.names == (f"waymo/{SEGMENT}/000000", f"waymo/{SEGMENT}/000002")
    for place, frame in zip((0, 2), scans, strict=True):
        first, second = make_ranges(place), make_ranges(10 + place)
        second[:2] = 0
        parts = []
        for ranges in (first, second):
            world = expected(TIMES[place], TOP_MOUNT, ranges, INCLINATIONS, while_turning)
            parts.append(world[ranges > 0])
        in_world = apply(frame.world_from_lidar, frame.points.astype(np.float64))
        np.testing.assert_allclose(in_world, np.concatenate(parts), atol=2e-4)
        assert frame.stamp == TIMES[place] * 1000


def test_the_origin_is_the_top_lidar_in_the_axes_of_the_vehicle(root):
    frame = Waymo(root, ["training"], STREET)[0]
    vehicle = vehicle_pose(TIMES[0] / 1e6)
    np.testing.assert_allclose(frame.world_from_lidar[:3, :3], vehicle[:3, :3], atol=1e-12)
    mount = apply(vehicle, TOP_MOUNT[:3, 3][None])[0]
    np.testing.assert_allclose(frame.world_from_lidar[:3, 3], mount, atol=1e-12)


def test_labels_and_things_stay_with_their_pixels_and_intensity_is_squashed(root):
    frame = Waymo(root, ["training"], NATIVE)[0]
    first, second = make_ranges(0), make_ranges(10)
    second[:2] = 0
    raw = np.concatenate([raw_labels(0)[first > 0], raw_labels(10)[second > 0]])
    wanted = np.where(raw[:, 1] == 0, IGNORE_LABEL, raw[:, 1] - 1)
    np.testing.assert_array_equal(frame.labels, wanted)
    np.testing.assert_array_equal(frame.instance_ids, raw[:, 0])
    pixels = np.concatenate([lidar_image(first, 0)[first > 0], lidar_image(second, 0)[second > 0]])
    np.testing.assert_allclose(frame.intensity, np.tanh(pixels[:, 1]), rtol=1e-6)


def test_the_other_lidars_come_behind_without_labels(root):
    data = DataSettings(layout="waymo", dataset="waymo", sequences=("training",), all_lidars=True)
    top = Waymo(root, ["training"], STREET)[0]
    frame = data.open(root, STREET, poses=True)[0]
    number = top.num_points
    np.testing.assert_array_equal(frame.points[:number], top.points)
    assert (frame.labels[number:] == IGNORE_LABEL).all()
    rows = np.linspace(-0.4, 0.4, 2 * ROWS + 1)[1::2]  # evenly, where no list is given
    parts = []
    for laser in range(2, 6):
        ranges = make_ranges(20 + laser)
        parts.append(expected(TIMES[0], SIDE_MOUNT, ranges, rows, at_once)[ranges > 0])
    in_world = apply(frame.world_from_lidar, frame.points[number:].astype(np.float64))
    np.testing.assert_allclose(in_world, np.concatenate(parts), atol=2e-4)


def test_a_picture_is_seen_from_where_the_vehicle_was_then(root):
    frame = Waymo(root, [SEGMENT], STREET, images=True)[1]
    (view,) = frame.views
    assert view.name == "FRONT" and view.stamp == round((TIMES[2] / 1e6 + 0.03) * 1e9)
    assert abs(int(view.image[..., 0].mean()) - 80) < 4
    ahead = apply(vehicle_pose(TIMES[2] / 1e6 + 0.03) @ CAMERA_MOUNT, np.array([[10.0, 1.0, 2.0]]))
    point = apply(invert(frame.world_from_lidar), ahead).astype(np.float32)
    pixels, visible = project_points(
        point, view.intrinsic, view.camera_from_lidar, view.image_size, view.distortion
    )
    # 1 m left of and 2 m above the axis, 10 m ahead; the centre is (32.5, 24.5) from the edge
    assert visible.all()
    np.testing.assert_allclose(pixels, [[32.0 - 5.0, 24.0 - 10.4]], atol=1e-3)


def test_frames_without_labels_serve_as_sweeps(root):
    scans = Waymo(root, ["training"], STREET)
    (before,) = scans.neighbours(1, (-1,))
    assert before.name.endswith("/000001") and (before.labels == IGNORE_LABEL).all()
    assert scans.neighbours(0, (-1,)) == ()
    joined = add_sweeps(scans[1], [before])
    assert joined.num_points > scans[1].num_points
    every = Waymo(root, ["training"], STREET, labels=False)
    assert len(every) == 3 and every[1].labels is None


def test_the_rotation_is_about_x_then_y_then_z():
    r, p, y = (np.array([each]) for each in (0.2, -0.4, 1.1))
    c, s = np.cos, np.sin
    about_x = np.array([[1, 0, 0], [0, c(0.2), -s(0.2)], [0, s(0.2), c(0.2)]])
    about_y = np.array([[c(-0.4), 0, s(-0.4)], [0, 1, 0], [-s(-0.4), 0, c(-0.4)]])
    np.testing.assert_allclose(rotations(r, p, y)[0], yaw_rotation(1.1) @ about_y @ about_x)


def test_all_lidars_is_waymos_alone():
    with pytest.raises(SettingsError, match="all_lidars: layout nuscenes has one LiDAR"):
        DataSettings(layout="nuscenes", all_lidars=True)


def rewrite(root, folder, change, leave_out=()):
    from pyarrow import parquet

    path = root / "training" / folder / f"{SEGMENT}.parquet"
    rows = parquet.read_table(path).to_pylist()
    write_component(root / "training", folder, change(rows), leave_out=leave_out)


NAME = "[LiDARComponent].range_image_return1"
POSE = "[VehiclePoseComponent].world_from_vehicle.transform"
LABELS = "[LiDARSegmentationLabelComponent].range_image_return1"


@pytest.mark.parametrize(
    ("folder", "change", "message"),
    [
        ("lidar", lambda rows: rows[1:], r"lidar.*: no row for 1500000, 1; fetch it again"),
        ("lidar", lambda rows: [rows[0], *rows], r"two rows for \(1500000, 1\)"),
        (
            "lidar",
            lambda rows: [{**rows[0], f"{NAME}.values": rows[0][f"{NAME}.values"][:-1]}, *rows[1:]],
            r"row 1500000, 1: range_image_return1: expected H x W x 4 values, got 95 of shape",
        ),
        (
            "lidar",
            lambda rows: [{**rows[0], f"{NAME}.values": [np.inf] * 96}, *rows[1:]],
            "range or intensity hold NaN or infinity",
        ),
        ("lidar", lambda rows: [{**rows[0], f"{NAME}.values": None}, *rows[1:]], "is empty; fetch"),
        (
            "vehicle_pose",
            lambda rows: [{**rows[0], POSE: [1.0] * 16}, *rows[1:]],
            "vehicle_pose.*expected a rigid transform",
        ),
        (
            "lidar_segmentation",
            lambda rows: [{**rows[0], f"{LABELS}.values": [0, 99] * 24}, *rows[1:]],
            r"lidar_segmentation.*raw ids \[99\] are not in class map street for waymo",
        ),
        (
            "lidar_segmentation",
            lambda rows: [
                {**rows[0], f"{LABELS}.values": [0] * 16, f"{LABELS}.shape": [2, 4, 2]},
                *rows[1:],
            ],
            r"expected the \(4, 6\) pixels of the LiDAR's image, got \(2, 4\)",
        ),
    ],
)
def test_a_bad_row_is_named(root, folder, change, message):
    rewrite(root, folder, change)
    with pytest.raises(ValueError, match=message):
        list(Waymo(root, ["training"], STREET))


def test_bad_files_are_named(root):
    folder = root / "training"
    rewrite(root, "lidar_pose", lambda rows: rows, leave_out=("key.laser_name",))
    with pytest.raises(ValueError, match="has no column key.laser_name; is it a file of Waymo's"):
        list(Waymo(root, ["training"], STREET))
    path = folder / "lidar_pose" / f"{SEGMENT}.parquet"
    path.write_bytes(b"PAR1 but not really")
    with pytest.raises(ValueError, match=r"lidar_pose.*not readable as Parquet .*fetch it again"):
        list(Waymo(root, ["training"], STREET))
    path.unlink()
    with pytest.raises(FileNotFoundError, match="is missing; fetch the component lidar_pose"):
        list(Waymo(root, ["training"], STREET))
    with pytest.raises(FileNotFoundError, match=f"no segment 'other' .*; found {SEGMENT}"):
        Waymo(root, ["other"], STREET)
    with pytest.raises(FileNotFoundError, match="lidar_segmentation: holds no .parquet file"):
        Waymo(root, ["validation"], STREET)
    with pytest.raises(ValueError, match="hold no labelled frame with a place in {1}"):
        Waymo(root, ["training"], STREET, scans={1})


def test_a_picture_of_another_size_is_named(root):
    small = cv2.imencode(".jpg", np.zeros((10, 20, 3), np.uint8))[1].tobytes()
    image = "[CameraImageComponent].image"
    for content, message in (
        (small, "expected 64 x 48 pixels.*got 20 x 10"),
        (b"", "not readable"),
    ):
        rewrite(root, "camera_image", lambda rows, c=content: [{**row, image: c} for row in rows])
        with pytest.raises(ValueError, match=message):
            list(Waymo(root, ["training"], STREET, images=True))
