"""The node in this process, over real rclpy: clouds, cameras, outputs, quality of service.
Skips where rclpy is not installed.
"""

import time

import cv2
import numpy as np
import pytest
from builders.interfaces import INTERFACES, needs_interfaces
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

from cmdfusion_ros.ros.qos import OUTPUTS

needs_tf2_msgs = pytest.mark.skipif(
    not INTERFACES.has("TFMessage"), reason="tf2_msgs is not installed"
)
SENSOR = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
LATCHED = QoSProfile(
    depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL
)


def test_a_cloud_comes_back_labelled_with_its_own_header_and_order(bench, wire):
    it = bench()
    heard = it.listen(INTERFACES.PointCloud2, "/cmdfusion/points_labeled")
    clouds = it.speak(INTERFACES.PointCloud2, "/points")
    it.until(lambda: it.node.count_subscribers("/cmdfusion/points_labeled"), "the subscription")
    sent = wire.cloud(time.time_ns())
    clouds.publish(sent)
    it.until(lambda: heard, "a labelled cloud")
    labelled = heard[0]
    assert labelled.header == sent.header and labelled.width == sent.width
    assert [item.name for item in labelled.fields] == [
        "x",
        "y",
        "z",
        "intensity",
        "rgb",
        "label",
        "confidence",
        "camera_mask",
    ]
    points = np.frombuffer(labelled.data, np.float32).reshape(-1, 8)[:, :3]
    np.testing.assert_array_equal(
        points, np.frombuffer(sent.data, np.float32).reshape(-1, 4)[:, :3]
    )


def test_nothing_is_computed_while_nobody_subscribes(bench, wire):
    it = bench()
    clouds = it.speak(INTERFACES.PointCloud2, "/points")
    clouds.publish(wire.cloud(time.time_ns()))
    it.until(lambda: it.parts()["pipeline"].get("dropped.no_subscriber") == 1, "the cloud")
    assert it.parts()["pipeline"]["labelled"] == 0 and it.parts()["lidar"]["received"] == 1
    it.node.set_parameters([Parameter("output.always_publish", value=True)])
    clouds.publish(wire.cloud(time.time_ns()))
    it.until(lambda: it.parts()["pipeline"]["labelled"] == 1, "the second cloud")


# ---- cameras


@needs_interfaces
def test_status_says_fused_and_lidar_only_at_the_right_clouds(bench, wire, one_camera):
    it = bench(one_camera)
    statuses = it.listen(INTERFACES.SegmentationStatus, "/cmdfusion/status")
    clouds = it.speak(INTERFACES.PointCloud2, "/points")
    images = it.speak(INTERFACES.CompressedImage, "/front/image_raw/compressed")
    start = time.time_ns()
    for index in range(2):
        images.publish(wire.jpeg(start + index * 10**8))
        it.until(
            lambda count=index + 1: it.parts()["camera/front"].get("received") == count, "the image"
        )
        clouds.publish(wire.cloud(start + index * 10**8))
        it.until(lambda count=index + 1: len(statuses) == count, "the status")
    clouds.publish(wire.cloud(start + 4 * 10**8))  # no image within tolerance
    it.until(lambda: len(statuses) == 3, "the third status")
    kind = INTERFACES.SegmentationStatus
    assert [status.mode for status in statuses] == [
        kind.MODE_FUSED,
        kind.MODE_FUSED,
        kind.MODE_LIDAR_ONLY,
    ]
    assert [status.sequence for status in statuses] == [1, 2, 3]
    front = statuses[0].cameras[0]
    assert (front.name, front.status, front.points) == (
        "front",
        front.STATUS_FUSED,
        statuses[0].num_points,
    )
    assert statuses[2].cameras[0].status == front.STATUS_NO_IMAGE
    assert (
        statuses[0].header.frame_id == "lidar"
        and sum(statuses[0].class_counts) == statuses[0].num_labeled
    )


@needs_tf2_msgs
def test_a_camera_joins_when_its_calibration_and_transform_arrive(bench, wire, one_camera):
    from geometry_msgs.msg import TransformStamped

    it = bench({**one_camera, "front.calibration_file": "", "front.frame": ""})
    clouds = it.speak(INTERFACES.PointCloud2, "/points")
    images = it.speak(INTERFACES.CompressedImage, "/front/image_raw/compressed")
    infos = it.speak(INTERFACES.CameraInfo, "/front/camera_info")
    static = it.speak(INTERFACES.TFMessage, "/tf_static", LATCHED)

    def state_after_a_pair():
        before, stamp = it.parts()["pipeline"]["labelled"], time.time_ns()
        images.publish(wire.jpeg(stamp))
        clouds.publish(wire.cloud(stamp))
        it.until(lambda: it.parts()["pipeline"]["labelled"] == before + 1, "a labelled cloud")
        return it.parts()["camera/front"]

    assert state_after_a_pair()["last_status"] == "NO_CALIBRATION"
    info = INTERFACES.CameraInfo(
        width=64,
        height=48,
        distortion_model="plumb_bob",
        k=[40.0, 0.0, 31.5, 0.0, 40.0, 23.5, 0.0, 0.0, 1.0],
    )
    info.header.frame_id = "front_optical"
    infos.publish(info)
    it.until(lambda: it.parts()["camera/front"]["calibrated"], "the calibration")
    part = state_after_a_pair()
    assert part["last_status"] == "NO_TRANSFORM" and "front_optical" in part["reason"]
    message = INTERFACES.TFMessage()
    transform = TransformStamped()
    transform.header.frame_id, transform.child_frame_id = "lidar", "front_optical"
    (
        transform.transform.rotation.x,
        transform.transform.rotation.y,
        transform.transform.rotation.z,
        transform.transform.rotation.w,
    ) = 0.5, -0.5, 0.5, -0.5
    message.transforms = [transform]
    static.publish(message)
    it.until(lambda: state_after_a_pair()["last_status"] == "FUSED", "the transform")


def test_an_image_that_cannot_be_decoded_is_counted_and_costs_no_cloud(bench, wire, one_camera):
    it = bench(one_camera)
    clouds = it.speak(INTERFACES.PointCloud2, "/points")
    images = it.speak(INTERFACES.CompressedImage, "/front/image_raw/compressed")
    stamp = time.time_ns()
    broken = wire.jpeg(stamp)
    broken.data = broken.data[:40]
    images.publish(broken)
    it.until(lambda: it.parts()["camera/front"].get("received") == 1, "the image")
    clouds.publish(wire.cloud(stamp))
    it.until(lambda: it.parts()["pipeline"]["labelled"] == 1, "the cloud")
    part = it.parts()["camera/front"]
    assert (
        part["last_status"] == "DECODE_ERROR"
        and part["decode_errors"] == 1
        and "could not be decoded" in part["message"]
    )


# ---- outputs


@needs_interfaces
def test_late_joiners_get_the_class_map(bench, wire):
    it = bench()
    heard = it.listen(INTERFACES.ClassMap, "/cmdfusion/class_map", LATCHED)
    it.until(lambda: heard, "the class map")
    assert heard[0].taxonomy == "street" and heard[0].model == "fake" and heard[0].ignore_id == 0
    assert [(item.class_id, item.name) for item in heard[0].classes][:2] == [
        (1, "road"),
        (2, "sidewalk"),
    ]


def test_filtered_points_lack_the_classes_named(bench, wire):
    # the fake labels everything road, of which it is not sure at all
    it = bench({"filter.classes": ["road"], "filter.min_probability": 0.0})
    heard = it.listen(INTERFACES.PointCloud2, "/cmdfusion/points_filtered")
    clouds = it.speak(INTERFACES.PointCloud2, "/points")
    clouds.publish(wire.cloud(time.time_ns()))
    it.until(lambda: heard, "a filtered cloud")
    assert heard[0].width == 0 and [item.name for item in heard[0].fields] == [
        "x",
        "y",
        "z",
        "intensity",
    ]
    assert not it.node.set_parameters([Parameter("filter.classes", value=["cra"])])[0].successful
    assert it.node.set_parameters([Parameter("filter.classes", value=["car"])])[0].successful
    clouds.publish(wire.cloud(time.time_ns()))
    it.until(lambda: len(heard) == 2, "a second filtered cloud")
    assert heard[1].width == 100
    for name, value in (("filter.classes", ["road"]), ("filter.min_probability", 0.8)):
        assert it.node.set_parameters([Parameter(name, value=value)])[0].successful
    clouds.publish(wire.cloud(time.time_ns()))
    it.until(lambda: len(heard) == 3, "a third filtered cloud")
    assert heard[2].width == 100


def test_markers_show_legend_mode_and_camera_and_the_overlay_is_an_image(bench, wire, one_camera):
    it = bench({**one_camera, "output.always_publish": False})
    markers = it.listen(INTERFACES.MarkerArray, "/cmdfusion/markers")
    overlays = it.listen(INTERFACES.Image, "/cmdfusion/overlay/front", SENSOR)
    jpegs = it.listen(INTERFACES.CompressedImage, "/cmdfusion/overlay/front/compressed", SENSOR)
    clouds = it.speak(INTERFACES.PointCloud2, "/points")
    images = it.speak(INTERFACES.CompressedImage, "/front/image_raw/compressed")
    stamp = time.time_ns()
    images.publish(wire.jpeg(stamp))
    it.until(lambda: it.parts()["camera/front"].get("received") == 1, "the image")
    clouds.publish(wire.cloud(stamp))
    it.until(lambda: markers and overlays, "markers and overlay")
    spaces = [marker.ns for marker in markers[0].markers]
    assert spaces.count("legend") == 12 and "mode" in spaces and "cameras" in spaces
    assert {marker.header.frame_id for marker in markers[0].markers} == {"lidar"}
    it.until(lambda: jpegs, "the compressed overlay")
    assert cv2.imdecode(np.frombuffer(jpegs[0].data, np.uint8), cv2.IMREAD_COLOR).shape == (
        48,
        64,
        3,
    )
    assert (
        overlays[0].width,
        overlays[0].height,
        overlays[0].encoding,
        overlays[0].header.frame_id,
    ) == (64, 48, "rgb8", "front_optical")


def test_publishers_have_the_quality_of_the_table(bench, wire):
    it = bench({"cameras": ["front"]})
    for topic, quality in OUTPUTS.items():
        name = topic.replace("~", "/cmdfusion") + ("/front" if topic == "~/overlay" else "")
        found = [
            info
            for info in it.node.get_publishers_info_by_topic(name)
            if info.node_name == "cmdfusion"
        ]
        if not found:
            assert topic in ("~/label_info", "~/status", "~/class_map"), f"{topic} is not published"
            continue
        profile = found[0].qos_profile
        assert (profile.reliability.name.lower(), profile.durability.name.lower()) == (
            quality.reliability,
            quality.durability,
        ), topic


# ---- quality and diagnostics


def test_the_quality_of_a_topic_can_be_overridden(bench):
    it = bench(
        {
            "qos_overrides./points.subscription.reliability": "reliable",
            "qos_overrides./cmdfusion/points_labeled.publisher.depth": 7,
        }
    )
    (subscription,) = it.node.get_subscriptions_info_by_topic("/points")
    assert (
        subscription.qos_profile.reliability == ReliabilityPolicy.RELIABLE
        and not it.node.parameters.warnings
    )


def test_a_worsening_is_published_at_once(bench, wire):
    """Not only when the next report is due."""
    it = bench(
        {
            "output.always_publish": True,
            "diagnostics.rate": 0.01,
            "diagnostics.max_processing_time": 1e-6,
        }
    )
    heard = it.listen(INTERFACES.DiagnosticArray, "/diagnostics")
    clouds = it.speak(INTERFACES.PointCloud2, "/points")
    clouds.publish(wire.cloud(time.time_ns()))
    it.until(lambda: heard and heard[-1].status[0].level != b"\x00", "the WARN")
    assert "processing takes longer" in heard[-1].status[0].message


def test_diagnostics_are_published_and_name_a_publisher_that_cannot_be_received(
    bench, wire, one_camera
):
    it = bench(
        {
            **one_camera,
            "front.calibration_file": "",
            "front.camera_info_durability": "transient_local",
            "diagnostics.rate": 10.0,
        }
    )
    heard = it.listen(INTERFACES.DiagnosticArray, "/diagnostics")
    # volatile: a latched subscription cannot have it
    it.friend.create_publisher(INTERFACES.CameraInfo, "/front/camera_info", 1)
    it.until(
        lambda: (
            heard
            and {part.name: part for part in heard[-1].status}["cmdfusion: camera/front"].level
            == b"\x02"
        ),
        "the ERROR",
    )
    part = {part.name: part for part in heard[-1].status}["cmdfusion: camera/front"]
    assert (
        "friend offers less" in part.message and "<camera>.camera_info_durability" in part.message
    )
    assert [part.name for part in heard[-1].status][:4] == [
        "cmdfusion: pipeline",
        "cmdfusion: lidar",
        "cmdfusion: sync",
        "cmdfusion: model",
    ]
    assert {part.name: part for part in heard[-1].status}["cmdfusion: model"].message.startswith(
        "FAKE"
    )


# ---- what people's drivers do


@needs_tf2_msgs
def test_static_transforms_that_are_not_latched_are_named_as_the_reason(bench, wire, one_camera):
    it = bench({**one_camera, "front.calibration_file": ""})
    it.friend.create_publisher(INTERFACES.TFMessage, "/tf_static", 10)
    it.until(lambda: it.node._graph.facts.transforms, "the complaint")
    assert "friend offers less than we ask for" in it.node._graph.facts.transforms
    assert "transient_local" in it.node._graph.facts.transforms


def test_a_camera_that_is_only_compressed_is_named_with_the_setting(bench, wire, one_camera):
    it = bench({**one_camera, "front.transport": "raw"})
    it.friend.create_publisher(INTERFACES.CompressedImage, "/front/image_raw/compressed", 10)
    it.until(lambda: "front.transport: compressed" in it.parts()["camera/front"]["message"], "it")
    it.friend.create_publisher(INTERFACES.Image, "/front/image_raw", 10)
    it.until(lambda: "transport" not in it.parts()["camera/front"]["message"], "the end of it")


def test_the_nodes_own_outputs_are_not_offered_as_inputs(bench, wire):
    it = bench({"output.always_publish": True})
    it.until(lambda: it.node._graph.facts.hints, "the hint")
    assert "is its driver running" in it.node._graph.facts.hints["points"]
    it.friend.create_publisher(INTERFACES.PointCloud2, "/lidar", 10)
    it.until(lambda: "PointCloud2: /lidar;" in it.node._graph.facts.hints["points"], "the other")


def test_a_listener_that_wants_it_latched_is_named(bench, wire):
    it = bench({"output.always_publish": True})
    it.friend.create_subscription(
        INTERFACES.PointCloud2, "/cmdfusion/points_labeled", lambda message: None, LATCHED
    )
    it.until(lambda: "asks for more than we offer" in it.node._graph.facts.listeners, "its name")


def test_a_listener_of_an_ordinary_kind_is_nobodys_complaint(bench, wire):
    """The graph writes "no deadline" as infinite, rclpy as 0: the two are one."""
    it = bench({"output.always_publish": True, "diagnostics.rate": 10.0})
    for topic in ("/diagnostics", "/cmdfusion/points_labeled"):
        kind = INTERFACES.DiagnosticArray if "diag" in topic else INTERFACES.PointCloud2
        it.listen(kind, topic)
        it.until(lambda topic=topic: it.node.count_subscribers(topic), topic)
    it.node._graph.look([])
    assert it.node._graph.facts.listeners == ""


def test_a_listener_that_asks_for_a_deadline_is_named(bench, wire):
    from rclpy.duration import Duration
    from rclpy.qos import QoSProfile

    it = bench({"output.always_publish": True})
    it.listen(
        INTERFACES.PointCloud2,
        "/cmdfusion/points_labeled",
        QoSProfile(depth=1, deadline=Duration(nanoseconds=10**8)),
    )
    it.until(lambda: "friend asks for more" in it.node._graph.facts.listeners, "its name")
    assert "deadline" in it.node._graph.facts.listeners


def test_clouds_without_a_frame_are_named_as_the_reason_of_a_camera(bench, wire, one_camera):
    it = bench({**one_camera, "front.calibration_file": ""})
    clouds = it.speak(INTERFACES.PointCloud2, "/points")
    infos = it.speak(INTERFACES.CameraInfo, "/front/camera_info")
    infos.publish(
        INTERFACES.CameraInfo(width=64, height=48, k=[40.0, 0, 31.5, 0, 40, 23.5, 0, 0, 1])
    )
    it.until(lambda: it.parts()["camera/front"]["calibrated"], "the calibration")
    cloud = wire.cloud(time.time_ns())
    cloud.header.frame_id = ""
    clouds.publish(cloud)
    it.until(lambda: "no frame_id" in it.parts()["camera/front"]["reason"], "the reason")
    assert "LiDAR's driver" in it.parts()["camera/front"]["reason"]
