"""`cmdfusion label --rrd`: what Rerun's own reader finds in the recording."""

import dataclasses
import sys

import cv2
import numpy as np
import pytest
from builders.commands import cmdfusion
from builders.drives import LOOKS_AHEAD, SPEED, START, STEP, STREET, lane_frames

from cmdfusion_ros.data.bags.bag import read_labelled_clouds
from cmdfusion_ros.data.bags.frame_bag import write_frame_bag
from cmdfusion_ros.frame import CameraView, Distortion
from cmdfusion_ros.geometry.projection import project_points
from cmdfusion_ros.geometry.transforms import invert, rigid
from cmdfusion_ros.labelling.offline import LABELLED_TOPIC

LENS = Distortion("plumb_bob", (-0.3, 0.08, 0.0, 0.0, 0.0))
K = np.array([[90.0, 0, 63.5], [0, 90.0, 47.5], [0, 0, 1]])
DOT = np.array([[6.0, 2.5, 1.6]])  # metres from the LiDAR, near a corner of the picture
LATE = 30_000_000  # ns from the cloud to the picture of the camera `wide`


def bent_view(place):
    """A black picture through a lens, with a white dot where the lens shows `DOT`."""
    (pixel,), _ = project_points(DOT, K, LOOKS_AHEAD, (128, 96), LENS)
    image = np.zeros((96, 128, 3), np.uint8)
    u, v = np.round(pixel).astype(int)
    image[v - 1 : v + 2, u - 1 : u + 2] = 255
    return CameraView("wide", image, K, LOOKS_AHEAD, LENS, stamp=START + place * STEP + LATE)


@pytest.fixture(scope="module")
def lane(tmp_path_factory):
    frames = [
        dataclasses.replace(frame, views=(*frame.views, bent_view(place)))
        for place, frame in enumerate(lane_frames(4))
    ]
    path = tmp_path_factory.mktemp("drive") / "lane"
    write_frame_bag(path, frames, STREET)
    return path


@pytest.fixture(scope="module")
def recording(lane, tmp_path_factory):
    """(the bag of labels, {entity: {component: {stamp, or None: value}}}) of a run."""
    chunk = pytest.importorskip(
        "rerun.chunk", reason="needs Rerun: pip install 'cmdfusion_ros[rerun]'"
    )
    out = tmp_path_factory.mktemp("made")
    words = ("--out", out / "labelled", "--rrd", out / "lane.rrd")
    assert cmdfusion("label", lane, *words, "--device", "cpu") == 0
    reader, found = chunk.RrdReader(out / "lane.rrd"), {}
    (entry,) = reader.recordings()
    assert entry.application_id == "cmdfusion" and entry.recording_id == "lane"
    for part in reader.stream():
        batch = part.to_record_batch()
        times = [None] * batch.num_rows
        if not part.is_static:
            times = batch.column("stamp").cast("int64").to_pylist()
        for name in batch.schema.names:
            if ":" in name:
                rows = dict(zip(times, batch.column(name).to_pylist(), strict=True))
                found.setdefault(str(part.entity_path), {}).setdefault(name, {}).update(rows)
    return out / "labelled", found


def pose_of(component, stamp):
    """(4, 4) of a Transform3D; Rerun keeps matrices by columns."""
    turn = np.reshape(component["Transform3D:mat3x3"][stamp][0], (3, 3)).T
    return rigid(turn.astype(np.float64), component["Transform3D:translation"][stamp][0])


def pose_at(stamp):
    return rigid(np.eye(3), (SPEED * (stamp - START) / 1e9, 0, 0))


def test_every_cloud_is_there_with_its_ids_at_its_stamp_and_place(recording):
    labelled, found = recording
    points, lidar = found["/world/lidar/points"], found["/world/lidar"]
    published = dict(read_labelled_clouds(labelled, LABELLED_TOPIC))
    assert sorted(points["Points3D:positions"]) == sorted(published) and len(published) == 4
    for stamp, columns in published.items():
        sent = np.stack([columns[axis] for axis in "xyz"], axis=1)
        np.testing.assert_array_equal(points["Points3D:positions"][stamp], sent)
        assert points["Points3D:class_ids"][stamp] == columns["label"].tolist()
        np.testing.assert_allclose(pose_of(lidar, stamp), pose_at(stamp), atol=1e-5)


def test_every_class_has_its_name_and_colour(recording):
    (context,) = recording[1]["/world"]["AnnotationContext:context"][None]
    told = {each["class_id"]: each["class_description"]["info"] for each in context}
    for each in STREET.classes:
        red, green, blue = each.color
        assert told[each.raw]["label"] == each.name
        assert told[each.raw]["color"] == (red << 24) + (green << 16) + (blue << 8) + 255
    assert told[STREET.ignore_raw]["label"] == "unlabelled"


def test_cameras_stand_where_they_were_at_the_time_of_each_picture(recording):
    for name, late in (("front", 0), ("wide", LATE)):
        camera = recording[1][f"/world/cameras/{name}"]
        stamps = [START + place * STEP + late for place in range(4)]
        assert sorted(camera["EncodedImage:blob"]) == stamps
        for stamp in stamps:
            expected = pose_at(stamp) @ invert(LOOKS_AHEAD)
            np.testing.assert_allclose(pose_of(camera, stamp), expected, atol=1e-5)
        assert camera["Pinhole:resolution"][None] == [[128, 96]]
    matrix = recording[1]["/world/cameras/wide"]["Pinhole:image_from_camera"][None]
    np.testing.assert_allclose(np.reshape(matrix, (3, 3)).T, K)


def test_a_picture_through_a_lens_is_made_straight_for_the_pinhole(recording):
    camera = recording[1]["/world/cameras/wide"]
    (blob,) = camera["EncodedImage:blob"][START + LATE]
    assert camera["EncodedImage:media_type"][START + LATE] == ["image/jpeg"]
    image = cv2.imdecode(np.array(blob, np.uint8), cv2.IMREAD_GRAYSCALE).astype(float)
    image[image < 60] = 0
    seen = [(np.indices(image.shape)[axis] * image).sum() / image.sum() for axis in (1, 0)]
    (straight,), _ = project_points(DOT, K, LOOKS_AHEAD, (128, 96))
    (bent,), _ = project_points(DOT, K, LOOKS_AHEAD, (128, 96), LENS)
    assert np.abs(straight - bent).max() > 2  # pixels that the lens bends it by
    np.testing.assert_allclose(seen, straight, atol=0.75)


def test_the_first_camera_shows_what_was_recorded(recording):
    (blob,) = recording[1]["/world/cameras/front"]["EncodedImage:blob"][START]
    image = cv2.imdecode(np.array(blob, np.uint8), cv2.IMREAD_COLOR)[:, :, ::-1]
    assert (image[:40, :, 1] > 200).all() and (image[56:, :, 0] > 200).all()  # green over red


def test_without_rerun_the_extra_is_named_before_the_labelling(lane, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "rerun", None)
    words = ("--out", tmp_path / "out", "--rrd", tmp_path / "lane.rrd", "--backend", "fake")
    assert cmdfusion("label", lane, *words) == 2
    assert "pip install 'cmdfusion_ros[rerun]'" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
