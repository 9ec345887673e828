"""Drives: every scan with its pose, every camera where it was when its picture was taken."""

import json

import numpy as np
import pytest
from builders.nuscenes_layout import write_nuscenes
from builders.paths import DATA

from cmdfusion_ros.class_map import load_class_map
from cmdfusion_ros.data.bags.bag import Bag, BagWriter
from cmdfusion_ros.data.bags.frame_bag import write_frame_bag
from cmdfusion_ros.data.drives import odometry
from cmdfusion_ros.data.drives.bag_drive import BagDrive
from cmdfusion_ros.data.drives.folder_drive import open_folder
from cmdfusion_ros.data.readers.semantic_kitti import read_views
from cmdfusion_ros.frame import CameraView, Frame
from cmdfusion_ros.geometry.projection import project_points
from cmdfusion_ros.geometry.transforms import apply, invert, rigid, yaw_rotation

STREET = load_class_map("street")
START, STEP, LATE = 1_700_000_000_000_000_000, 100_000_000, 30_000_000  # ns
SPEED = 12.0  # m/s
LOOKS_AHEAD = rigid(np.array([[0.0, -1, 0], [0, 0, -1], [1, 0, 0]]), (0.0, 0.1, 0.2))
POSTS = np.array([[25.0, 3, 0], [30, -4, 1], [40, 1, -1]])  # in the world


def pose_at(seconds: float) -> np.ndarray:
    return rigid(yaw_rotation(0.05 * seconds), (SPEED * seconds, 0.2 * seconds, 0.0))


@pytest.fixture(scope="module")
def bag(tmp_path_factory):
    """A drive past three posts at 12 m/s, its camera 30 ms late."""
    rng, frames = np.random.default_rng(0), []
    for place in range(8):
        world_from_lidar = pose_at(place * STEP / 1e9)
        around = rng.uniform(-20, 20, (200, 3))
        points = np.concatenate([apply(invert(world_from_lidar), POSTS), around])
        image = np.full((48, 64, 3), 10 * place, np.uint8)
        intrinsic = np.array([[60.0, 0, 31.5], [0, 60, 23.5], [0, 0, 1]])
        stamp = START + place * STEP
        view = CameraView("front", image, intrinsic, LOOKS_AHEAD, stamp=stamp + LATE)
        intensity, labels = np.full(203, 0.5, np.float32), np.zeros(203, np.uint8)
        frames.append(
            Frame(
                points.astype(np.float32),
                intensity,
                stamp,
                "lidar",
                (view,),
                labels,
                world_from_lidar=world_from_lidar,
            )  # fmt: skip
        )
    path = tmp_path_factory.mktemp("drive") / "posts"
    write_frame_bag(path, frames, STREET)
    return path


def test_a_late_camera_is_placed_where_it_was_when_its_picture_was_taken(bag):
    drive = BagDrive(bag)
    assert len(drive) == 8 and drive.odometry == "transforms odom <- lidar" and not drive.left_out
    assert drive.names[2] == f"posts/{START + 2 * STEP}"
    for place in range(8):
        frame = drive.read(place)
        np.testing.assert_allclose(frame.world_from_lidar, pose_at(place * STEP / 1e9), atol=1e-6)
        (view,) = frame.views
        assert view.image[0, 0, 0] == 10 * place
        then = pose_at((place * STEP + LATE) / 1e9)  # of the LiDAR at the picture's time
        wanted, seen = project_points(
            apply(invert(then), POSTS), view.intrinsic, LOOKS_AHEAD, view.image_size
        )
        found, visible = project_points(
            frame.points[:3], view.intrinsic, view.camera_from_lidar, view.image_size
        )
        assert seen.all() and visible.all()
        np.testing.assert_allclose(found, wanted, atol=0.05)
    assert drive.read(3, images=False).views == ()


def test_without_moving_transforms_the_poses_come_from_the_clouds(bag, tmp_path, monkeypatch):
    """Links that are sent again and again without change are no odometry."""
    still = tmp_path / "still"
    with Bag(bag) as source, BagWriter(still) as writer:
        first = next(iter(source.messages(["/tf"])))
        for message in source.messages():
            data = first.data if message.topic == "/tf" else message.data
            definition = source.definition(message.topic)
            latched = message.topic == "/tf_static"
            writer.write(message.topic, message.msgtype, message.time, data, latched, definition)
    asked = []

    def from_clouds(scans, where):
        asked.append(where)
        return odometry.Trajectory(*map(np.array, zip(
            *[(stamp, pose_at((stamp - START) / 1e9)) for stamp, points in scans if len(points)],
            strict=True)))  # fmt: skip

    monkeypatch.setattr("cmdfusion_ros.data.drives.bag_drive.kiss_icp_trajectory", from_clouds)
    drive = BagDrive(still)
    assert drive.odometry == "KISS-ICP" and asked == [f"bag {still}"]
    np.testing.assert_allclose(drive.read(5).world_from_lidar, pose_at(0.5), atol=1e-6)
    assert BagDrive(bag, odometry="kiss-icp").odometry == "KISS-ICP"
    with pytest.raises(ValueError, match="no moving transform above 'lidar'.*take kiss-icp"):
        BagDrive(still, odometry="recorded")


def test_kiss_icp_follows_a_drive_past_walls():
    pytest.importorskip("kiss_icp", reason="needs KISS-ICP; pip install 'cmdfusion_ros[odometry]'")
    rng = np.random.default_rng(0)
    # fmt: off
    walls = np.concatenate([
        np.column_stack([rng.uniform(-30, 60, 9000), side * (6 + rng.integers(0, 3, 9000)),
                         rng.uniform(-1.5, 3, 9000)])
        for side in (-1, 1)
    ] + [np.column_stack([np.repeat(rng.uniform(-30, 60, 60), 100),
                          np.repeat(rng.uniform(-5, 5, 60), 100), rng.uniform(-1.5, 2, 6000)])])
    # fmt: on
    scans = ((place, apply(invert(pose_at(place * 0.1)), walls)) for place in range(8))
    found = odometry.kiss_icp_trajectory(scans, "walls")
    motion = found.motion(7, 0)
    np.testing.assert_allclose(motion[:3, 3], pose_at(0.7)[:3, 3], atol=0.1)
    with pytest.raises(ValueError, match="nothing: no scan"):
        odometry.kiss_icp_trajectory([], "nothing")


def write_kitti(folder, poses=True):
    """Two scans in SemanticKITTI's layout, one camera at the LiDAR, 2 m driven."""
    import cv2

    for name in ("velodyne", "image_2"):
        (folder / name).mkdir(parents=True)
    for place in range(2):
        cloud = np.array([[20.0 - 2 * place, 0, 0, 0.5], [5, 5, 0, 0.2]], np.float32)
        cloud.tofile(folder / "velodyne" / f"{place:06d}.bin")
        cv2.imwrite(str(folder / "image_2" / f"{place:06d}.png"), np.zeros((20, 40, 3), np.uint8))
    camera = {"name": "image_2", "folder": "image_2", "late_ns": -50_000_000,
              "intrinsic": [[20, 0, 19.5], [0, 20, 9.5], [0, 0, 1]],
              "camera_from_lidar": LOOKS_AHEAD.tolist()}  # fmt: skip
    (folder / "cameras.json").write_text(json.dumps([camera]))
    row = "1 0 0 0 0 1 0 0 0 0 1 0"
    (folder / "calib.txt").write_text(f"P2: {row}\nTr: {row}\n")
    if poses:
        (folder / "poses.txt").write_text("1 0 0 0 0 1 0 0 0 0 1 0\n1 0 0 2 0 1 0 0 0 0 1 0\n")
        (folder / "times.txt").write_text("1.0\n1.1\n")


def test_a_folder_is_a_drive_for_each_sequence(tmp_path):
    write_kitti(tmp_path / "set" / "sequences" / "00")
    write_kitti(tmp_path / "set" / "sequences" / "01")
    drives = open_folder(tmp_path / "set")
    assert [drive.name for drive in drives] == ["00", "01"]
    assert drives[0].names == ("set/00/000000", "set/00/000001")
    frame = drives[0].read(1)
    assert frame.world_from_lidar[0, 3] == 2 and frame.labels is None
    # half a step before the scan the LiDAR was 1 m further back: the camera too
    early = frame.views[0].camera_from_lidar @ [18.0, 0, 0, 1]
    assert early[2] == pytest.approx(18 + 1 + 0.2)
    alone = open_folder(tmp_path / "set" / "sequences" / "01")
    assert [drive.name for drive in alone] == ["01"] and len(alone[0]) == 2
    with pytest.raises(ValueError, match="expected a bag, or a folder in the layout of"):
        open_folder(tmp_path)


def test_a_folder_without_poses_gets_those_of_its_clouds(tmp_path, monkeypatch):
    write_kitti(tmp_path / "00", poses=False)
    with pytest.raises(FileNotFoundError, match="no poses.txt with times.txt"):
        open_folder(tmp_path, odometry="recorded")

    def from_clouds(scans, where):
        stamps = [stamp for stamp, _ in scans]
        poses = [rigid(np.eye(3), (2.0 * place, 0, 0)) for place in range(len(stamps))]
        return odometry.Trajectory(np.array(stamps), np.array(poses))

    monkeypatch.setattr("cmdfusion_ros.data.drives.folder_drive.kiss_icp_trajectory", from_clouds)
    (drive,) = open_folder(tmp_path)
    frame = drive.read(1)
    assert drive.odometry == "KISS-ICP" and frame.stamp == 200_000_000
    assert (frame.views[0].camera_from_lidar @ [18.0, 0, 0, 1])[2] == pytest.approx(19.2)


def test_the_real_drive_places_its_cameras_within_two_centimetres():
    folder = DATA / "pandaset" / "002"
    if not folder.is_dir():
        pytest.skip(f"needs {folder}; set CMDFUSION_DATA")
    (drive,) = open_folder(folder)
    exact = json.loads((folder / "camera_from_lidar_per_scan.json").read_text())
    worst, fixed = 0.0, 0.0
    for place in (3, 20, 35):
        number = int(drive.names[place].rsplit("/", 1)[1])
        frame = drive.read(place)
        bare = read_views(folder, f"{number:06d}")
        for view, unmoved in zip(frame.views, bare, strict=True):
            truth = np.array(exact[view.name][number]).reshape(3, 4)[:, 3]
            worst = max(worst, np.linalg.norm(view.camera_from_lidar[:3, 3] - truth))
            fixed = max(fixed, np.linalg.norm(unmoved.camera_from_lidar[:3, 3] - truth))
    assert worst < 0.02 < 0.1 < fixed


def test_nuscenes_scenes_are_drives_with_exact_cameras(tmp_path):
    write_nuscenes(tmp_path, scenes=("scene-0061", "scene-0103"), key_frames=2)
    drives = open_folder(tmp_path)
    assert [drive.name for drive in drives] == ["scene-0061", "scene-0103"]
    assert len(drives[0]) == 2 and drives[0].odometry == "recorded poses"
    bare, full = drives[0].read(1, images=False), drives[0].read(1)
    assert bare.views == () and full.labels is None and bare.world_from_lidar is not None
    assert {view.name for view in full.views} == {"CAM_FRONT", "CAM_BACK"}


def test_pandaset_as_distributed_is_a_drive(tmp_path, monkeypatch):
    (tmp_path / "set" / "002" / "lidar").mkdir(parents=True)
    asked = []

    def reader(root, sequences, class_map, labels, images):
        asked.append((root, sequences, labels, images))
        return [Frame(np.zeros((0, 3), np.float32), np.zeros(0, np.float32), stamp=7)]

    monkeypatch.setattr("cmdfusion_ros.data.drives.folder_drive.PandaSet", reader)
    for given in (tmp_path / "set", tmp_path / "set" / "002"):
        (drive,) = open_folder(given)
        assert drive.name == "002" and drive.read(0).stamp == 7
    assert asked[0] == (tmp_path / "set", ["002"], False, False) and asked[1][3]
    assert asked[2][0] == tmp_path / "set"
