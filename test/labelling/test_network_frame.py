"""Where the network sees a cloud: a made-up street, moved, turned and scaled, comes back."""

from types import SimpleNamespace

import numpy as np
import pytest
from builders.messages import make_cloud, make_header, make_paired

from cmdfusion_ros.config import LiveSettings
from cmdfusion_ros.data.synthetic.sequence import SequenceSettings, open_sequence
from cmdfusion_ros.frame import Prediction
from cmdfusion_ros.geometry.transforms import apply, quaternion_from_rotation, rigid, yaw_rotation
from cmdfusion_ros.labelling.extrinsics import Extrinsics
from cmdfusion_ros.labelling.network_frame import NetworkFrame
from cmdfusion_ros.labelling.pipeline import Pipeline
from cmdfusion_ros.labelling.settings import node_settings
from cmdfusion_ros.messages.transforms import TransformBuffer

UPSIDE_DOWN = rigid(np.diag([1.0, -1.0, -1.0]), np.zeros(3))
STREET_HEIGHT = 1.8


def street(height=STREET_HEIGHT, seed=0):
    """(N, 3) of 48 beams that turn `height` over a road between two walls 9 m away."""
    random, rings = np.random.default_rng(seed), []
    azimuth = np.radians(np.arange(0, 360, 0.7))
    for elevation in np.radians(np.linspace(-25, 5, 48)):
        wall = 9 / np.maximum(np.abs(np.sin(azimuth) * np.cos(elevation)), 1e-6)
        distance = np.minimum(height / np.sin(-elevation) if elevation < 0 else 60.0, wall)
        ahead = np.cos(elevation) * distance
        ring = np.c_[ahead * np.cos(azimuth), ahead * np.sin(azimuth), distance * np.sin(elevation)]
        rings.append(ring[distance < 59])
    points = np.concatenate(rings)
    return points + random.normal(0, 0.01, points.shape)


def test_beams_that_clearly_begin_elsewhere_overrule_a_place_that_is_a_little_sharp():
    """A cloud whose origin is on the ground was once taken for a LiDAR on the floor, as by chance
    the beams are 1.03 times as sharp there as beside it, and 1.9 times where they begin.
    """
    scan = open_sequence(1, "00", 1, SequenceSettings(rig="nuscenes", weather="day")).scan(0)
    frame = NetworkFrame(TransformBuffer())
    frame.take(scan.points + np.float32([0, 0, 1.84]), "lidar", 0)
    assert frame.placement.found_height == pytest.approx(1.82, abs=0.1)
    assert "its origin is no sensor's" in frame.placement.words


def leaves():
    """(N, 3) all about the sensor, no plane among them."""
    points = np.random.default_rng(0).normal(0, 6, (8000, 3))
    return points[np.linalg.norm(points, axis=1) > 1]


def turned(axis, degrees):
    """(3, 3) about x, y or z."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    first, second = [i for i in range(3) if i != axis]
    rotation = np.eye(3)
    rotation[first, first] = rotation[second, second] = c
    rotation[first, second], rotation[second, first] = -s, s
    return rotation


def buffer_of(links):
    """TransformBuffer of fixed [(parent, child, parent_from_child)]."""
    buffer = TransformBuffer()
    items = []
    for parent, child, matrix in links:
        x, y, z = matrix[:3, 3]
        turn = dict(zip("xyzw", quaternion_from_rotation(matrix[:3, :3]), strict=True))
        transform = SimpleNamespace(
            translation=SimpleNamespace(x=x, y=y, z=z), rotation=SimpleNamespace(**turn)
        )
        items.append(
            SimpleNamespace(
                header=make_header(0, parent), child_frame_id=child, transform=transform
            )
        )
    buffer.add(SimpleNamespace(transforms=items), static=True)
    return buffer


def seen(points, frame_id="lidar", links=()):
    """(what the network sees (N, 3), Placement) of a cloud."""
    frame = NetworkFrame(buffer_of(links))
    frame.take(points.astype(np.float32), frame_id, 1)
    matrix = frame.network_from_cloud(points, 1)
    return apply(matrix, points * frame.placement.scale), frame.placement


def ground_of(points):
    """Median height of the points that the street has on its road."""
    return np.median(points[street()[:, 2] < -STREET_HEIGHT + 0.1, 2])


def test_a_cloud_in_the_sensors_frame_stays_as_it_came():
    points, placement = seen(street())
    assert placement.sure and not placement.changes and placement.unit == "metres"
    assert placement.height == pytest.approx(1.8, abs=0.02) and "upright" in placement.words
    np.testing.assert_array_equal(points, street())


@pytest.mark.parametrize(
    ("move", "frame_id", "links"),
    [
        (rigid(np.eye(3), (0, 0, 1.8)), "base_link", [("base_link", "lidar", (0, 0, 1.8))]),
        (rigid(np.eye(3), (0, 0, 1.8)), "base_link", []),
        (rigid(np.eye(3), (0, 0, 1.0)), "lidar", [("base_link", "lidar", (0, 0, 0))]),
        (rigid(np.eye(3), (300, -120, 4)), "odom", [("odom", "lidar", (300, -120, 4))]),
        (rigid(np.eye(3), (300, -120, 4)), "odom", []),
        (UPSIDE_DOWN, "lidar", []),
        (rigid(np.diag([-1.0, 1.0, -1.0]), np.zeros(3)), "lidar", []),
        (rigid(turned(0, 90), np.zeros(3)), "lidar", []),
        (rigid(turned(1, 90), np.zeros(3)), "lidar", []),
        (rigid(turned(1, 25), np.zeros(3)), "lidar", []),
    ],
    ids=str,
)
def test_a_moved_cloud_is_brought_back(move, frame_id, links):
    links = [(parent, child, rigid(np.eye(3), shift)) for parent, child, shift in links]
    points, placement = seen(apply(move, street()), frame_id, links)
    assert placement.sure and placement.changes
    assert ground_of(points) == pytest.approx(-1.8, abs=0.12)
    distance = np.linalg.norm(points[:, :2], axis=1) - np.linalg.norm(street()[:, :2], axis=1)
    assert np.abs(np.median(distance)) < 0.3  # however it is turned about the vertical


@pytest.mark.parametrize(("height", "shown"), [(4.0, 3.5), (0.32, 0.4), (1.8, 1.8)])
def test_a_height_that_the_networks_do_not_know_is_brought_to_the_nearest_they_do(height, shown):
    cloud = street(height)
    points, placement = seen(cloud)
    assert placement.sure and placement.found_height == pytest.approx(height, abs=0.05)
    assert placement.height == pytest.approx(shown, abs=0.05)
    road = cloud[:, 2] < -height + 0.1
    assert np.median(points[road, 2]) == pytest.approx(-shown, abs=0.05)


@pytest.mark.parametrize(("unit", "scale"), [("millimetres", 1000.0), ("centimetres", 100.0)])
def test_the_unit_is_found(unit, scale):
    points, placement = seen(street() * scale)
    assert placement.unit == unit and unit in placement.words
    np.testing.assert_allclose(points, street(), atol=1e-6)


def test_a_turn_about_the_vertical_changes_nothing():
    _, placement = seen(street() @ yaw_rotation(1.0).T)
    assert not placement.changes


def test_a_camber_of_two_degrees_is_left_alone():
    _, placement = seen(street() @ turned(0, 2).T)
    assert placement.tilt_deg == pytest.approx(2.0, abs=0.2) and not placement.changes


def test_without_ground_the_cloud_stays_as_it_came():
    _, placement = seen(leaves())
    assert not placement.sure and "no ground" in placement.words


def test_without_ground_transforms_say_that_it_hangs_upside_down():
    points, placement = seen(leaves(), "lidar", [("base_link", "lidar", UPSIDE_DOWN)])
    assert "upside down" in placement.words
    np.testing.assert_allclose(points, leaves() * (1, -1, -1), atol=1e-9)


def test_what_was_found_is_kept():
    frame = NetworkFrame(TransformBuffer())
    frame.take(apply(UPSIDE_DOWN, street()), "lidar", 1)
    first = frame.placement
    frame.take(street()[:300], "lidar", 2)  # nothing to see in it
    frame.take(street(), "lidar", 3)
    assert frame.placement is first


def test_an_unsure_first_scan_does_not_decide():
    frame = NetworkFrame(TransformBuffer())
    frame.take(street()[:100], "lidar", 1)
    frame.take(apply(UPSIDE_DOWN, street()), "lidar", 2)
    assert "upside down" in frame.placement.words


class Labeller:
    """Gives label 1 to what lies on the ground as the network sees it."""

    def segment(self, frame):
        labels = (frame.points[:, 2] < -1.5).astype(np.uint8)
        return Prediction(
            labels, np.ones(len(labels), np.float32), np.zeros(len(labels), np.uint32)
        )


def labelled_by(points, **settings):
    settings = LiveSettings(
        node_settings({name.replace("__", "."): v for name, v in settings.items()})
    )
    pipeline = Pipeline(
        Labeller(), Extrinsics(TransformBuffer(), settings), settings, lambda payload, kind: payload
    )
    labelled = pipeline(make_paired(make_cloud(points)))
    pipeline.close()
    return labelled


def test_labels_go_back_onto_the_cloud_as_it_came():
    plain = labelled_by(street())
    moved = labelled_by(apply(UPSIDE_DOWN, street()) * 1000.0)
    assert moved.rows.all() and moved.placement.unit == "millimetres"
    np.testing.assert_array_equal(moved.prediction.labels, plain.prediction.labels)
    np.testing.assert_allclose(moved.cloud_from_network[:3, :3], UPSIDE_DOWN[:3, :3], atol=1e-9)


def test_leveling_can_be_switched_off():
    labelled = labelled_by(apply(UPSIDE_DOWN, street()), points__leveling="off")
    assert labelled.placement is None and labelled.cloud_from_network is None
    np.testing.assert_allclose(labelled.frame.points, apply(UPSIDE_DOWN, street()), atol=1e-5)
