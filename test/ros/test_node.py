"""The node in this process, over real rclpy: parameters, lifecycle, topics, services, diagnostics. Skips where rclpy is not installed."""

import array
import os
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy", reason="rclpy is not installed: the node's own tests need ROS 2 (apt, or the ros-kilted wheels)")

from rclpy.executors import SingleThreadedExecutor  # noqa: E402
from rclpy.parameter import Parameter  # noqa: E402
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy  # noqa: E402

from cmdfusion_ros.config import SettingsError  # noqa: E402
from cmdfusion_ros.ros.interfaces import load_interfaces  # noqa: E402
from cmdfusion_ros.ros.node import CmdfusionNode, make_executor  # noqa: E402
from cmdfusion_ros.ros.qos import OUTPUTS  # noqa: E402

PATIENCE = 20.0  # seconds: how long a test waits for what must happen at once
DOMAIN = 100 + os.getpid() % 100
INTERFACES = load_interfaces()
needs_interfaces = pytest.mark.skipif(not INTERFACES.has("SegmentationStatus"), reason="cmdfusion_ros.msg is not built: run colcon build")
needs_tf2_msgs = pytest.mark.skipif(not INTERFACES.has("TFMessage"), reason="tf2_msgs is not installed")
RELIABLE = QoSProfile(depth=50, reliability=ReliabilityPolicy.RELIABLE)
LATCHED = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)


class Bench:
    """A node, a friend that talks to it, and the executor that runs both."""

    def __init__(self, parameters, start=True):
        overrides = [Parameter(name, value=value) for name, value in {"model.backend": "fake", **parameters}.items()]
        self.node = CmdfusionNode(parameter_overrides=overrides)
        self.friend = rclpy.create_node("friend")
        self.executor = SingleThreadedExecutor()
        self.executor.add_node(self.node)
        self.executor.add_node(self.friend)
        if start:
            assert self.node.start()

    def close(self):
        self.executor.shutdown()
        self.node.close()
        self.node.destroy_node()
        self.friend.destroy_node()

    def until(self, condition, what="it"):
        """Run both nodes until `condition()`."""
        end = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < end, f"{what} did not happen within {PATIENCE:g} s"
            self.executor.spin_once(timeout_sec=0.05)

    def listen(self, message, topic, quality=RELIABLE):
        """A list that fills with what comes on `topic`."""
        heard = []
        self.friend.create_subscription(message, topic, heard.append, quality)
        return heard

    def speak(self, message, topic, quality=RELIABLE):
        """A publisher that somebody already listens to."""
        publisher = self.friend.create_publisher(message, topic, quality)
        self.until(lambda: publisher.get_subscription_count() > 0, f"a subscription to {topic}")
        return publisher

    def call(self, kind, service, **request):
        client = self.friend.create_client(kind, service)
        self.until(client.service_is_ready, f"service {service}")
        future = client.call_async(kind.Request(**request))
        self.until(future.done, f"an answer of {service}")
        return future.result()

    def parts(self):
        """{name: {key: value}} of the diagnostics as of now, with "level" and "message"."""
        found = {part.name: {**part.values, "level": part.level, "message": part.message} for part in self.node.diagnostics.parts(self.node._facts())}
        return found


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    rclpy.init(domain_id=DOMAIN)
    made = []

    def make(parameters=None, start=True):
        made.append(Bench(parameters or {}, start))
        return made[-1]

    yield make
    for one in made:
        one.close()
    rclpy.shutdown()


def stamp_of(nanoseconds):
    return INTERFACES.Time(sec=nanoseconds // 10**9, nanosec=nanoseconds % 10**9)


def cloud(stamp, num_points=100, frame_id="lidar"):
    values = np.random.default_rng(0).uniform(-20, 20, (num_points, 4)).astype(np.float32)
    message = INTERFACES.PointCloud2()
    message.header.stamp, message.header.frame_id = stamp_of(stamp), frame_id
    message.height, message.width, message.point_step, message.row_step = 1, num_points, 16, 16 * num_points
    message.fields = [INTERFACES.PointField(name=name, offset=4 * index, datatype=7, count=1) for index, name in enumerate(("x", "y", "z", "intensity"))]
    data = array.array("B")
    data.frombytes(values.tobytes())
    message.data = data
    return message


def jpeg(stamp, frame_id="front_optical"):
    message = INTERFACES.CompressedImage(format="jpeg")
    message.header.stamp, message.header.frame_id = stamp_of(stamp), frame_id
    message.data = array.array("B", cv2.imencode(".jpg", np.full((48, 64, 3), 128, np.uint8))[1].tobytes())
    return message


def calibration_file(folder):
    """A camera that looks ahead from the LiDAR, with its extrinsic."""
    path = Path(folder) / "front.yaml"
    path.write_text(
        "image_width: 64\nimage_height: 48\ndistortion_model: plumb_bob\n"
        "camera_matrix: {rows: 3, cols: 3, data: [40, 0, 31.5, 0, 40, 23.5, 0, 0, 1]}\n"
        "distortion_coefficients: {rows: 1, cols: 5, data: [0, 0, 0, 0, 0]}\n"
        "camera_from_lidar: {rows: 4, cols: 4, data: [0, -1, 0, 0, 0, 0, -1, 0, 1, 0, 0, 0, 0, 0, 0, 1]}\n"
    )
    return str(path)


def one_camera(folder):
    """Parameters of a node with the camera `front`, which needs no transforms. A scan's images are stamped as the scan is."""
    return {
        "cameras": ["front"], "front.transport": "compressed", "front.calibration_file": calibration_file(folder), "front.frame": "front_optical",
        "points.stamp_reference": "middle", "output.always_publish": True,
    }  # fmt: skip


now_ns = time.time_ns


def test_a_cloud_comes_back_labelled_with_its_own_header_and_order(bench):
    it = bench()
    heard = it.listen(INTERFACES.PointCloud2, "/cmdfusion/points_labeled")
    clouds = it.speak(INTERFACES.PointCloud2, "/points")
    it.until(lambda: it.node.count_subscribers("/cmdfusion/points_labeled"), "the subscription")
    sent = cloud(now_ns())
    clouds.publish(sent)
    it.until(lambda: heard, "a labelled cloud")
    labelled = heard[0]
    assert labelled.header == sent.header and labelled.width == sent.width
    assert [item.name for item in labelled.fields] == ["x", "y", "z", "intensity", "rgb", "label", "confidence", "camera_mask"]
    points = np.frombuffer(labelled.data, np.float32).reshape(-1, 8)[:, :3]
    np.testing.assert_array_equal(points, np.frombuffer(sent.data, np.float32).reshape(-1, 4)[:, :3])


def test_nothing_is_computed_while_nobody_subscribes(bench):
    it = bench()
    clouds = it.speak(INTERFACES.PointCloud2, "/points")
    clouds.publish(cloud(now_ns()))
    it.until(lambda: it.parts()["pipeline"].get("dropped.no_subscriber") == 1, "the cloud")
    assert it.parts()["pipeline"]["labelled"] == 0 and it.parts()["lidar"]["received"] == 1
    it.node.set_parameters([Parameter("output.always_publish", value=True)])
    clouds.publish(cloud(now_ns()))
    it.until(lambda: it.parts()["pipeline"]["labelled"] == 1, "the second cloud")


# ---- parameters


def test_a_live_parameter_takes_effect_and_a_wrong_value_changes_nothing(bench):
    it = bench()
    assert it.node.set_parameters([Parameter("sync.max_wait", value=0.2)])[0].successful
    assert it.node._pairing.settings.sync.max_wait == 0.2
    refused = it.node.set_parameters([Parameter("sync.tolerance", value=0.0)])[0]
    assert not refused.successful and "more than 0.0 s" in refused.reason
    assert it.node.settings.sync.tolerance == 0.05 and it.node.get_parameter("sync.tolerance").value == 0.05


def test_a_whole_number_is_as_good_as_a_fraction(bench):
    it = bench({"sync.max_wait": 0})
    assert it.node.settings.sync.max_wait == 0
    assert it.node.set_parameters([Parameter("sync.max_wait", value=1)])[0].successful


def test_other_parameters_are_read_only_and_described(bench):
    it = bench({"cameras": ["front"]}, start=False)
    assert not it.node.set_parameters([Parameter("model.device", value="cuda")])[0].successful
    described = it.node.describe_parameter("sync.max_wait")
    assert "[s]" in described.description and described.floating_point_range[0].to_value == 1.0 and not described.read_only
    assert it.node.describe_parameter("front.transport").read_only and "raw, compressed" in it.node.describe_parameter("front.transport").description


def test_an_override_that_no_parameter_takes_is_warned_of_with_the_nearest_name(bench):
    it = bench({"cameras": ["front"], "front.tolerence": 0.1, "sync.maxwait": 0.1}, start=False)
    assert it.node.parameters.warnings == [
        "parameter 'front.tolerence' is not one of this node and has no effect; did you mean 'front.tolerance'?",
        "parameter 'sync.maxwait' is not one of this node and has no effect; did you mean 'sync.max_wait'?",
    ]


@pytest.mark.parametrize(
    ("parameters", "message"), [({"output.layout": "fancy"}, "output.layout"), ({"cameras": ["a b"]}, "letters"), ({"autostart": 3}, "autostart")]
)
def test_a_wrong_override_is_an_error_that_names_the_parameter(bench, parameters, message):
    with pytest.raises(SettingsError, match=message):
        bench(parameters, start=False)


# ---- lifecycle


def test_a_missing_checkpoint_leaves_the_node_unconfigured_and_says_why(bench, capfd):
    it = bench({"model.backend": "auto", "model.checkpoint": "/no/such.safetensors"}, start=False)
    assert not it.node.start()
    said = capfd.readouterr().err
    assert "configure failed: model.checkpoint" in said and "/no/such.safetensors" in said
    assert it.parts()["pipeline"]["state"] == "unconfigured"


def test_an_unknown_class_to_filter_leaves_the_node_unconfigured(bench):
    it = bench({"filter.classes": ["cra"]}, start=False)
    assert not it.node.start()


def test_deactivate_keeps_the_counts_and_activate_goes_on(bench):
    it = bench({"output.always_publish": True})
    clouds = it.speak(INTERFACES.PointCloud2, "/points")
    clouds.publish(cloud(now_ns()))
    it.until(lambda: it.parts()["pipeline"]["labelled"] == 1, "the first cloud")
    it.node.trigger_deactivate()
    assert it.parts()["pipeline"]["state"] == "inactive" and it.parts()["pipeline"]["labelled"] == 1
    it.node.trigger_activate()
    it.until(lambda: clouds.get_subscription_count() == 1, "the subscription")
    clouds.publish(cloud(now_ns()))
    it.until(lambda: it.parts()["pipeline"]["labelled"] == 2, "the second cloud")
    it.node.trigger_deactivate()
    it.node.trigger_cleanup()
    assert it.parts()["pipeline"]["state"] == "unconfigured"


def test_the_events_executor_is_refused_where_rclpy_has_none(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "rclpy.experimental.events_executor", None)
    with pytest.raises(SettingsError, match="has no EventsExecutor"):
        make_executor("events")


# ---- cameras


@needs_interfaces
def test_status_says_fused_and_lidar_only_at_the_right_clouds(bench, tmp_path):
    it = bench(one_camera(tmp_path))
    statuses = it.listen(INTERFACES.SegmentationStatus, "/cmdfusion/status")
    clouds = it.speak(INTERFACES.PointCloud2, "/points")
    images = it.speak(INTERFACES.CompressedImage, "/front/image_raw/compressed")
    start = now_ns()
    for index in range(2):
        images.publish(jpeg(start + index * 10**8))
        it.until(lambda count=index + 1: it.parts()["camera/front"].get("received") == count, "the image")
        clouds.publish(cloud(start + index * 10**8))
        it.until(lambda count=index + 1: len(statuses) == count, "the status")
    clouds.publish(cloud(start + 4 * 10**8))  # no image within tolerance
    it.until(lambda: len(statuses) == 3, "the third status")
    kind = INTERFACES.SegmentationStatus
    assert [status.mode for status in statuses] == [kind.MODE_FUSED, kind.MODE_FUSED, kind.MODE_LIDAR_ONLY]
    assert [status.sequence for status in statuses] == [1, 2, 3]
    front = statuses[0].cameras[0]
    assert (front.name, front.status, front.points) == ("front", front.STATUS_FUSED, statuses[0].num_points)
    assert statuses[2].cameras[0].status == front.STATUS_NO_IMAGE
    assert statuses[0].header.frame_id == "lidar" and sum(statuses[0].class_counts) == statuses[0].num_labeled


@needs_tf2_msgs
def test_a_camera_joins_when_its_calibration_and_transform_arrive(bench, tmp_path):
    from geometry_msgs.msg import TransformStamped

    it = bench({**one_camera(tmp_path), "front.calibration_file": "", "front.frame": ""})
    clouds = it.speak(INTERFACES.PointCloud2, "/points")
    images = it.speak(INTERFACES.CompressedImage, "/front/image_raw/compressed")
    infos = it.speak(INTERFACES.CameraInfo, "/front/camera_info")
    static = it.speak(INTERFACES.TFMessage, "/tf_static", LATCHED)

    def state_after_a_pair():
        before, stamp = it.parts()["pipeline"]["labelled"], now_ns()
        images.publish(jpeg(stamp))
        clouds.publish(cloud(stamp))
        it.until(lambda: it.parts()["pipeline"]["labelled"] == before + 1, "a labelled cloud")
        return it.parts()["camera/front"]

    assert state_after_a_pair()["last_status"] == "NO_CALIBRATION"
    info = INTERFACES.CameraInfo(width=64, height=48, distortion_model="plumb_bob", k=[40.0, 0.0, 31.5, 0.0, 40.0, 23.5, 0.0, 0.0, 1.0])
    info.header.frame_id = "front_optical"
    infos.publish(info)
    it.until(lambda: it.parts()["camera/front"]["calibrated"], "the calibration")
    part = state_after_a_pair()
    assert part["last_status"] == "NO_TRANSFORM" and "front_optical" in part["reason"]
    message = INTERFACES.TFMessage()
    transform = TransformStamped()
    transform.header.frame_id, transform.child_frame_id = "lidar", "front_optical"
    transform.transform.rotation.x, transform.transform.rotation.y, transform.transform.rotation.z, transform.transform.rotation.w = 0.5, -0.5, 0.5, -0.5
    message.transforms = [transform]
    static.publish(message)
    it.until(lambda: state_after_a_pair()["last_status"] == "FUSED", "the transform")


def test_an_image_that_cannot_be_decoded_is_counted_and_costs_no_cloud(bench, tmp_path):
    it = bench(one_camera(tmp_path))
    clouds = it.speak(INTERFACES.PointCloud2, "/points")
    images = it.speak(INTERFACES.CompressedImage, "/front/image_raw/compressed")
    stamp = now_ns()
    broken = jpeg(stamp)
    broken.data = broken.data[:40]
    images.publish(broken)
    it.until(lambda: it.parts()["camera/front"].get("received") == 1, "the image")
    clouds.publish(cloud(stamp))
    it.until(lambda: it.parts()["pipeline"]["labelled"] == 1, "the cloud")
    part = it.parts()["camera/front"]
    assert part["last_status"] == "DECODE_ERROR" and part["decode_errors"] == 1 and "could not be decoded" in part["message"]


# ---- outputs


@needs_interfaces
def test_late_joiners_get_the_class_map(bench):
    it = bench()
    heard = it.listen(INTERFACES.ClassMap, "/cmdfusion/class_map", LATCHED)
    it.until(lambda: heard, "the class map")
    assert heard[0].taxonomy == "street" and heard[0].model == "fake" and heard[0].ignore_id == 0
    assert [(item.class_id, item.name) for item in heard[0].classes][:2] == [(1, "road"), (2, "sidewalk")]


def test_filtered_points_lack_the_classes_named(bench):
    it = bench({"filter.classes": ["road"]})  # the fake labels everything road
    heard = it.listen(INTERFACES.PointCloud2, "/cmdfusion/points_filtered")
    clouds = it.speak(INTERFACES.PointCloud2, "/points")
    clouds.publish(cloud(now_ns()))
    it.until(lambda: heard, "a filtered cloud")
    assert heard[0].width == 0 and [item.name for item in heard[0].fields] == ["x", "y", "z", "intensity"]
    assert not it.node.set_parameters([Parameter("filter.classes", value=["cra"])])[0].successful
    assert it.node.set_parameters([Parameter("filter.classes", value=["car"])])[0].successful
    clouds.publish(cloud(now_ns()))
    it.until(lambda: len(heard) == 2, "a second filtered cloud")
    assert heard[1].width == 100


def test_markers_show_legend_mode_and_camera_and_the_overlay_is_an_image(bench, tmp_path):
    it = bench({**one_camera(tmp_path), "output.always_publish": False})
    markers = it.listen(INTERFACES.MarkerArray, "/cmdfusion/markers")
    overlays = it.listen(INTERFACES.Image, "/cmdfusion/overlay/front", QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT))
    clouds = it.speak(INTERFACES.PointCloud2, "/points")
    images = it.speak(INTERFACES.CompressedImage, "/front/image_raw/compressed")
    stamp = now_ns()
    images.publish(jpeg(stamp))
    it.until(lambda: it.parts()["camera/front"].get("received") == 1, "the image")
    clouds.publish(cloud(stamp))
    it.until(lambda: markers and overlays, "markers and overlay")
    spaces = [marker.ns for marker in markers[0].markers]
    assert spaces.count("legend") == 12 and "mode" in spaces and "cameras" in spaces
    assert {marker.header.frame_id for marker in markers[0].markers} == {"lidar"}
    assert (overlays[0].width, overlays[0].height, overlays[0].encoding, overlays[0].header.frame_id) == (64, 48, "rgb8", "front_optical")


def test_publishers_have_the_quality_of_the_table(bench):
    it = bench({"cameras": ["front"]})
    for topic, quality in OUTPUTS.items():
        name = topic.replace("~", "/cmdfusion") + ("/front" if topic == "~/overlay" else "")
        found = [info for info in it.node.get_publishers_info_by_topic(name) if info.node_name == "cmdfusion"]
        if not found:
            assert topic in ("~/label_info", "~/status", "~/class_map"), f"{topic} is not published"
            continue
        profile = found[0].qos_profile
        assert (profile.reliability.name.lower(), profile.durability.name.lower()) == (quality.reliability, quality.durability), topic


# ---- services


@pytest.mark.skipif(not INTERFACES.has("Trigger"), reason="std_srvs is not installed")
def test_services_pause_reset_and_save(bench, monkeypatch, tmp_path):
    monkeypatch.setenv("ROS_HOME", str(tmp_path))
    it = bench()
    clouds = it.speak(INTERFACES.PointCloud2, "/points")
    for _ in range(2):  # pausing twice is no error
        assert it.call(INTERFACES.SetBool, "/cmdfusion/enable", data=False).success
    clouds.publish(cloud(now_ns()))
    it.until(lambda: it.parts()["pipeline"].get("dropped.paused") == 1, "the paused cloud")
    assert it.call(INTERFACES.SetBool, "/cmdfusion/enable", data=True).success
    assert it.call(INTERFACES.Trigger, "/cmdfusion/reset").success and it.parts()["sync"]["epoch"] == 1
    saved = it.call(INTERFACES.Trigger, "/cmdfusion/save_frame")
    assert saved.success and str(tmp_path) in saved.message
    clouds.publish(cloud(now_ns()))
    it.until(lambda: list(tmp_path.glob("*.npz")), "the saved frame")
    it.until(lambda: it.node._labelling.save_to is None and it.parts()["pipeline"]["labelled"] == 1, "the end of saving")
    it.node.trigger_deactivate()  # joins the worker: the file is whole
    (path,) = tmp_path.glob("*.npz")
    with np.load(path) as frame:
        assert frame["points"].shape == (100, 3) and len(frame["labels"]) == frame["rows"].sum() and "road" in frame["class_names"]


@needs_interfaces
def test_a_camera_is_switched_off_and_on_by_service(bench, tmp_path):
    it = bench(one_camera(tmp_path))
    assert it.call(INTERFACES.SetCamera, "/cmdfusion/set_camera", name="front", enable=False).success
    assert it.parts()["camera/front"]["state"] == "DISABLED" and it.node.get_parameter("front.enabled").value is False
    assert it.call(INTERFACES.SetCamera, "/cmdfusion/set_camera", name="", enable=True).success
    assert it.parts()["camera/front"]["state"] == "NEVER_SEEN"
    refused = it.call(INTERFACES.SetCamera, "/cmdfusion/set_camera", name="frnt", enable=True)
    assert not refused.success and "known: front" in refused.message


# ---- what goes wrong


def malformed_clouds(stamp):
    """(what is wrong, PointCloud2) for every way in which a driver gets it wrong."""
    cut, no_x, step, row, absurd, beyond = (cloud(stamp) for _ in range(6))
    cut.data = cut.data[:100]
    no_x.fields = no_x.fields[1:]
    step.point_step = 4
    row.row_step = 7
    absurd.width, absurd.row_step = 2**31, 2**32 - 1
    beyond.fields[2].offset = 2**32 - 1
    return {"cut": cut, "no x": no_x, "point_step": step, "row_step": row, "absurd size": absurd, "offset": beyond}


def test_malformed_clouds_are_counted_and_the_node_goes_on(bench):
    it = bench({"output.always_publish": True})
    clouds = it.speak(INTERFACES.PointCloud2, "/points")
    start = now_ns()
    for index, (what, message) in enumerate(malformed_clouds(start).items(), start=1):
        message.header.stamp = stamp_of(start + index * 10**8)
        clouds.publish(message)
        it.until(lambda count=index: it.parts()["pipeline"].get("dropped.malformed") == count, f"counting: {what}")
    clouds.publish(cloud(start + 10**9))
    it.until(lambda: it.parts()["pipeline"]["labelled"] == 1, "a good cloud")
    part = it.parts()["pipeline"]
    assert part["received"] == part["labelled"] + part["dropped"] == 7 and "cloud" in part["last_error"]


def test_a_bag_that_begins_again_is_a_new_time_line(bench):
    it = bench({"output.always_publish": True})
    markers = it.listen(INTERFACES.MarkerArray, "/cmdfusion/markers")
    clouds = it.speak(INTERFACES.PointCloud2, "/points")
    start = now_ns()
    for stamp in (start, start + 10**8, start - 5 * 10**9, start - 5 * 10**9 + 10**8):
        before = it.parts()["pipeline"]["labelled"]
        clouds.publish(cloud(stamp))
        it.until(lambda count=before + 1: it.parts()["pipeline"]["labelled"] == count, "a labelled cloud")
    assert it.parts()["lidar"]["time_jumps"] == 1 and it.parts()["sync"]["epoch"] == 1
    it.until(lambda: any(marker.action == 3 for message in markers for marker in message.markers), "emptying the view")


def test_diagnostics_are_published_and_name_a_publisher_that_cannot_be_received(bench, tmp_path):
    it = bench({**one_camera(tmp_path), "front.calibration_file": "", "front.camera_info_durability": "transient_local", "diagnostics.rate": 10.0})
    heard = it.listen(INTERFACES.DiagnosticArray, "/diagnostics")
    it.friend.create_publisher(INTERFACES.CameraInfo, "/front/camera_info", 1)  # volatile: a latched subscription cannot have it
    it.until(lambda: heard and {part.name: part for part in heard[-1].status}["cmdfusion: camera/front"].level == b"\x02", "the ERROR")
    part = {part.name: part for part in heard[-1].status}["cmdfusion: camera/front"]
    assert "friend offers less" in part.message and "qos_overrides./front/camera_info" in part.message
    assert [part.name for part in heard[-1].status][:4] == ["cmdfusion: pipeline", "cmdfusion: lidar", "cmdfusion: sync", "cmdfusion: model"]
    assert {part.name: part for part in heard[-1].status}["cmdfusion: model"].message.startswith("FAKE")
