"""What is published of a labelled cloud, what is filtered, what is saved. No ROS."""

import dataclasses
import time
from types import SimpleNamespace

import numpy as np
import pytest
from builders.cloud_outputs import NOTHING, outputs
from builders.labelled_cloud import STREET

from cmdfusion_ros.config import LiveSettings
from cmdfusion_ros.frame import IGNORE_LABEL, Prediction
from cmdfusion_ros.labelling.diagnostics.facts import (
    WARN,
    CameraFacts,
    GraphFacts,
    NodeFacts,
)
from cmdfusion_ros.labelling.diagnostics.node_diagnostics import NodeDiagnostics
from cmdfusion_ros.labelling.job import Labelling
from cmdfusion_ros.labelling.placement import Placement
from cmdfusion_ros.labelling.settings import node_settings
from cmdfusion_ros.labelling.taxonomy import open_taxonomy
from cmdfusion_ros.messages.clouds import MessageError, usable_points
from cmdfusion_ros.messages.transforms import TransformError
from cmdfusion_ros.ros.interfaces import COSTS, Interfaces, load_interfaces
from cmdfusion_ros.ros.outputs import CloudOutputs, OutputContext, RateLimit

LIVE = LiveSettings(node_settings({}))


def test_all_points_are_kept_by_default_but_rows_that_are_no_points(labelled):
    np.testing.assert_array_equal(
        outputs().kept(labelled, labelled.prediction), [True, True, True, False, True]
    )


@pytest.mark.parametrize(
    ("classes", "least", "kept"),
    [  # labels and confidence: road 0.2, car 0.4, car 0.6, no point, road 0.8
        (["car"], 0.0, [True, False, False, False, True]),
        (["car"], 0.5, [True, True, False, False, True]),
        (["road"], 0.5, [True, True, True, False, False]),
        (["road", "car"], 0.9, [True, True, True, False, True]),
        ([], 1.0, [True, True, True, False, True]),  # nothing goes for being uncertain
    ],
)
def test_a_class_is_left_out_only_where_the_network_is_sure(labelled, classes, least, kept):
    node = outputs(filter__classes=classes, filter__min_probability=least)
    np.testing.assert_array_equal(node.kept(labelled, labelled.prediction), kept)


def test_the_road_is_left_out_from_a_probability_of_four_fifths_unless_told_otherwise(labelled):
    node = outputs(filter__classes=["road"])
    for probability, stays in ((0.79, True), (0.8, False)):
        confidence = np.full(4, probability, np.float32)
        prediction = dataclasses.replace(labelled.prediction, confidence=confidence)
        assert node.kept(labelled, prediction)[4] == stays


def test_points_without_a_label_or_out_of_range_stay(labelled):
    """Whatever is removed: the network was not asked about the last, or has no class for it."""
    rows = labelled.rows.copy()
    rows[4] = False
    some = dataclasses.replace(labelled, rows=rows)
    prediction = Prediction(
        np.array([IGNORE_LABEL, 0, 0], np.uint8), np.ones(3, np.float32), np.zeros(3, np.uint32)
    )
    keep = outputs(filter__classes=list(STREET.names)).kept(some, prediction)
    np.testing.assert_array_equal(keep, [True, False, False, False, True])


def test_the_ego_box_is_left_out_in_its_own_frame(labelled):
    box = [-2.0, -2, -2, 2, 2, 2]
    np.testing.assert_array_equal(
        outputs(filter__ego_box=box).kept(labelled, labelled.prediction),
        [False, True, True, False, True],
    )
    # x = 5 in the LiDAR frame
    in_base = outputs(filter__ego_box=[5.5, -1.0, -1, 6.5, 1, 1], filter__ego_frame="base")
    np.testing.assert_array_equal(
        in_base.kept(labelled, labelled.prediction), [True, False, True, False, True]
    )


@pytest.mark.parametrize("scale", [1.0, 0.01, 0.001])
def test_what_stays_does_not_hang_on_the_unit_of_the_clouds(labelled, scale):
    """In millimetres a point at 40 m is at 40,000: no reason to lose an obstacle."""
    points = np.float32([[1, 0, 0], [5, 0, 0], [40, 0, 0], [0, 0, 0], [50, 0, 0]]) / scale
    rows = np.array([True, True, False, False, True])  # the third is beyond points.max_range
    some = {"labels": labelled.prediction.labels[:3], "confidence": np.float32([0.9, 0.9, 0.9])}
    prediction = Prediction(**some, camera_mask=np.zeros(3, np.uint32))
    cloud = dataclasses.replace(labelled.cloud, points=points, usable=usable_points(points))
    it = dataclasses.replace(
        labelled, cloud=cloud, rows=rows, placement=Placement(True, scale=scale)
    )
    kept = outputs(filter__ego_box=[0.5, -1, -1, 2, 1, 1]).kept(it, prediction)
    np.testing.assert_array_equal(kept, [False, True, True, False, True])


def test_the_id_of_unlabelled_points_is_the_class_map_s_or_the_user_s():
    assert (
        outputs().ignore_id == STREET.ignore_raw
        and outputs(output__unlabeled_id=255).ignore_id == 255
    )


class Publisher:
    """Somebody listens to it; remembers what was published."""

    def __init__(self):
        self.published = []
        self.publish = self.published.append

    def get_subscription_count(self):
        return 1


class NowhereBase:
    """Extrinsics that know no transform."""

    def transform(self, target, source):
        raise TransformError(f"no transform from {source} to {target}")


def test_a_filtered_cloud_that_cannot_be_made_costs_nothing_else(labelled):
    """~/points_labeled is out by then: the cloud counts as labelled, and status and views go out
    too.
    """
    diagnostics, shown = NodeDiagnostics(LiveSettings(node_settings({"cameras": ["front"]}))), []
    settings = node_settings(
        {"filter.ego_box": [0.0, 0, 0, 1, 1, 1], "filter.ego_frame": "base_lnk"}
    )
    interfaces = Interfaces({"PointCloud2": SimpleNamespace, "PointField": SimpleNamespace}, {})
    context = OutputContext(
        None, NOTHING, LiveSettings(settings), open_taxonomy(STREET), NowhereBase()
    )
    outputs = CloudOutputs(context, "x")
    outputs._interfaces, outputs._publishers = (
        interfaces,
        {"~/points_labeled": Publisher(), "~/points_filtered": Publisher()},
    )
    outputs.publish_status = lambda *values: shown.append("status")
    views = SimpleNamespace(publish=lambda *values: shown.append("views"))
    lines = []
    log = SimpleNamespace(error=lambda text, **options: lines.append(text))
    pipeline = SimpleNamespace(device_trouble="")
    labelling = Labelling(
        pipeline,
        open_taxonomy(STREET),
        outputs,
        views,
        diagnostics,
        LiveSettings(settings),
        lambda: 2 * 10**9,
        log,
    )
    diagnostics.cloud_arrived(10**9)
    labelling.publish(SimpleNamespace(stamp=10**9, released_ns=time.monotonic_ns()), labelled)
    assert len(outputs._publishers["~/points_labeled"].published) == 1 and shown == [
        "status",
        "views",
    ]
    facts = NodeFacts(
        "active", True, GraphFacts(), {}, None, {"front": CameraFacts(True, "", "", None, 0.0, 0)}
    )
    pipeline_part = diagnostics.parts(facts)[0]
    assert (
        pipeline_part.values["labelled"] == 1
        and pipeline_part.values["dropped"] == 0
        and pipeline_part.values["errors"] == 1
    )
    assert (
        pipeline_part.level == WARN
        and "base_lnk" in pipeline_part.message
        and "base_lnk" in lines[0]
    )


def test_the_latency_of_a_cloud_without_stamp_counts_from_its_arrival(labelled):
    latencies = []
    outputs = SimpleNamespace(
        publish_labelled=lambda *values: None,
        publish_filtered=lambda *values: None,
        publish_scan=lambda *values: None,
        publish_status=lambda *v: latencies.append(v[-1].latency_ms),
    )
    unstamped = dataclasses.replace(labelled, cloud=dataclasses.replace(labelled.cloud, stamp=0))
    views, pipeline = (
        SimpleNamespace(publish=lambda *values: None),
        SimpleNamespace(device_trouble=""),
    )
    labelling = Labelling(
        pipeline,
        open_taxonomy(STREET),
        outputs,
        views,
        Counting(),
        LIVE,
        lambda: 1_700_000_000_250_000_000,
        None,
    )
    labelling.publish(SimpleNamespace(stamp=1_700_000_000_000_000_000, released_ns=0), unstamped)
    assert latencies == [pytest.approx(250.0)]


class Counting:
    """NodeDiagnostics that only remembers."""

    def __init__(self):
        self.calls = []

    def __getattr__(self, name):
        return lambda *values: self.calls.append((name, *values))


@pytest.mark.parametrize(
    ("error", "counted"),
    [
        (MessageError("cut off"), ("cloud_unreadable", "cut off")),
        (TransformError("no base"), ("cloud_failed", "no_transform", "no base")),
        (
            RuntimeError("out of memory"),
            ("cloud_failed", "model_error", "RuntimeError: out of memory"),
        ),
    ],
)
def test_a_failed_cloud_is_counted_by_its_reason(error, counted):
    diagnostics = Counting()
    log = SimpleNamespace(error=lambda text, **options: None)
    labelling = Labelling(SimpleNamespace(), None, None, None, diagnostics, LIVE, None, log)
    labelling.failed(None, error)
    assert diagnostics.calls == [counted]


def test_a_rate_limit_lets_pass_what_is_due(monkeypatch):
    now = [100.0]
    monkeypatch.setattr("cmdfusion_ros.ros.outputs.time.monotonic", lambda: now[0])
    limit = RateLimit()
    passed = []
    for _ in range(10):
        passed.append(limit.passes(2.0))
        now[0] += 0.2
    assert passed == [True, False, False, True, False, False, True, False, False, True]
    assert not RateLimit().passes(0.0)


def test_a_missing_package_is_named_with_its_cost_and_others_still_load(monkeypatch):
    pytest.importorskip("rclpy", reason="rclpy is not installed")
    import sys

    for module in ("vision_msgs", "vision_msgs.msg", "std_srvs", "std_srvs.srv"):
        monkeypatch.setitem(sys.modules, module, None)
    interfaces = load_interfaces()
    assert not interfaces.has("Trigger") and interfaces.has("PointCloud2")
    complaints = " ".join(interfaces.complaints())
    assert COSTS["std_srvs"] in complaints and COSTS["vision_msgs"] in complaints
    with pytest.raises(AttributeError, match="Trigger is not installed"):
        interfaces.Trigger  # noqa: B018


def test_where_the_network_sees_the_clouds_is_said_once(labelled):
    lines = []
    log = SimpleNamespace(
        info=lambda text: lines.append(("info", text)),
        warning=lambda text: lines.append(("warning", text)),
    )
    quiet = SimpleNamespace(
        publish_labelled=lambda *values: None,
        publish_filtered=lambda *values: None,
        publish_scan=lambda *values: None,
        publish_status=lambda *values: None,
    )
    views = SimpleNamespace(publish=lambda *values: None)
    pipeline = SimpleNamespace(device_trouble="")
    labelling = Labelling(
        pipeline, open_taxonomy(STREET), quiet, views, Counting(), LIVE, lambda: 2 * 10**9, log
    )
    unsure = Placement(False, words="no ground seen in it: taken as it came")
    found = Placement(True, words="origin of lidar, 1.80 m over the ground, upside down")
    for placement in (unsure, unsure, found, found):
        cloud = dataclasses.replace(labelled, placement=placement)
        labelling.publish(SimpleNamespace(stamp=10**9, released_ns=time.monotonic_ns()), cloud)
    assert [level for level, _ in lines] == ["warning", "info"]
    assert "upside down" in lines[1][1]


def test_a_move_to_the_cpu_and_back_is_said_once_each(labelled):
    lines = []
    log = SimpleNamespace(
        info=lambda text: lines.append(("info", text)),
        error=lambda text: lines.append(("error", text)),
    )
    quiet = SimpleNamespace(
        publish_labelled=lambda *values: None,
        publish_filtered=lambda *values: None,
        publish_scan=lambda *values: None,
        publish_status=lambda *values: None,
        publish=lambda *values: None,
    )
    pipeline = SimpleNamespace(device_trouble="")
    labelling = Labelling(
        pipeline, open_taxonomy(STREET), quiet, quiet, Counting(), LIVE, lambda: 2 * 10**9, log
    )
    cloud = dataclasses.replace(labelled, placement=None)
    for pipeline.device_trouble in ("", "cuda failed (1)", "cuda failed (2)", "", ""):
        labelling.publish(SimpleNamespace(stamp=10**9, released_ns=time.monotonic_ns()), cloud)
    assert lines == [
        ("error", "cuda failed (1)"),
        ("info", "the device answers again: labelling on it"),
    ]


@pytest.mark.parametrize(
    ("values", "seen"),
    [  # road 0.2 at 1 m, car 0.4 at 5 m, car 0.6 at 45 degrees, road 0.8 at 50 m
        ({}, {4: 1.0, 5: 7.07}),
        ({"filter__classes": ["road"], "filter__min_probability": 0.2}, {4: 5.0, 5: 7.07}),
        ({"scan__classes": ["car"], "filter__min_probability": 0.2}, {4: 5.0, 5: 7.07}),
        ({"scan__classes": ["road"], "filter__min_probability": 0.4}, {4: 1.0}),
        ({"scan__classes": ["road"], "filter__min_probability": 0.7}, {4: 1.0, 5: 7.07}),
        ({"scan__classes": ["person"]}, {4: 1.0, 5: 7.07}),  # of the rest it is not sure
        ({"filter__ego_box": [0.5, -1.0, -1, 2, 1, 1]}, {4: 5.0, 5: 7.07}),
    ],
)
def test_the_scan_shows_the_classes_asked_for_and_whatever_is_unsure(labelled, values, seen):
    node = outputs(
        scan__frame="lidar",
        scan__min_height=-1.0,
        scan__angle_increment=45.0,
        **values,
    )
    publisher = Publisher()
    node._interfaces = Interfaces({"LaserScan": lambda: SimpleNamespace(header=Header())}, {})
    node._publishers = {"~/scan": publisher}
    node.publish_scan(labelled, labelled.prediction)
    (message,) = publisher.published
    assert message.header.frame_id == "lidar"
    assert message.header.stamp == labelled.message.header.stamp
    found = {ray: value for ray, value in enumerate(message.ranges) if np.isfinite(value)}
    assert found == pytest.approx(seen, abs=0.01)
    assert len(message.ranges) == round(
        (message.angle_max - message.angle_min) / message.angle_increment + 1
    )


class Header:
    """A std_msgs/Header to fill."""


def test_a_camera_that_does_not_sit_as_it_says_is_warned_of_once_a_change(labelled):
    lines, taken = [], []
    log = SimpleNamespace(
        warning=lambda text: lines.append(("warning", text)),
        info=lambda text: lines.append(("info", text)),
    )
    watch = SimpleNamespace(due=True, take=lambda *given: taken.append(given))
    outputs = SimpleNamespace(
        publish_labelled=lambda *values: None,
        publish_filtered=lambda *values: None,
        publish_scan=lambda *values: None,
        publish_status=lambda *values: None,
    )
    views = SimpleNamespace(wants_images=lambda: False, publish=lambda *values: None)
    pipeline, diagnostics = SimpleNamespace(device_trouble=""), Counting()
    labelling = Labelling(
        pipeline, open_taxonomy(STREET), outputs, views, diagnostics, LIVE, lambda: 0, log, watch
    )
    assert pipeline.wants_images()
    watch.due = False
    assert not pipeline.wants_images()
    labelling.publish(SimpleNamespace(stamp=1, released_ns=0), labelled)
    assert taken == [(labelled.frame, None, "lidar")]
    anew = ("not judged: it was placed or calibrated anew", False)
    said = [("wrong: 2 degrees", True)] * 2 + [anew, ("right", False), ("right", False)]
    for words, is_wrong in said:
        watch.tell("front", words, is_wrong)
    assert [kind for kind, _ in lines] == ["warning", "info"]
    assert lines[0][1].startswith("camera front: wrong: 2 degrees; ")
    assert diagnostics.calls[-1] == ("camera_judged", "front", "right", False)
