"""One labelled cloud of a run is drawn with the images that belong to it."""

import cv2
import numpy as np
import pytest

from cmdfusion_ros.class_map import load_class_map
from cmdfusion_ros.data.bags.bag import Bag
from cmdfusion_ros.data.bags.bag_layout import inspect_bag
from cmdfusion_ros.frame import IGNORE_LABEL
from cmdfusion_ros.labelling import snapshot
from cmdfusion_ros.labelling.offline import LABELLED_TOPIC, label_bag, offline_settings

STAMP = 1_700_000_000_000_000_000


@pytest.fixture
def draw(small_bag, tmp_path):
    """draw(stamp) -> the picture of that cloud."""
    layout = inspect_bag(small_bag)
    settings = offline_settings(layout, backend="fake")
    class_map = label_bag(layout, settings, tmp_path / "labelled", {}, lambda event: None)

    def make(stamp):
        path, labelled = tmp_path / "picture.png", tmp_path / "labelled"
        words = (LABELLED_TOPIC, stamp, class_map, {}, "a title", "")
        snapshot.draw_snapshot(path, layout, labelled, *words)
        return cv2.imread(str(path))

    return make


def test_the_picture_of_a_labelled_cloud_is_written(draw):
    assert draw(STAMP + 300_000_000).shape == (1080, 1920, 3)


def test_a_stamp_that_is_not_there_is_said(draw):
    with pytest.raises(ValueError, match="no cloud with stamp 5"):
        draw(5)


def test_a_camera_without_an_image_for_the_cloud_says_so(small_bag):
    layout, class_map = inspect_bag(small_bag), load_class_map("street")
    points, labels = np.array([[10.0, 0, 0]], np.float32), np.zeros(1, np.uint8)
    silences = layout.silences(["left@0.2"])
    with Bag(small_bag) as bag:
        front, left = snapshot.camera_pictures(
            bag, layout, STAMP + 500_000_000, points, labels, class_map, silences
        )
        assert front.name == "front" and front.caption == "1 points"
        assert left.caption == "no image for this scan"
        early = snapshot.camera_pictures(bag, layout, STAMP, points, labels, class_map, silences)
        assert early[1].caption == "0 points"


def test_published_labels_come_back_and_unknown_ones_are_ignored():
    class_map = load_class_map("semantic_kitti")
    raw = class_map.raw_from_labels(np.arange(class_map.num_classes, dtype=np.uint8))
    assert snapshot.labels_from_published(raw, class_map).tolist() == list(
        range(class_map.num_classes)
    )
    assert (
        snapshot.labels_from_published(np.array([0, 60000], np.uint32), class_map).tolist()
        == [IGNORE_LABEL] * 2
    )
