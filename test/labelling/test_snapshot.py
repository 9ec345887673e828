"""One labelled cloud of a run is drawn with the images that belong to it."""

import json

import cv2
import numpy as np
import pytest

from cmdfusion_ros.class_map import load_class_map
from cmdfusion_ros.data.bags.bag import Bag
from cmdfusion_ros.data.bags.bag_layout import inspect_bag
from cmdfusion_ros.frame import IGNORE_LABEL
from cmdfusion_ros.labelling import offline, snapshot

STAMP = 1_700_000_000_000_000_000


@pytest.fixture
def labelled(small_bag, tmp_path, capsys):
    assert (
        offline.main([str(small_bag), "--out", str(tmp_path / "labelled"), "--backend", "fake"])
        == 0
    )
    (tmp_path / "classes.json").write_text(json.dumps(load_class_map("street").to_dict()))
    capsys.readouterr()
    return tmp_path


def draw(small_bag, folder, stamp):
    words = [
        "--labelled",
        folder / "labelled",
        "--topic",
        offline.LABELLED_TOPIC,
        "--stamp",
        stamp,
        "--class-map",
        folder / "classes.json",
    ]
    return snapshot.main(
        [
            str(word)
            for word in [small_bag, *words, "--out", folder / "picture.png", "--title", "a title"]
        ]
    )


def test_the_picture_of_a_labelled_cloud_is_written(small_bag, labelled):
    assert draw(small_bag, labelled, STAMP + 300_000_000) == 0
    assert cv2.imread(str(labelled / "picture.png")).shape == (1080, 1920, 3)


def test_a_stamp_that_is_not_there_is_said(small_bag, labelled, capsys):
    assert draw(small_bag, labelled, 5) == 1
    assert "no cloud with stamp 5" in json.loads(capsys.readouterr().out)["why"]


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
