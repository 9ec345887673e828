"""Which pictures of a bag are fused with which calibration, and why others are not."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from builders.bag_messages import (
    CLOUD,
    COMPRESSED,
    IMAGE,
    INFO,
    MS,
    START,
    camera,
    cloud,
    clouds,
    header,
    image,
    info,
    make,
    place,
    write,
)

from cmdfusion_ros.data.bags.bag import BagTopic
from cmdfusion_ros.data.bags.bag_layout import foreign_notes, inspect_bag
from cmdfusion_ros.data.bags.cameras_of_bag import (
    RESERVED,
    clock_problem,
    holds_depth,
    is_rectified,
)
from cmdfusion_ros.labelling.settings import FOREIGN, node_parameters


def topic(name, msgtype, make_message, number=10):
    return [
        (name, msgtype, START + i * 100 * MS, make_message(START + i * 100 * MS))
        for i in range(number)
    ]


def only_camera(path, messages):
    (found,) = inspect_bag(write(path, messages)).cameras
    return found


def packed(extension, format, size=2, kind=np.uint8):
    data = cv2.imencode(extension, np.zeros((size, size), kind))[1].reshape(-1)
    return lambda stamp: make(COMPRESSED, header(stamp, "front_optical"), format, data)


@pytest.mark.parametrize(
    ("name", "format"),
    [
        ("/d/depth/compressed", "16UC1; png compressed "),
        ("/d/packed", "16UC1; compressedDepth png"),
        ("/d/far/compressed", "32FC1; compressedDepth png"),
        ("/d/image/compressedDepth", "png"),
    ],
)
def test_distances_are_no_picture(tmp_path, name, format):
    message = packed(".png", format, kind=np.uint16)
    layout = inspect_bag(write(tmp_path / "bag", clouds() + topic(name, COMPRESSED, message)))
    assert not layout.cameras and f"{name} holds depth, not a picture" in layout.table()
    assert holds_depth(name, message(START))


def test_a_picture_is_not_taken_for_depth():
    assert not holds_depth("/depth_camera/image_raw", image(START, "front_optical"))


def test_of_two_calibrations_beside_an_image_the_one_with_its_frame_is_taken(tmp_path):
    messages = clouds() + place("left", "right")
    for side, focal in (("left", 100.0), ("right", 220.0)):
        frame = f"{side}_optical"
        messages += topic(f"/stereo/{side}_image", IMAGE, lambda s, f=frame: image(s, f))
        messages += topic(
            f"/stereo/{side}_camera_info", INFO, lambda s, f=frame, k=focal: info(s, f, k)
        )
    found = inspect_bag(write(tmp_path / "bag", messages)).cameras
    assert [(c.info_topic, c.info.k[0]) for c in found] == [
        ("/stereo/left_camera_info", 100.0),
        ("/stereo/right_camera_info", 220.0),
    ]


def test_a_raw_image_takes_the_raw_calibration(tmp_path):
    messages = clouds() + place("front")
    messages += topic("/zed/image_raw_color", IMAGE, lambda s: image(s, "front_optical"))
    for name in ("camera_info", "camera_info_raw"):
        messages += topic(f"/zed/{name}", INFO, lambda s: info(s, "front_optical"))
    assert only_camera(tmp_path / "bag", messages).info_topic == "/zed/camera_info_raw"


def test_rectified_topics_are_known_by_their_names():
    assert is_rectified("/cam/image_rect_color/compressed") and is_rectified("/cam/image_rect")
    assert not is_rectified("/cam/image_raw") and not is_rectified("/rectory/image")


def test_a_calibration_of_another_size_is_refused_with_both_sizes(tmp_path):
    messages = clouds() + place("front") + camera("front", 0, binning=2)
    found = only_camera(tmp_path / "bag", messages)
    assert found.problems == (
        "calibrated for (1, 2), its images are (2, 2); is this the right CameraInfo?",
    )


def test_a_stream_that_cannot_be_decoded_says_so(tmp_path):
    video = np.frombuffer(b"\0\0\0\1\x67" + b"12345" * 9, np.uint8)
    messages = (
        clouds()
        + place("front")
        + topic("/front/camera_info", INFO, lambda s: info(s, "front_optical"))
    )
    messages += topic(
        "/front/image_raw/compressed",
        COMPRESSED,
        lambda s: make(COMPRESSED, header(s, "front_optical"), "h264", video),
    )
    (problem,) = only_camera(tmp_path / "bag", messages).problems
    assert "h264" in problem and "cannot be decoded" in problem


def test_two_clocks_are_named_with_their_distance():
    images, clouds_ = np.array([5000, 5001]) * 10**9, np.array([100, 101]) * 10**9
    assert "4899 s" in clock_problem(images, clouds_) and "not synchronised" in clock_problem(
        clouds_, images
    )
    assert clock_problem(images, images + 5 * 10**8) == "" == clock_problem(images, clouds_[:0])


@pytest.mark.parametrize("name", ["output", "filter", "model"])
def test_a_camera_never_has_the_name_of_a_group_of_parameters(tmp_path, name):
    layout = inspect_bag(write(tmp_path / "bag", clouds() + camera(name, 0) + place(name)))
    assert [c.name for c in layout.cameras] == [f"{name}_camera"]


def test_the_reserved_names_are_those_of_the_node():
    groups = {parameter.name.split(".")[0] for parameter in node_parameters()}
    assert groups | set(FOREIGN) == RESERVED


def late(messages, by):
    return [(name, kind, time + by, message) for name, kind, time, message in messages]


def test_what_comes_after_the_first_minute_is_found(tmp_path):
    far = 70_000 * MS
    note = [("/clock_starts", INFO, START, info(START, ""))]
    messages = note + late(clouds() + camera("front", 0), far)
    messages += late(place("front"), 2 * far)
    layout = inspect_bag(write(tmp_path / "bag", messages))
    assert layout.num_clouds == 10 and [c.problems for c in layout.cameras] == [()]


def test_a_first_message_at_time_zero_hides_nothing(tmp_path):
    messages = [("/note", INFO, 0, info(START, ""))] + clouds()
    layout = inspect_bag(write(tmp_path / "bag", messages))
    assert layout.num_clouds == 10 and 0 <= layout.start - START < 100 * MS


@pytest.mark.parametrize("stamp", [0, START])
def test_clouds_without_stamps_of_their_own_are_told_apart_by_their_recording(tmp_path, stamp):
    messages = topic("/points", CLOUD, lambda _: cloud(stamp))
    layout = inspect_bag(write(tmp_path / "bag", messages))
    assert not layout.stamped and layout.cloud_period_ns == 100 * MS
    assert "the stamps of /points do not change, or are 0" in layout.table()


@pytest.mark.parametrize(
    ("msgtype", "remedy"),
    [
        ("livox_ros_driver2/msg/CustomMsg", "xfer_format"),
        ("velodyne_msgs/msg/VelodyneScan", "velodyne_pointcloud"),
        ("ouster_sensor_msgs/msg/PacketMsg", "ouster_ros"),
        ("point_cloud_interfaces/msg/CompressedPointCloud2", "point_cloud_transport"),
        ("ffmpeg_image_transport_msgs/msg/FFMPEGPacket", "ffmpeg_image_transport"),
    ],
)
def test_a_foreign_type_is_named_with_what_helps(msgtype, remedy):
    bag = SimpleNamespace(topics={"/stream": BagTopic(msgtype, 5)})
    (note,) = foreign_notes(bag)
    assert note.startswith(f"/stream is a {msgtype}") and remedy in note


def test_images_whose_stamps_do_not_change_are_named_as_the_reason(tmp_path):
    stuck = [
        (name, kind, time, image(START, "front_optical") if kind == IMAGE else message)
        for name, kind, time, message in camera("front", 0)
    ]
    layout = inspect_bag(write(tmp_path / "bag", clouds() + stuck + place("front")))
    (problem,) = layout.cameras[0].problems
    assert "the stamps of its images do not change" in problem
    assert "front.stamp_source: arrival" in problem
