"""On the real drive: however a cloud is moved, turned or scaled, its labels are as good."""

from types import SimpleNamespace

import numpy as np
import pytest
from builders.messages import make_cloud, make_header, make_paired
from builders.paths import DATA

from cmdfusion_ros.config import LiveSettings
from cmdfusion_ros.data.bags.bag import Bag
from cmdfusion_ros.data.bags.frame_bag import read_bag_labels
from cmdfusion_ros.evaluation.metrics import ConfusionMatrix
from cmdfusion_ros.geometry.transforms import quaternion_from_rotation, rigid, yaw_rotation
from cmdfusion_ros.inference import Segmenter, default_checkpoint_path
from cmdfusion_ros.labelling.extrinsics import Extrinsics
from cmdfusion_ros.labelling.pipeline import Pipeline
from cmdfusion_ros.labelling.settings import node_settings
from cmdfusion_ros.messages.clouds import read_columns
from cmdfusion_ros.messages.stamps import raw_stamp_ns
from cmdfusion_ros.messages.transforms import TransformBuffer

BAG = DATA / "bags" / "pandaset_002"
pytestmark = pytest.mark.skipif(not BAG.exists(), reason="needs ../shared/data (see its README)")
UPSIDE_DOWN = rigid(np.diag([1.0, -1.0, -1.0]), np.zeros(3))


def variants():
    """{name: (points (N, 3) -> points, frame_id, [(parent, child, parent_from_child)])}."""
    quarter = yaw_rotation(np.pi / 2)
    up = rigid(np.eye(3), np.array([0.0, 0.0, 1.8]))
    away = rigid(np.eye(3), np.array([300.0, -120.0, 0.0]))
    mount = np.eye(4)
    return {
        "as recorded": (lambda p: p, "lidar", []),
        "raised, lidar by tf": (lambda p: p + up[:3, 3], "base_link", [("base_link", "lidar", up)]),
        "raised, tf is wrong": (lambda p: p + up[:3, 3], "lidar", [("base_link", "lidar", mount)]),
        "raised, no tf": (lambda p: p + up[:3, 3], "points", []),
        "upside down": (lambda p: p * (1, -1, -1), "lidar", []),
        "upside down by tf": (
            lambda p: p * (1, -1, -1),
            "lidar",
            [("base_link", "lidar", UPSIDE_DOWN)],
        ),
        "moved 300 m by tf": (lambda p: p + away[:3, 3], "odom", [("odom", "lidar", away)]),
        "moved 300 m, no tf": (lambda p: p + away[:3, 3], "odom", []),
        "turned 90 degrees": (lambda p: p @ quarter.T, "lidar", []),
        "millimetres": (lambda p: p * 1000.0, "lidar", []),
        "centimetres": (lambda p: p * 100.0, "lidar", []),
    }


@pytest.fixture(scope="module")
def segmenter():
    return Segmenter(default_checkpoint_path(), images="off")


@pytest.fixture(scope="module")
def scans(segmenter):
    """Three scans of the drive: (message, its labels)."""
    truth = read_bag_labels(BAG)
    with Bag(BAG) as bag:
        messages = list(bag.messages(["/lidar/points"]))[1::8]
        return [
            (
                bag.deserialize(message),
                segmenter.class_map.labels_from_raw(
                    truth.raw[raw_stamp_ns(message.data)], truth.dataset, "drive"
                ),
            )
            for message in messages
        ]


@pytest.fixture(scope="module")
def miou(segmenter, scans):
    """miou(move, frame_id, links, scale) -> mIoU and accuracy in % of the labels that come back,
    and the words of the placement.
    """

    def score(move, frame_id, links, intensity=1.0):
        buffer = TransformBuffer()
        buffer.add(make_links(links), static=True)
        settings = LiveSettings(node_settings({}))
        pipeline = Pipeline(
            segmenter, Extrinsics(buffer, settings), settings, lambda payload, kind: payload
        )
        matrix, words = ConfusionMatrix(segmenter.class_map.num_classes), set()
        for message, labels in scans:
            labelled = pipeline(make_paired(moved(message, move, frame_id, intensity)))
            found = np.full(len(labels), 0, np.uint8)
            found[labelled.rows] = labelled.prediction.labels
            matrix.add(labels[labelled.rows], found[labelled.rows])
            words.add(labelled.placement.words)
            assert labelled.rows.mean() > 0.97  # the rest is the vehicle itself
        pipeline.close()
        assert len(words) == 1, "the placement flips between scans"
        return 100 * matrix.miou, 100 * matrix.accuracy, words.pop()

    return score


def moved(message, move, frame_id, intensity):
    """A copy of the PointCloud2 with its points moved and its intensities scaled."""
    columns = read_columns(message)
    points = np.stack([columns[axis] for axis in "xyz"], axis=1)
    return make_cloud(
        move(points), frame_id=frame_id, intensity=columns["intensity"] * np.float32(intensity)
    )


def make_links(links):
    return SimpleNamespace(transforms=[make_link(*link) for link in links])


def make_link(parent, child, parent_from_child):
    x, y, z = parent_from_child[:3, 3]
    turn = quaternion_from_rotation(parent_from_child[:3, :3])
    return SimpleNamespace(
        header=make_header(0, parent),
        child_frame_id=child,
        transform=SimpleNamespace(
            translation=SimpleNamespace(x=x, y=y, z=z),
            rotation=SimpleNamespace(**dict(zip("xyzw", turn, strict=True))),
        ),
    )


def test_a_moved_cloud_is_labelled_as_well_as_the_recorded_one(miou):
    recorded, right, _ = miou(*variants()["as recorded"])
    scores = {name: miou(*variant) for name, variant in variants().items()}
    for factor in (0.1, 100.0, 255.0):
        scores[f"intensity times {factor}"] = miou(*variants()["as recorded"], factor)
    table = "\n".join(
        f"{name:24} {score:5.1f} {accuracy:5.1f}  {words}"
        for name, (score, accuracy, words) in scores.items()
    )
    print(f"\n{table}")
    # No heading is wrong, so none is undone: what a turn costs is the network's own, in classes of
    # few points (decisions, 2026-11-26).
    turned = scores.pop("turned 90 degrees")
    assert turned[0] > recorded - 4.0 and turned[1] > right - 0.5, table
    assert all(score > recorded - 2.0 for score, _, _ in scores.values()), table
    assert all(accuracy > right - 0.5 for _, accuracy, _ in scores.values()), table
