"""Labelled bags as training data: what `write_frame_bag` wrote comes back, and real recordings
read; what is wrong is named.
"""

import shutil

import numpy as np
import pytest
from builders.messages import make_paired
from builders.paths import DATA

from cmdfusion_ros.class_map import load_class_map
from cmdfusion_ros.config import LiveSettings
from cmdfusion_ros.data.bags.bag import Bag, BagWriter
from cmdfusion_ros.data.bags.frame_bag import labels_path, write_frame_bag
from cmdfusion_ros.data.readers.labelled_bags import LabelledBags
from cmdfusion_ros.frame import CameraView, Frame, Prediction
from cmdfusion_ros.geometry.transforms import rigid
from cmdfusion_ros.labelling.extrinsics import Extrinsics
from cmdfusion_ros.labelling.pipeline import Pipeline
from cmdfusion_ros.labelling.settings import node_settings
from cmdfusion_ros.messages.transforms import TransformBuffer

STREET = load_class_map("street")
START = 1_700_000_000_000_000_000


def reader(bag, **options):
    return LabelledBags(bag.parent, [bag.name], STREET, **{"poses": False, **options})


def test_a_written_bag_comes_back_with_labels_and_cameras(small_bag):
    scans = reader(small_bag, images=True)
    assert len(scans) == 8 and scans.names[1] == f"street/{small_bag.name}/1700000000100000000"
    rng = np.random.default_rng(0)
    points = rng.uniform((-30, -30, -2), (30, 30, 3), (2000, 3)).astype(np.float32)
    image = rng.integers(0, 255, (48, 64, 3)).astype(np.uint8)
    frame = scans[0]
    np.testing.assert_allclose(frame.points, points, atol=1e-5)
    assert (
        frame.labels.shape == (2000,)
        and set(np.unique(frame.labels)) <= set(range(12))
        and frame.intensity.max() <= 1
    )
    assert [view.name for view in frame.views] == ["front", "left"] and frame.frame_id == "lidar"
    np.testing.assert_array_equal(frame.views[0].image, image)
    np.testing.assert_allclose(
        frame.views[0].camera_from_lidar[:3, :3], [[0, -1, 0], [0, 0, -1], [1, 0, 0]], atol=1e-6
    )
    assert frame.views[0].intrinsic[0, 2] == 31.5


def test_scans_are_chosen_by_place_and_neighbours_are_those_held(small_bag):
    scans = reader(small_bag, scans=range(2, 5))
    assert len(scans) == 3 and [
        frame.stamp // 100_000_000 % 10 for frame in scans.neighbours(1, (-1, 1, 2))
    ] == [2, 4]
    assert reader(small_bag, labels=False)[0].labels is None


def test_of_what_was_recorded_at_one_time_each_cloud_keeps_its_labels_and_its_image(tmp_path):
    """A recorder that falls behind writes several messages with one time; what tells them apart
    is their stamp.
    """
    intrinsic, pose = (
        np.array([[40.0, 0, 31.5], [0, 40, 23.5], [0, 0, 1]]),
        rigid(np.array([[0.0, -1, 0], [0, 0, -1], [1, 0, 0]]), np.zeros(3)),
    )
    frames = []
    for place in range(4):
        stamp = 1_700_000_000_000_000_000 + place * 100_000_000
        view = CameraView(
            "front", np.full((48, 64, 3), place, np.uint8), intrinsic, pose, stamp=stamp
        )
        labels = np.full(3, place, np.uint8)
        frames.append(
            Frame(
                np.full((3, 3), 1.0 + place, np.float32),
                np.zeros(3, np.float32),
                stamp,
                "lidar",
                (view,),
                labels,
            )
        )
    write_frame_bag(tmp_path / "on_time", frames, STREET)
    late = frames[2].stamp + 50_000_000
    with Bag(tmp_path / "on_time") as bag, BagWriter(tmp_path / "late") as writer:
        for message in bag.messages():
            time = late if frames[1].stamp < message.time < late else message.time
            writer.write(
                message.topic,
                message.msgtype,
                time,
                message.data,
                message.topic == "/tf_static",
                bag.definition(message.topic),
            )
    shutil.copy(labels_path(tmp_path / "on_time"), labels_path(tmp_path / "late"))
    scans = reader(tmp_path / "late", images=True)
    with Bag(tmp_path / "late") as bag:
        assert [message.time for message in bag.messages(["/lidar/points"])].count(late) == 2
    for place, scan in enumerate(scans):
        assert (scan.stamp, scan.labels[0], scan.points[0, 0]) == (
            frames[place].stamp,
            place,
            1.0 + place,
        )
        assert [view.image[0, 0, 0] for view in scan.views] == [place]


def copied(small_bag, tmp_path, **changes):
    shutil.copytree(small_bag, tmp_path / "bag")
    with np.load(labels_path(small_bag)) as file:
        values = {**dict(file), **changes}
    np.savez_compressed(tmp_path / "bag_labels.npz", **values)
    return tmp_path / "bag"


def test_what_is_wrong_with_a_recording_is_named(small_bag, tmp_path):
    with pytest.raises(FileNotFoundError, match="absent: no such bag"):
        reader(tmp_path / "absent")
    with pytest.raises(
        ValueError, match="labels are raw ids of street, not of pandaset; set dataset to street"
    ):
        reader(small_bag, dataset="pandaset")
    with pytest.raises(ValueError, match="poses are not read from bags"):
        reader(small_bag, poses=True)
    bag = copied(small_bag, tmp_path, **{"000000": np.zeros(7, np.uint16)})
    with pytest.raises(ValueError, match="expected 2000 labels .* got 7"):
        reader(bag)[0]
    stamps = np.load(labels_path(small_bag))["stamps_ns"] + 5
    shutil.rmtree(bag)
    with pytest.raises(ValueError, match="8 of 8 labelled clouds are not in /lidar/points"):
        reader(copied(small_bag, tmp_path, stamps_ns=stamps))
    (tmp_path / "bag_labels.npz").unlink()
    with pytest.raises(FileNotFoundError, match="no labels beside it; expected bag_labels.npz"):
        reader(bag)
    with pytest.raises(ValueError, match="hold no labelled cloud with a place in"):
        reader(small_bag, scans=range(90, 91))


def test_a_real_recording_reads_with_its_six_cameras():
    if not (DATA / "bags" / "pandaset_002").is_dir():
        pytest.skip(f"needs {DATA / 'bags' / 'pandaset_002'}; set CMDFUSION_DATA")
    scans = reader(DATA / "bags" / "pandaset_002", dataset="pandaset", images=True)
    assert len(scans) == 20
    frame = scans[10]
    assert (
        len(frame.views) == 6
        and frame.num_points > 90_000
        and (frame.labels == STREET.label("car")).sum() > 1000
    )


class _Seen:
    """A Segmenter that keeps the frame that the node would show its network."""

    def segment(self, frame):
        self.frame = frame
        return Prediction(
            np.zeros(frame.num_points, np.uint8),
            np.ones(frame.num_points, np.float32),
            np.zeros(frame.num_points, np.uint32),
        )


def test_training_and_the_node_read_the_same_numbers_from_one_message(tmp_path):
    """Floats up to 255 with a few at 400, zero and NaN rows, a padded organised big cloud."""
    rng = np.random.default_rng(3)
    points = rng.uniform(-30, 30, (1000, 3)).astype(np.float32)
    frame = Frame(points, np.zeros(1000, np.float32), START, "lidar", (), np.zeros(1000, np.uint8))
    write_frame_bag(tmp_path / "plain", [frame], STREET)
    values = np.column_stack([points, rng.uniform(0, 255, 1000)]).astype("<f4")
    values[:3, 3], values[5, :3], values[6, 0] = 400, 0, np.nan
    with Bag(tmp_path / "plain") as bag, BagWriter(tmp_path / "odd") as writer:
        for message in bag.messages():
            data = message.data
            if message.topic == "/lidar/points":
                cloud = bag.deserialize(message)
                rows = np.zeros((10, 1616), np.uint8)  # 100 points of 16 bytes and padding
                rows[:, :1600] = values.reshape(10, 400).view(np.uint8)
                cloud.height, cloud.width, cloud.row_step = 10, 100, 1616
                cloud.data = rows.reshape(-1)
                data = writer.serialize(cloud, message.msgtype)
            writer.write(message.topic, message.msgtype, message.time, data)
    shutil.copy(labels_path(tmp_path / "plain"), labels_path(tmp_path / "odd"))

    settings, network = LiveSettings(node_settings({})), _Seen()
    pipeline = Pipeline(
        network, Extrinsics(TransformBuffer(), settings), settings, lambda payload, kind: payload
    )
    with Bag(tmp_path / "odd") as bag:
        message = bag.deserialize(next(bag.messages(["/lidar/points"])))
        labelled = pipeline(make_paired(message, stamp=START))
    pipeline.close()
    trained = reader(tmp_path / "odd")[0]
    keep = np.linalg.norm(trained.points, axis=1) >= settings.current.points.min_range
    assert labelled.cloud.intensity_scale == 255.0 and trained.num_points == 998
    np.testing.assert_array_equal(network.frame.points, trained.points[keep])
    np.testing.assert_array_equal(network.frame.intensity, trained.intensity[keep])
    assert trained.intensity[:3].tolist() == [1.0] * 3
