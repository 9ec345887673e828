"""Bags that somebody made to cost much, or to be read wrongly: each is small."""

import time
import tracemalloc

import numpy as np
import pytest
from builders.bag_messages import (
    CLOUD,
    IMAGE,
    MS,
    START,
    camera,
    cloud,
    clouds,
    image,
    place,
    rewrite,
    static,
    transform,
    write,
)

from cmdfusion_ros.data.bags.bag import Bag
from cmdfusion_ros.data.bags.bag_layout import inspect_bag
from cmdfusion_ros.data.bags.bag_survey import BagSurvey, chain
from cmdfusion_ros.data.bags.bag_transforms import BagTransforms


def test_cameras_whose_names_are_spelt_alike_are_all_kept(tmp_path):
    messages = [*clouds(), *camera("a_b", 0), *camera("a-b", 0), *place("a_b", "a-b")]
    layout = inspect_bag(write(tmp_path / "bag", messages))
    assert {each.name: each.image_topic for each in layout.cameras} == {
        "a_b": "/a-b/image_raw",
        "a_b_2": "/a_b/image_raw",
    }


@pytest.mark.parametrize("topic", ["/", "", "//", "/\u00e9"])
def test_a_topic_without_a_name_of_ros_costs_no_cloud(tmp_path, topic):
    pictures = [(topic, IMAGE, START + 1, image(START, "front"))]
    layout = inspect_bag(write(tmp_path / "bag", [*clouds(), *pictures]))
    assert layout.num_clouds == 10
    assert [each.name.startswith("camera_") for each in layout.cameras] == [True]
    assert all(each.name.isascii() for each in layout.cameras)


def test_links_are_followed_in_a_time_that_grows_with_their_number():
    step = np.eye(4)
    step[0, 3] = 1.0
    edges = {(f"f{number}", f"f{number + 1}"): step for number in range(3000)}
    begin = time.monotonic()
    found = chain(edges, "f0", "f3000")
    back = chain(edges, "f3000", "f0")
    assert time.monotonic() - begin < 10  # 18 million steps took minutes
    assert found[0, 3] == 3000 and back[0, 3] == -3000
    assert chain(edges, "f0", "nowhere") is None


def test_messages_that_cannot_be_read_are_not_kept(tmp_path):
    large = [
        ("/points", CLOUD, START + number * 10 * MS, cloud(START, points=100_000))
        for number in range(20)
    ]
    path = write(tmp_path / "whole", large)
    # a stamp of no CDR: 24 MB of messages that cannot be read, each an error
    rewrite(path, tmp_path / "bad", lambda number, message: b"\xff" + message.data[1:])
    with Bag(tmp_path / "bad") as bag:
        tracemalloc.start()
        survey = BagSurvey(bag, 60.0)
        kept, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert [note.split(";")[0] for note in survey.notes] == [
        "/points: messages that cannot be read: 20 left out"
    ]
    assert kept < 3_000_000


def test_frames_in_a_circle_cost_the_motion_and_not_the_clouds(tmp_path):
    ring = static(*(transform(*pair, np.eye(4)) for pair in (("lidar", "a"), ("a", "lidar"))))
    with Bag(write(tmp_path / "bag", [*clouds(), *ring])) as bag:
        transforms = BagTransforms(bag, ("/tf_static",), "lidar")
    assert transforms.trajectory is None and transforms.fixed_frame == ""
