"""The node in this process, over real rclpy: parameters, lifecycle, services. Skips where rclpy
is not installed.
"""

import sys
import time
from pathlib import Path

import numpy as np
import pytest
from builders.interfaces import INTERFACES, needs_interfaces
from rclpy.parameter import Parameter

from cmdfusion_ros.config import SettingsError
from cmdfusion_ros.ros.node import CmdfusionNode, make_executor

# ---- parameters


def test_a_live_parameter_takes_effect_and_a_wrong_value_changes_nothing(bench, wire):
    it = bench()
    assert it.node.set_parameters([Parameter("sync.max_wait", value=0.2)])[0].successful
    assert it.node.pairing.settings.current.sync.max_wait == 0.2
    refused = it.node.set_parameters([Parameter("sync.tolerance", value=0.0)])[0]
    assert not refused.successful and "more than 0.0 s" in refused.reason
    assert (
        it.node.settings.sync.tolerance == 0.05
        and it.node.get_parameter("sync.tolerance").value == 0.05
    )


def test_a_whole_number_is_as_good_as_a_fraction(bench, wire):
    it = bench({"sync.max_wait": 0})
    assert it.node.settings.sync.max_wait == 0
    assert it.node.set_parameters([Parameter("sync.max_wait", value=1)])[0].successful


def test_other_parameters_are_read_only_and_described(bench, wire):
    it = bench({"cameras": ["front"]}, start=False)
    assert not it.node.set_parameters([Parameter("model.device", value="cuda")])[0].successful
    described = it.node.describe_parameter("sync.max_wait")
    assert (
        "[s]" in described.description
        and described.floating_point_range[0].to_value == 1.0
        and not described.read_only
    )
    assert (
        it.node.describe_parameter("front.transport").read_only
        and "raw, compressed" in it.node.describe_parameter("front.transport").description
    )


def test_an_override_that_no_parameter_takes_is_warned_of_with_the_nearest_name(bench, wire):
    it = bench({"cameras": ["front"], "front.tolerence": 0.1, "sync.maxwait": 0.1}, start=False)
    assert it.node.parameters.warnings == [
        "parameter 'front.tolerence' is not one of this node and has no effect; did you mean "
        "'front.tolerance'?",
        "parameter 'sync.maxwait' is not one of this node and has no effect; did you mean "
        "'sync.max_wait'?",
    ]


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"output.layout": "fancy"}, "output.layout"),
        ({"cameras": ["a b"]}, "letters"),
        ({"autostart": 3}, "autostart"),
    ],
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


def test_an_unknown_class_to_filter_leaves_the_node_unconfigured(bench, wire):
    it = bench({"filter.classes": ["cra"]}, start=False)
    assert not it.node.start()


def test_a_failed_transition_leaves_nothing_half_built(bench, capfd, one_camera, tmp_path):
    it = bench({**one_camera, "front.calibration_file": str(tmp_path / "late.yaml")}, start=False)
    before = len(list(it.node.subscriptions))
    assert not it.node.start() and "late.yaml" in capfd.readouterr().err
    assert len(list(it.node.subscriptions)) == before
    (tmp_path / "late.yaml").write_text(Path(one_camera["front.calibration_file"]).read_text())
    assert it.node.start()  # the user mended it


def test_a_topic_that_is_no_name_leaves_the_node_inactive(bench, capfd):
    it = bench({"points.topic": "no name"}, start=False)
    assert not it.node.start() and "activate failed" in capfd.readouterr().err
    assert it.parts()["pipeline"]["state"] == "inactive" and it.node._worker is None


def test_a_camera_topic_that_is_no_name_leaves_no_subscription_behind(bench, wire, capfd):
    it = bench(
        {"cameras": ["front"], "front.image_topic": "no name", "output.always_publish": True},
        start=False,
    )
    before = {subscription.topic_name for subscription in it.node.subscriptions}
    assert not it.node.start() and "activate failed" in capfd.readouterr().err
    added = {subscription.topic_name for subscription in it.node.subscriptions} - before
    # those of configuring; a cloud that came now would kill the node
    assert added <= {"/tf", "/tf_static"}


def test_two_cameras_that_share_a_camera_info_are_both_let_go_of(bench, wire):
    shared = {"a.camera_info_topic": "/info", "b.camera_info_topic": "/info"}
    it = bench({"cameras": ["a", "b"], **shared, "a.camera_info_durability": "transient_local"})
    assert [subscription.topic_name for subscription in it.node.subscriptions].count("/info") == 2
    it.friend.create_publisher(INTERFACES.CameraInfo, "/info", 10)
    it.until(lambda: it.node._graph.facts.publishers.get("/info", (0, ""))[0] == 1, "the publisher")
    # b has no complaint, a has: it asks for a latched topic
    assert "offers less than we ask for" in it.node._graph.facts.publishers.get("/info", (0, ""))[1]
    it.node.trigger_deactivate()
    assert "/info" not in [subscription.topic_name for subscription in it.node.subscriptions]


def test_deactivate_keeps_the_counts_and_activate_goes_on(bench, wire):
    it = bench({"output.always_publish": True})
    clouds = it.speak(INTERFACES.PointCloud2, "/points")
    clouds.publish(wire.cloud(time.time_ns()))
    it.until(lambda: it.parts()["pipeline"]["labelled"] == 1, "the first cloud")
    it.node.trigger_deactivate()
    assert it.parts()["pipeline"]["state"] == "inactive" and it.parts()["pipeline"]["labelled"] == 1
    it.node.trigger_activate()
    it.until(lambda: clouds.get_subscription_count() == 1, "the subscription")
    clouds.publish(wire.cloud(time.time_ns()))
    it.until(lambda: it.parts()["pipeline"]["labelled"] == 2, "the second cloud")
    it.node.trigger_deactivate()
    it.node.trigger_cleanup()
    assert it.parts()["pipeline"]["state"] == "unconfigured"


@pytest.mark.parametrize("executor", ["auto", "single"])
def test_a_manager_takes_the_node_through_its_life_while_clouds_flow(bench, wire, executor):
    from lifecycle_msgs.msg import Transition
    from lifecycle_msgs.srv import ChangeState

    it = bench({"output.always_publish": True}, start=False, executor=executor)
    clouds = it.friend.create_publisher(INTERFACES.PointCloud2, "/points", 10)
    it.friend.create_timer(0.02, lambda: clouds.publish(wire.cloud(time.time_ns())))

    def change(number):
        request = Transition(id=number)
        return it.call(ChangeState, "/cmdfusion/change_state", transition=request).success

    for _ in range(2):
        before = it.parts()["pipeline"]["labelled"]
        assert change(Transition.TRANSITION_CONFIGURE) and change(Transition.TRANSITION_ACTIVATE)
        it.until(
            lambda count=before + 3: it.parts()["pipeline"]["labelled"] >= count, "three clouds"
        )
        assert change(Transition.TRANSITION_DEACTIVATE) and change(Transition.TRANSITION_CLEANUP)
    part = it.parts()["pipeline"]
    assert (
        part["received"] == part["labelled"] + part["dropped"] and part["state"] == "unconfigured"
    )
    assert change(Transition.TRANSITION_UNCONFIGURED_SHUTDOWN)


def test_a_destroyed_node_is_gone_for_others_at_once(bench):
    it = bench(start=False)
    second = CmdfusionNode(parameter_overrides=[Parameter("model.backend", value="fake")])

    def servers():
        return it.friend.count_services("/cmdfusion/change_state")

    it.until(lambda: servers() == 2, "the second node's services")
    second.close()
    second.destroy_node()
    it.until(lambda: servers() == 1, "the end of the second node's services")
    assert it.friend.get_node_names().count("cmdfusion") == 1


def test_the_events_executor_is_refused_where_rclpy_has_none(monkeypatch):
    monkeypatch.setitem(sys.modules, "rclpy.experimental.events_executor", None)
    with pytest.raises(SettingsError, match="has no EventsExecutor"):
        make_executor("events")


# ---- services


@pytest.mark.skipif(not INTERFACES.has("Trigger"), reason="std_srvs is not installed")
def test_services_pause_reset_and_save(bench, wire, monkeypatch, tmp_path):
    monkeypatch.setenv("ROS_HOME", str(tmp_path))
    it = bench()
    clouds = it.speak(INTERFACES.PointCloud2, "/points")
    for _ in range(2):  # pausing twice is no error
        assert it.call(INTERFACES.SetBool, "/cmdfusion/enable", data=False).success
    clouds.publish(wire.cloud(time.time_ns()))
    it.until(lambda: it.parts()["pipeline"].get("dropped.paused") == 1, "the paused cloud")
    assert it.call(INTERFACES.SetBool, "/cmdfusion/enable", data=True).success
    assert (
        it.call(INTERFACES.Trigger, "/cmdfusion/reset").success and it.parts()["sync"]["epoch"] == 1
    )
    saved = it.call(INTERFACES.Trigger, "/cmdfusion/save_frame")
    assert saved.success and str(tmp_path) in saved.message
    clouds.publish(wire.cloud(time.time_ns()))
    it.until(lambda: list(tmp_path.glob("*.npz")), "the saved frame")
    it.until(
        lambda: not it.node.labelling.saver.busy and it.parts()["pipeline"]["labelled"] == 1,
        "the end of saving",
    )
    it.node.trigger_deactivate()  # joins the worker: the file is whole
    (path,) = tmp_path.glob("*.npz")
    with np.load(path) as frame:
        assert (
            frame["points"].shape == (100, 3)
            and len(frame["labels"]) == frame["rows"].sum()
            and "road" in frame["class_names"]
        )


@needs_interfaces
def test_a_camera_is_switched_off_and_on_by_service(bench, wire, one_camera):
    it = bench(one_camera)
    assert it.call(
        INTERFACES.SetCamera, "/cmdfusion/set_camera", name="front", enable=False
    ).success
    assert (
        it.parts()["camera/front"]["state"] == "DISABLED"
        and it.node.get_parameter("front.enabled").value is False
    )
    assert it.call(INTERFACES.SetCamera, "/cmdfusion/set_camera", name="", enable=True).success
    assert it.parts()["camera/front"]["state"] == "NEVER_SEEN"
    refused = it.call(INTERFACES.SetCamera, "/cmdfusion/set_camera", name="frnt", enable=True)
    assert not refused.success and "known: front" in refused.message
