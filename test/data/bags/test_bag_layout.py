"""A bag is understood without being told its topics: cloud, cameras, lenses, places and clocks;
and what is missing is said.
"""

import numpy as np
import pytest
from builders.bag_messages import (
    CLOUD,
    COMPRESSED,
    IMAGE,
    INFO,
    MS,
    OPTICAL_FROM_LIDAR,
    START,
    TRANSFORMS,
    camera,
    clouds,
    header,
    image,
    make,
    place,
    rewrite,
    static,
    transform,
    write,
)
from rosbags.rosbag1 import Writer as Writer1
from rosbags.typesys import Stores, get_typestore

from cmdfusion_ros.data.bags.bag import Bag, ros2_types
from cmdfusion_ros.data.bags.bag_layout import inspect_bag
from cmdfusion_ros.geometry.transforms import invert, rigid, yaw_rotation


def test_a_camera_gets_its_calibration_extrinsic_offset_and_lag(tmp_path):
    layout = inspect_bag(
        write(tmp_path / "bag", clouds() + camera("front", -20 * MS) + place("front"))
    )
    assert (layout.cloud_topic, layout.cloud_frame, layout.num_clouds, layout.num_points) == (
        "/lidar/points",
        "lidar",
        10,
        4,
    )
    assert layout.cloud_period_ns == 100 * MS and layout.delay_ns == 30 * MS and layout.notes == ()
    (front,) = layout.usable_cameras
    assert (front.name, front.image_topic, front.info_topic, front.frame_id, front.compressed) == (
        "front",
        "/front/image_raw",
        "/front/camera_info",
        "front_optical",
        False,
    )
    np.testing.assert_allclose(front.camera_from_lidar, OPTICAL_FROM_LIDAR, atol=1e-12)
    assert front.info.k[0] == 100 and front.timing.period == 100 * MS
    assert front.timing.offset == pytest.approx(
        -20 * MS, abs=10
    ) and front.timing.tolerance == pytest.approx(20 * MS, rel=1e-3)
    # stamped 20 ms before the cloud, 40 ms on its way instead of 30
    assert front.timing.lag == -10 * MS


def test_an_offset_near_half_a_period_means_the_image_before_the_cloud(tmp_path):
    # so that the nearest image is now before, now after
    jitter = np.array([0, 3, -3, 2, -2, 1, -1, 3, -3, 0]) * MS
    layout = inspect_bag(
        write(
            tmp_path / "bag", clouds() + camera("front", -50 * MS, jitter=jitter) + place("front")
        )
    )
    assert layout.cameras[0].timing.offset == pytest.approx(-50 * MS, abs=MS)


def test_a_free_running_camera_takes_any_image_within_half_a_period(tmp_path):
    layout = inspect_bag(
        write(
            tmp_path / "bag",
            clouds(40) + camera("front", 0, count=60, period=71 * MS) + place("front"),
        )
    )
    assert layout.cameras[0].timing.offset == 0 and layout.cameras[
        0
    ].timing.tolerance == pytest.approx(0.55 * 71 * MS)


def test_a_camera_three_times_as_fast_as_the_lidar_is_locked_to_it(tmp_path):
    layout = inspect_bag(
        write(
            tmp_path / "bag",
            clouds() + camera("front", 8 * MS, count=30, period=33_333_333) + place("front"),
        )
    )
    assert layout.cameras[0].timing.offset == pytest.approx(8 * MS, abs=MS)


def test_extrinsics_go_through_links_in_either_direction(tmp_path):
    base_from_lidar = rigid(yaw_rotation(0.3), (1.0, 0.0, 1.8))
    base_from_camera = base_from_lidar @ invert(OPTICAL_FROM_LIDAR)
    links = static(
        transform("base_link", "lidar", base_from_lidar),
        transform("base_link", "front_optical", base_from_camera),
    )
    layout = inspect_bag(write(tmp_path / "bag", clouds() + camera("front", 0) + links))
    np.testing.assert_allclose(layout.cameras[0].camera_from_lidar, OPTICAL_FROM_LIDAR, atol=1e-9)


def test_transforms_that_tf_repeats_unchanged_count_as_static_and_moving_ones_do_not(tmp_path):
    still = [
        (
            "/tf",
            TRANSFORMS,
            START + i * 50 * MS,
            make(TRANSFORMS, [transform("lidar", "front_optical", invert(OPTICAL_FROM_LIDAR))]),
        )
        for i in range(5)
    ]
    moving = [
        (
            "/tf",
            TRANSFORMS,
            START + i * 50 * MS + 1,
            make(TRANSFORMS, [transform("lidar", "left_optical", rigid(np.eye(3), (i, 0, 0)))]),
        )
        for i in range(5)
    ]
    layout = inspect_bag(
        write(tmp_path / "bag", clouds() + camera("front", 0) + camera("left", 0) + still + moving)
    )
    assert [camera.name for camera in layout.usable_cameras] == ["front"]
    assert "no static transform between 'left_optical' and 'lidar'" in layout.table()
    assert any(
        "lidar -> front_optical was taken from /tf as static" in note for note in layout.notes
    )


def test_transforms_that_are_none_are_left_out_with_a_note(tmp_path):
    none = transform("map", "odom", np.eye(4))
    none.transform.rotation.w = 0.0
    moving = [
        ("/tf", TRANSFORMS, START + index * MS, make(TRANSFORMS, [none])) for index in range(3)
    ]
    layout = inspect_bag(
        write(tmp_path / "bag", clouds() + camera("front", 0) + place("front") + moving)
    )
    assert [each.name for each in layout.usable_cameras] == ["front"]
    assert [
        note
        for note in layout.notes
        if note.startswith(
            "/tf: transforms that are none: 3 left out; the first: transform 'map' <- 'odom': "
        )
    ]


def test_messages_that_cannot_be_read_are_left_out_with_a_note(tmp_path):
    path = write(tmp_path / "whole", clouds() + camera("front", 0) + place("front"))
    seen = {"/tf_static"}

    def cut_first(number, message):
        data = message.data if message.topic in seen else message.data[:-8]
        seen.add(message.topic)
        return data

    rewrite(path, tmp_path / "cut", cut_first)
    layout = inspect_bag(tmp_path / "cut")
    assert layout.num_points == 4 and [each.name for each in layout.usable_cameras] == ["front"]
    assert sum("messages that cannot be read: 1 left out" in note for note in layout.notes) == 3


def test_a_camera_without_calibration_or_stamps_is_listed_with_its_reason(tmp_path):
    no_info = [message for message in camera("left", 0) if message[1] == IMAGE]
    unstamped = [
        (topic, kind, time, image(0, "back_optical") if kind == IMAGE else message)
        for topic, kind, time, message in camera("back", 0)
    ]
    messages = (
        clouds()
        + no_info
        + unstamped
        + camera("front", 0, focal=0.0)
        + place("front", "left", "back")
    )
    layout = inspect_bag(write(tmp_path / "bag", messages))
    problems = {camera.name: camera.problems for camera in layout.cameras}
    assert layout.usable_cameras == ()
    assert problems["left"] == ("no CameraInfo beside it, nor one of its frame",)
    assert problems["front"] == ("/front/camera_info is uncalibrated (K is zero)",)
    (why,) = problems["back"]
    assert why.startswith("its images have no stamps") and "back.stamp_source: arrival" in why


def test_camera_info_is_also_found_by_its_frame(tmp_path):
    elsewhere = [
        ("/calibration/1", kind, time, m) if kind == INFO else (topic, kind, time, m)
        for topic, kind, time, m in camera("front", 0)
    ]
    layout = inspect_bag(write(tmp_path / "bag", clouds() + elsewhere + place("front")))
    assert layout.cameras[0].info_topic == "/calibration/1" and not layout.cameras[0].problems


def test_of_several_pictures_of_one_camera_the_raw_compressed_one_is_taken(tmp_path):
    messages = clouds() + camera("front", 0) + place("front")
    for index in range(3):
        stamp = START + index * 100 * MS
        messages.append(
            (
                "/front/image_raw/compressed",
                COMPRESSED,
                stamp + 41 * MS,
                make(COMPRESSED, header(stamp, "front_optical"), "jpeg", np.zeros(3, np.uint8)),
            )
        )
        messages.append(
            ("/front/image_rect_color", IMAGE, stamp + 42 * MS, image(stamp, "front_optical"))
        )
        messages.append(
            (
                "/front/depth/image_raw",
                IMAGE,
                stamp + 43 * MS,
                image(stamp, "front_optical", "16UC1"),
            )
        )
    layout = inspect_bag(write(tmp_path / "bag", messages))
    assert [(camera.name, camera.image_topic, camera.compressed) for camera in layout.cameras] == [
        ("front", "/front/image_raw/compressed", True)
    ]
    assert any("/front/depth/image_raw holds depth" in note for note in layout.notes)
    assert any(
        "/front/image_raw, /front/image_rect_color: the same camera" in note
        for note in layout.notes
    )


def test_names_are_the_shortest_that_tell_cameras_apart(tmp_path):
    messages = (
        clouds()
        + camera("robot/front/camera", 0)
        + camera("robot/back/camera", 0)
        + camera("robot/2nd", 0)
    )
    assert [camera.name for camera in inspect_bag(write(tmp_path / "bag", messages)).cameras] == [
        "back_camera",
        "camera_2nd",
        "front_camera",
    ]


def test_of_several_clouds_the_densest_stream_is_taken_not_a_map_and_the_choice_can_be_made(
    tmp_path,
):
    messages = (
        clouds(10, points=50)
        + clouds(10, topic="/side/points", points=9)
        + clouds(1, topic="/map", points=1000)
    )
    path = write(tmp_path / "bag", messages)
    layout = inspect_bag(path)
    assert (
        layout.cloud_topic == "/lidar/points"
        and "several clouds: took /lidar/points" in layout.table()
    )
    assert inspect_bag(path, "/side/points").num_points == 9
    with pytest.raises(
        ValueError,
        match="no PointCloud2 on /nope; there are clouds on /lidar/points, /map, /side/points",
    ):
        inspect_bag(path, "/nope")


def test_a_bag_without_clouds_is_refused_and_one_without_images_says_so(tmp_path):
    with pytest.raises(
        ValueError,
        match="no PointCloud2 in it; it has /front/camera_info .*, /front/image_raw .*Image",
    ):
        inspect_bag(write(tmp_path / "images", camera("front", 0)))
    assert (
        "every cloud will be labelled from the LiDAR alone"
        in inspect_bag(write(tmp_path / "clouds", clouds())).table()
    )


def test_a_single_cloud_needs_no_period(tmp_path):
    layout = inspect_bag(
        write(tmp_path / "bag", clouds(1) + camera("front", 0, count=1) + place("front"))
    )
    assert layout.cloud_period_ns == 0 and layout.usable_cameras[0].timing.tolerance == 50 * MS


def test_a_ros1_bag_with_slashes_in_frames_is_understood(tmp_path):
    types = get_typestore(Stores.ROS1_NOETIC)
    types.register({name: ros2_types().fielddefs[name] for name in (TRANSFORMS,)})
    time = types.types["builtin_interfaces/msg/Time"](*divmod(START, 10**9))

    def head(frame):
        return types.types["std_msgs/msg/Header"](0, time, frame)

    points = types.types[CLOUD](
        head("/velodyne"), 1, 0, [], False, 12, 0, np.zeros(0, np.uint8), True
    )
    picture = types.types[IMAGE](head("/cam"), 2, 2, "rgb8", 0, 6, np.zeros(12, np.uint8))
    region = types.types["sensor_msgs/msg/RegionOfInterest"](0, 0, 0, 0, False)
    lens = types.types[INFO](
        head("/cam"),
        2,
        2,
        "plumb_bob",
        np.zeros(5),
        np.array([9.0, 0, 1, 0, 9, 1, 0, 0, 1]),
        np.eye(3).reshape(-1),
        np.zeros(12),
        0,
        0,
        region,
    )
    shift, turn = (
        types.types["geometry_msgs/msg/Vector3"](1.0, 0.0, 0.0),
        types.types["geometry_msgs/msg/Quaternion"](0.0, 0.0, 0.0, 1.0),
    )
    link = types.types["geometry_msgs/msg/TransformStamped"](
        head("/velodyne"), "/cam", types.types["geometry_msgs/msg/Transform"](shift, turn)
    )
    with Writer1(tmp_path / "robot.bag") as writer:
        for topic, msgtype, message in (
            ("/points", CLOUD, points),
            ("/cam/image", IMAGE, picture),
            ("/cam/camera_info", INFO, lens),
            ("/tf", TRANSFORMS, types.types[TRANSFORMS]([link])),
            ("/tf_static", TRANSFORMS, types.types[TRANSFORMS]([link])),
        ):
            connection = writer.add_connection(topic, msgtype, typestore=types)
            writer.write(connection, START, types.serialize_ros1(message, msgtype))
    layout = inspect_bag(tmp_path / "robot.bag")
    (cam,) = layout.usable_cameras
    assert (
        layout.kind == "ROS 1"
        and layout.cloud_frame == "velodyne"
        and cam.frame_id == "cam"
        and cam.info.k[0] == 9
    )
    np.testing.assert_allclose(cam.camera_from_lidar[:3, 3], (-1, 0, 0))


def test_silences_name_topics_and_recording_times(tmp_path):
    layout = inspect_bag(
        write(
            tmp_path / "bag",
            clouds() + camera("front", 0) + camera("left", 0) + place("front", "left"),
        )
    )
    assert layout.silences(["front@0.5"]) == {
        "/front/image_raw": layout.start + 500 * MS,
        "/front/camera_info": layout.start + 500 * MS,
    }
    assert set(layout.silences(["all@1"])) == {
        "/front/image_raw",
        "/front/camera_info",
        "/left/image_raw",
        "/left/camera_info",
    }
    # the earlier one holds
    assert layout.silences(["front@0.5", "all@1"])["/front/image_raw"] == layout.start + 500 * MS
    for wrong in ("front", "front@soon", "rear@1"):
        with pytest.raises(
            ValueError, match="expected CAMERA@SECONDS with one of front, left or all"
        ):
            layout.silences([wrong])


def test_a_bag_can_be_taken_to_end_early(tmp_path):
    path = write(tmp_path / "bag", clouds(10) + camera("front", 0) + place("front"))
    layout = inspect_bag(path, duration=0.5)
    assert (
        layout.num_clouds == 5 and layout.end == layout.start + 500 * MS and layout.duration == 0.5
    )
    assert inspect_bag(path, duration=100).num_clouds == 10
    with Bag(path, duration=0.5) as bag:
        assert sum(1 for _ in bag.messages(["/lidar/points"])) == 5
        assert all(
            message.time < bag.start + 500 * MS
            for message in bag.messages(stop=bag.start + 900 * MS)
        )


def test_what_a_node_in_a_namespace_labelled_is_no_lidar_whatever_its_layout(tmp_path):
    own = clouds(topic="/a/cmdfusion/points_labeled", points=9)
    layout = inspect_bag(write(tmp_path / "bag", clouds(points=9) + own))
    assert layout.cloud_topic == "/lidar/points"
    assert "/a/cmdfusion/points_labeled was labelled before: left out" in layout.table()
