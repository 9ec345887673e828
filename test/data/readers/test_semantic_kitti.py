"""The reader of SemanticKITTI folders: values written by hand come back, and every kind of
broken file is named.
"""

import numpy as np
import pytest
from builders.paths import DATA

from cmdfusion_ros.class_map import load_class_map
from cmdfusion_ros.data.readers.semantic_kitti import SemanticKitti
from cmdfusion_ros.frame import IGNORE_LABEL
from cmdfusion_ros.geometry.projection import project_points
from cmdfusion_ros.geometry.transforms import apply, invert

CLOUD = np.array([[10, 0, -1.7, 0.25], [0, 5, 0, 1.0], [-3, 0, 2, 0.0]], np.float32)
# road, moving car number 7, unlabelled
RAW = np.array([40 | (0 << 16), 252 | (7 << 16), 0], np.uint32)
# camera axes of a LiDAR: x right = -y, y down = -z, z forward = x; the camera sits 0.3 m ahead of
# the LiDAR
TR = "0 -1 0 0 0 0 -1 0 1 0 0 -0.3"
P2 = "100 0 32 -50 0 100 24 0 0 0 1 0"  # 0.5 m right of the left camera: -50 = 100 * -0.5


def write_folder(root, num_scans=2, image="png"):
    folder = root / "sequences" / "00"
    for name in ("velodyne", "labels", "image_2"):
        (folder / name).mkdir(parents=True)
    for scan in range(num_scans):
        CLOUD.tofile(folder / "velodyne" / f"{scan:06d}.bin")
        RAW.tofile(folder / "labels" / f"{scan:06d}.label")
    # the left camera drives 2 m forward (its z) between scans
    (folder / "poses.txt").write_text(
        "".join(f"1 0 0 0 0 1 0 0 0 0 1 {2 * scan}\n" for scan in range(num_scans))
    )
    (folder / "times.txt").write_text("".join(f"{0.1 * scan:.6e}\n" for scan in range(num_scans)))
    (folder / "calib.txt").write_text(f"P0: {P2}\nP2: {P2}\nTr: {TR}\n\n")
    return folder


def reader(root, **options):
    return SemanticKitti(root, ["00"], load_class_map("semantic_kitti"), **options)


def test_a_scan_comes_back_with_all_that_was_written(tmp_path):
    write_folder(tmp_path)
    scans = reader(tmp_path)
    assert len(scans) == 2 and scans.names == (
        "semantic_kitti/00/000000",
        "semantic_kitti/00/000001",
    )
    frame = scans[1]
    class_map = load_class_map("semantic_kitti")
    np.testing.assert_array_equal(frame.points, CLOUD[:, :3])
    np.testing.assert_array_equal(frame.intensity, CLOUD[:, 3])
    assert frame.labels.tolist() == [class_map.label("road"), class_map.label("car"), IGNORE_LABEL]
    # moving cars are the eleventh of 18 classes of things
    assert frame.instance_ids.tolist() == [0, 7 * 18 + 10, 0]
    assert frame.stamp == 100_000_000
    assert frame.views == ()


@pytest.mark.parametrize("name", ["semantic_kitti", "street"])
def test_things_that_a_class_map_folds_together_stay_apart(tmp_path, name):
    """The files count each raw class from 1: a parked car, a moving one, a bus, a truck and a
    road with the same number are no one thing.
    """
    folder = write_folder(tmp_path)
    raw = np.array([10, 252, 13, 257, 18, 258, 20, 11, 31, 253, 10, 40], np.uint32)
    numbers = np.array([3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 0, 3], np.uint32)
    for scan, order in enumerate((np.arange(12), np.arange(12)[::-1])):
        np.ones((12, 4), np.float32).tofile(folder / "velodyne" / f"{scan:06d}.bin")
        (raw | numbers << 16)[order].tofile(folder / "labels" / f"{scan:06d}.label")
    first, second = SemanticKitti(tmp_path, ["00"], load_class_map(name))
    assert len(set(first.instance_ids[:10].tolist())) == 10 and first.instance_ids[:10].all()
    assert first.instance_ids[10:].tolist() == [0, 0]  # a car without a number; what is no thing
    assert second.instance_ids[::-1].tolist() == first.instance_ids.tolist()


def test_the_largest_numbers_of_things_fit_and_a_larger_one_is_named(tmp_path):
    folder = write_folder(tmp_path)
    path = folder / "labels" / "000000.label"
    np.array([10 | 3639 << 16, 259 | 3639 << 16, 10 | 3638 << 16], np.uint32).tofile(path)
    assert len(set(reader(tmp_path)[0].instance_ids.tolist())) == 3
    np.array([10, 10 | 3640 << 16, 40], np.uint32).tofile(path)
    with pytest.raises(
        ValueError,
        match=(
            "000000.label: expected things numbered up to 3639 within their class, got 3640; "
            "number them anew"
        ),
    ):
        reader(tmp_path)[0]


def test_reading_a_scan_does_not_name_all_others(tmp_path, monkeypatch):
    write_folder(tmp_path, num_scans=5)
    scans, named = reader(tmp_path), []
    monkeypatch.setattr(
        SemanticKitti,
        "_name",
        staticmethod(lambda sequence, path: named.append(path.stem) or path.stem),
    )
    assert scans[3].name == "semantic_kitti/000003" and named == ["000003"]


@pytest.mark.parametrize("scale", [0.5, 0.62, 0.7, 1.5, 2.0])
def test_a_resized_image_is_refused(tmp_path, scale):
    pytest.importorskip("cv2")
    folder = write_folder(tmp_path)
    _write_image(folder / "image_2/000000.png", round(64 * scale), round(48 * scale))
    with pytest.raises(ValueError, match="do not fit the calibration, whose principal point is"):
        reader(tmp_path, images=True)[0]


def test_camera_poses_become_lidar_poses(tmp_path):
    """2 m along the camera's z is 2 m along the LiDAR's x, and the first LiDAR is the world."""
    write_folder(tmp_path)
    first, second = reader(tmp_path)
    np.testing.assert_allclose(first.world_from_lidar, np.eye(4), atol=1e-12)
    np.testing.assert_allclose(second.world_from_lidar[:3, 3], (2, 0, 0), atol=1e-12)


@pytest.mark.parametrize("ending", ["png", "jpg"])
def test_the_image_comes_on_request_in_rgb_with_its_calibration(tmp_path, ending):
    cv2 = pytest.importorskip("cv2")
    folder = write_folder(tmp_path)
    red = np.zeros((48, 64, 3), np.uint8)
    red[:, :, 0] = 255
    cv2.imwrite(str(folder / "image_2" / f"000000.{ending}"), red[:, :, ::-1])
    (view,) = reader(tmp_path, images=True)[0].views
    assert view.image_size == (64, 48)
    np.testing.assert_allclose(view.image.mean(axis=(0, 1)), (255, 0, 0), atol=3)
    # the point (10, 0, -1.7): depth 9.7 and 1.7 below the axis; P2's last column puts it 0.5 m to
    # the left
    pixels, visible = project_points(
        CLOUD[:1, :3], view.intrinsic, view.camera_from_lidar, view.image_size
    )
    assert visible.tolist() == [True]
    np.testing.assert_allclose(pixels[0], (32 - 100 * 0.5 / 9.7, 24 + 100 * 1.7 / 9.7), rtol=1e-5)


def test_scans_are_chosen_by_number_and_labels_and_poses_left_out_on_request(tmp_path):
    folder = write_folder(tmp_path, num_scans=3)
    for name in ("poses.txt", "calib.txt", "times.txt"):
        (folder / name).unlink()
    (folder / "labels" / "000002.label").unlink()
    scans = reader(tmp_path, scans=range(1, 9), labels=False, poses=False)
    assert scans.names == ("semantic_kitti/00/000001", "semantic_kitti/00/000002")
    frame = scans[1]
    assert (
        frame.labels is None
        and frame.instance_ids is None
        and frame.world_from_lidar is None
        and frame.stamp == 0
    )


def test_sequences_may_lie_in_the_root_itself(tmp_path):
    folder = write_folder(tmp_path)
    assert len(SemanticKitti(folder.parent, ["00"], load_class_map("street"))) == 2


def test_pandaset_labels_fold_onto_street_and_have_no_instances(tmp_path):
    folder = write_folder(tmp_path)
    np.array([7, 13, 41], np.uint32).tofile(folder / "labels" / "000000.label")
    street = load_class_map("street")
    frame = SemanticKitti(tmp_path, ["00"], street, dataset="pandaset")[0]
    assert [street.names[label] for label in frame.labels] == ["road", "car", "building"]
    assert frame.instance_ids is None and frame.name == "pandaset/00/000000"


def _cut(path, num_bytes):
    path.write_bytes(path.read_bytes()[:-num_bytes])


def _with_value(path, row, column, value):
    cloud = np.fromfile(path, np.float32).reshape(-1, 4)
    cloud[row, column] = value
    cloud.tofile(path)


def _write_image(path, width, height):
    import cv2

    cv2.imwrite(str(path), np.zeros((height, width, 3), np.uint8))


BROKEN = [  # (what breaks, error, words of its message)
    (lambda f: (f / "labels/000000.label").unlink(), FileNotFoundError, "000000.label: no labels"),
    (
        lambda f: _cut(f / "labels/000000.label", 4),
        ValueError,
        "000000.label: expected 3 labels .* got 2",
    ),
    (
        lambda f: _cut(f / "labels/000000.label", 2),
        ValueError,
        "000000.label: expected 3 labels .* got 2.5",
    ),
    (
        lambda f: np.full(3, 77, np.uint32).tofile(f / "labels/000000.label"),
        ValueError,
        r"000000.label: raw ids \[77\]",
    ),
    (
        lambda f: _cut(f / "velodyne/000000.bin", 5),
        ValueError,
        "000000.bin: expected whole points of 16 bytes",
    ),
    (
        lambda f: _with_value(f / "velodyne/000000.bin", 1, 2, np.nan),
        ValueError,
        "000000.bin: 1 points hold NaN",
    ),
    (
        lambda f: _with_value(f / "velodyne/000000.bin", 1, 3, 200.0),
        ValueError,
        r"000000.bin: expected intensity in \[0, 1\], got 0 to 200",
    ),
    (
        lambda f: (f / "poses.txt").write_text("1 0 0 nan 0 1 0 0 0 0 1 0\n" * 2),
        ValueError,
        "poses.txt, line 1: holds NaN",
    ),
    (
        lambda f: (f / "poses.txt").write_text("1 0 0 0 0 1 0 0 0 0 1\n" * 2),
        ValueError,
        "poses.txt, line 1: expected 12 numbers, got 11",
    ),
    (
        lambda f: (f / "poses.txt").write_text("1 0 0 0 0 1 0 0 0 0 1 x\n" * 2),
        ValueError,
        "poses.txt, line 1: expected 12 numbers",
    ),
    (
        lambda f: (f / "times.txt").write_text("0.0\n"),
        ValueError,
        "times.txt: expected 2 rows, as poses.txt has, got 1",
    ),
    (
        lambda f: (f / "times.txt").write_text("0.0\nnan\n"),
        ValueError,
        "times.txt: expected seconds",
    ),
    (lambda f: (f / "times.txt").unlink(), FileNotFoundError, "times.txt"),
    (
        lambda f: (f / "calib.txt").write_text("P2: " + P2),
        ValueError,
        "calib.txt: no row Tr; found P2",
    ),
    (
        lambda f: (f / "image_2").rmdir(),
        FileNotFoundError,
        "000000.png: no image; expected one for scan 000000",
    ),
    (
        lambda f: _write_image(f / "image_2/000000.png", 32, 24),
        ValueError,
        r"000000.png: 32 x 24 pixels do not fit the calibration.* \(32, 24\)",
    ),
    (
        lambda f: (f / "image_2/000000.png").write_bytes(b"not a picture"),
        ValueError,
        "000000.png: not readable as an image",
    ),
]


@pytest.mark.parametrize("break_it, error, words", BROKEN, ids=[words for _, _, words in BROKEN])
def test_a_broken_file_is_named(tmp_path, break_it, error, words):
    pytest.importorskip("cv2")
    folder = write_folder(tmp_path)
    break_it(folder)
    with pytest.raises(error, match=words):
        reader(tmp_path, images=True)[0]


def test_a_pose_file_that_ends_too_early_is_named(tmp_path):
    folder = write_folder(tmp_path)
    (folder / "poses.txt").write_text("1 0 0 0 0 1 0 0 0 0 1 0\n")
    (folder / "times.txt").write_text("0\n")
    assert reader(tmp_path)[0].stamp == 0
    with pytest.raises(ValueError, match="poses.txt has 1 rows, scan 000001 needs row 2"):
        reader(tmp_path)[1]


def test_a_missing_sequence_names_those_there_are(tmp_path):
    write_folder(tmp_path)
    with pytest.raises(FileNotFoundError, match="no sequence '08' .* found 00"):
        SemanticKitti(tmp_path, ["08"], load_class_map("street"))
    with pytest.raises(ValueError, match="hold no scan with a number in"):
        reader(tmp_path, scans=range(50, 60))


def test_a_scan_with_another_name_is_refused(tmp_path):
    folder = write_folder(tmp_path)
    CLOUD.tofile(folder / "velodyne" / "last.bin")
    with pytest.raises(ValueError, match="last.bin: expected a scan number"):
        reader(tmp_path)


@pytest.mark.parametrize(
    "where, sequence, dataset, first, last",
    [("semantickitti", "00", "semantic_kitti", 0, 4), ("pandaset", "002", "pandaset", 36, 48)],
)
def test_standing_walls_of_real_scans_meet_in_the_world(where, sequence, dataset, first, last):
    if not (DATA / where).is_dir():
        pytest.skip(f"needs {DATA / where}; set CMDFUSION_DATA")
    street = load_class_map("street")
    scans = SemanticKitti(DATA / where, [sequence], street, dataset, scans={first, last})

    def cells(frame, pose):
        walls = apply(pose, frame.points[frame.labels == street.label("building")])
        return set(map(tuple, np.floor(walls / 0.5).astype(int)))

    a, b = scans
    placed = len(cells(a, a.world_from_lidar) & cells(b, b.world_from_lidar)) / len(
        cells(a, a.world_from_lidar)
    )
    backwards = len(
        cells(a, invert(a.world_from_lidar)) & cells(b, invert(b.world_from_lidar))
    ) / len(cells(a, a.world_from_lidar))
    assert placed > 0.4 and placed > 1.5 * backwards


def test_every_real_scan_reads_with_its_image():
    if not (DATA / "semantickitti").is_dir():
        pytest.skip(f"needs {DATA / 'semantickitti'}; set CMDFUSION_DATA")
    sequences = sorted(folder.name for folder in (DATA / "semantickitti" / "sequences").iterdir())
    scans = SemanticKitti(
        DATA / "semantickitti", sequences, load_class_map("semantic_kitti"), images=True
    )
    assert len(scans) == 5 * len(sequences)
    for index in range(0, len(scans), 5):
        frame = scans[index]
        view = frame.views[0]
        _, visible = project_points(
            frame.points, view.intrinsic, view.camera_from_lidar, view.image_size
        )
        assert 0.1 < visible.mean() < 0.25 and len(np.unique(frame.labels)) > 5


def test_neighbours_are_the_scans_of_the_sequence_that_the_set_holds(tmp_path):
    write_folder(tmp_path, num_scans=5)
    scans = reader(tmp_path, scans={0, 1, 2, 4}, images=True)
    assert [frame.name[-1] for frame in scans.neighbours(2, (-1, -2, -3, 1, 2))] == ["1", "0", "4"]
    assert all(
        frame.views == () and frame.world_from_lidar is not None
        for frame in scans.neighbours(2, (-1, -2))
    )
