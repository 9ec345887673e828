"""What ends no node: transitions under traffic, deleted parameters, callbacks and services that
raise, bytes that are no messages. Skips where rclpy is not installed.
"""

import array
import os
import threading
import time
from collections import Counter
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

pytest.importorskip(
    "rclpy",
    reason="rclpy is not installed: the node's own tests need ROS 2 (apt, or pip wheels)",
)

from lifecycle_msgs.msg import Transition  # noqa: E402
from lifecycle_msgs.srv import ChangeState  # noqa: E402
from rcl_interfaces.msg import Parameter, ParameterValue  # noqa: E402
from rcl_interfaces.srv import SetParameters  # noqa: E402
from rclpy.serialization import serialize_message  # noqa: E402

from cmdfusion_ros.labelling.pipeline import Pipeline  # noqa: E402
from cmdfusion_ros.labelling.worker import WORKER_THREAD  # noqa: E402
from cmdfusion_ros.ros import inputs, node  # noqa: E402
from cmdfusion_ros.ros.executor import end_process, spin_once  # noqa: E402
from cmdfusion_ros.ros.inputs import SequenceWatch  # noqa: E402
from cmdfusion_ros.ros.interfaces import load_interfaces  # noqa: E402

INTERFACES = load_interfaces()
T = Transition
PATIENCE = 20.0  # seconds


def balanced(it):
    """Whether every cloud that came is accounted for."""
    part = it.parts()["pipeline"]
    return part["received"] == part["labelled"] + part["dropped"] + part["waiting"]


@contextmanager
def traffic(send, rate):
    """`send` called `rate` times a second, on a thread of its own: no transition holds it up."""
    ended = threading.Event()

    def run():
        while not ended.wait(1 / rate):
            send()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(PATIENCE)


@pytest.mark.parametrize("executor", ["events", "single"])
def test_transitions_under_traffic_leave_the_node_alive_and_every_cloud_counted(
    bench, wire, executor
):
    """60 transitions at 100 Hz, or CMDFUSION_TRANSITIONS of them; a third of them go through
    cleanup and configure.
    """
    it = bench({"output.always_publish": True}, executor=executor)
    clouds = it.speak(INTERFACES.PointCloud2, "/points")
    short = (T.TRANSITION_DEACTIVATE, T.TRANSITION_ACTIVATE)
    full = (T.TRANSITION_DEACTIVATE, T.TRANSITION_CLEANUP, T.TRANSITION_CONFIGURE,
            T.TRANSITION_ACTIVATE)  # fmt: skip
    number = int(os.environ.get("CMDFUSION_TRANSITIONS", 60))
    kinds = Counter()
    with traffic(lambda: clouds.publish(wire.cloud(time.time_ns(), 10)), 100):
        for kind in ((*full, *short, *full, *short) * (number // 12 + 1))[:number]:
            answer = it.call(ChangeState, "/cmdfusion/change_state", transition=T(id=kind))
            assert answer.success, f"transition {kind} after {kinds}"
            kinds[kind] += 1
            if kind == T.TRANSITION_ACTIVATE:
                # at times the next one comes while a cloud is at work, at times after it
                what = ("received", "labelled")[kinds[kind] % 2]
                before = it.parts()["pipeline"][what]
                it.until(lambda n=before, w=what: it.parts()["pipeline"][w] > n, "a cloud")
    assert balanced(it) and not it.parts()["pipeline"]["last_error"]
    assert it.parts()["pipeline"]["labelled"] > 5 and min(kinds.values()) >= number // 6
    print(executor, dict(kinds), it.parts()["pipeline"])


def test_a_closed_input_counts_what_it_still_gets(bench, wire):
    it = bench({"output.always_publish": True})
    inputs = it.node._inputs
    it.node.trigger_deactivate()
    inputs._on_cloud(bytes(serialize_message(wire.cloud(10**9))))
    inputs._on_image("front", INTERFACES.Image, b"")
    inputs._on_tick()
    assert it.parts()["pipeline"]["dropped.inactive"] == 1 and balanced(it)


def test_a_transition_that_does_not_exist_is_refused(bench):
    it = bench()
    for number in (0, 99, 255, T.TRANSITION_ACTIVATE):
        answer = it.call(ChangeState, "/cmdfusion/change_state", transition=T(id=number))
        assert not answer.success
    assert it.parts()["pipeline"]["state"] == "active"


def test_a_parameter_cannot_be_deleted(bench):
    it = bench({"cameras": ["front"]})
    for name in ("sync.max_wait", "cameras", "front.enabled", "model.device", "use_sim_time"):
        nothing = Parameter(name=name, value=ParameterValue(type=0))
        answer = it.call(SetParameters, "/cmdfusion/set_parameters", parameters=[nothing])
        assert not answer.results[0].successful
        assert it.node.has_parameter(name)


def test_a_service_that_raises_answers_and_a_callback_that_raises_is_shown(bench, monkeypatch):
    it = bench()
    monkeypatch.setattr(it.node.pairing, "reset", lambda reason: 1 / 0)
    answer = it.call(INTERFACES.Trigger, "/cmdfusion/reset")
    assert not answer.success and "ZeroDivisionError" in answer.message
    assert it.parts()["pipeline"]["level"] == 2
    assert "division by zero" in it.parts()["pipeline"]["message"]


def test_an_executor_that_raises_is_survived_unless_nothing_else_happens(bench):
    it = bench()

    class Raising:
        def spin_once(self, timeout_sec):
            raise SystemError("from rclpy itself")

    spin_once(Raising(), it.node.guard, it.node.reports)
    assert "from rclpy itself" in it.parts()["pipeline"]["message"]
    it.node.reports.last_look -= 60
    with pytest.raises(SystemError):
        spin_once(Raising(), it.node.guard, it.node.reports)


@pytest.mark.parametrize("executor", ["events", "single"])
def test_bytes_that_are_no_message_cost_that_message_alone(bench, wire, executor):
    it = bench({"cameras": ["front"], "output.always_publish": True}, executor=executor)
    info = it.speak(INTERFACES.CameraInfo, "/front/camera_info")
    clouds = it.speak(INTERFACES.PointCloud2, "/points")
    whole = bytes(serialize_message(INTERFACES.CameraInfo()))
    for damaged in (whole[:12] + b"\xff" * 8 + whole[20:], whole[:40], b"\xff" * 60):
        info.publish(damaged)
    points = bytes(serialize_message(wire.cloud(10**9)))
    for damaged in (points[:20] + b"\xff" * 40, points[:16] + b"\xff" * 30):
        clouds.publish(damaged)
    clouds.publish(wire.cloud(time.time_ns()))
    it.until(lambda: it.parts()["pipeline"]["labelled"] == 1, "the good cloud")
    assert it.parts()["lidar"]["malformed"] >= 1 and balanced(it)


def test_a_cloud_of_many_fields_is_refused_before_it_is_deserialised(bench, wire):
    it = bench({"output.always_publish": True})
    message = wire.cloud(time.time_ns())
    message.fields = [*message.fields, *[message.fields[0]] * 2000]
    clouds = it.speak(INTERFACES.PointCloud2, "/points")
    clouds.publish(message)
    it.until(lambda: it.parts()["lidar"]["malformed"] == 1, "the refusal")
    assert "at most 1024 fields" in it.parts()["pipeline"]["last_error"]


def test_a_camera_info_of_a_million_numbers_is_refused_before_it_is_deserialised(bench):
    it = bench({"cameras": ["front"]})
    infos = it.speak(INTERFACES.CameraInfo, "/front/camera_info")
    infos.publish(INTERFACES.CameraInfo(width=64, height=48, d=[0.0] * 1_000_000))
    it.until(lambda: it.parts()["camera/front"]["decode_errors"] == 1, "the refusal")
    assert not it.node._extrinsics._last_info


def test_clouds_lost_in_the_middleware_are_counted_by_publisher():
    watch = SequenceWatch()

    def info(publisher, number):
        return {"publication_sequence_number": number, "publisher_gid": {"data": publisher}}

    lost = [watch.lost_before(info(b"a", n)) for n in (5, 6, 9, 10)]
    assert lost == [0, 0, 2, 0]
    assert watch.lost_before(info(b"b", 1)) == 0 and watch.lost_before(info(b"a", 11)) == 0
    assert watch.lost_before(info(b"a", 3)) == 0  # a publisher that began anew
    assert watch.lost_before(None) == 0 and watch.lost_before({}) == 0


def test_what_a_busy_executor_overwrote_is_counted_as_lost(bench, wire):
    it = bench({"output.always_publish": True})
    clouds = it.speak(INTERFACES.PointCloud2, "/points")
    clouds.publish(wire.cloud(time.time_ns()))
    it.until(lambda: it.parts()["pipeline"]["labelled"] == 1, "the first cloud")
    for number in range(50):  # nobody takes them meanwhile: five stay
        clouds.publish(wire.cloud(time.time_ns() + number))
    clouds.publish(wire.cloud(time.time_ns() + 100))
    it.until(lambda: it.parts()["lidar"].get("lost", 0) > 0, "the count of lost clouds")
    assert it.parts()["lidar"]["level"] == 1 and "never came" in it.parts()["lidar"]["message"]


def test_with_overload_queue_nothing_is_overwritten(bench, wire):
    it = bench({"output.always_publish": True, "sync.overload": "queue"})
    clouds = it.speak(INTERFACES.PointCloud2, "/points", 500)
    base = time.time_ns()
    for number in range(400):
        clouds.publish(wire.cloud(base + number * 1000, 10))
    it.until(lambda: it.parts()["pipeline"]["labelled"] == 400, "all 400 clouds")
    assert it.parts()["lidar"]["lost"] == 0


def test_a_queue_that_grows_stops_neither_heartbeat_nor_services_and_loses_nothing(
    bench, wire, monkeypatch
):
    it = bench({"output.always_publish": True, "sync.overload": "queue"}, start=False)
    it.node.trigger_configure()
    opened, label = threading.Event(), Pipeline.__call__
    monkeypatch.setattr(
        Pipeline, "__call__", lambda self, paired: opened.wait(PATIENCE) and label(self, paired)
    )
    it.node.trigger_activate()
    beats = it.listen(INTERFACES.Header, "/cmdfusion/heartbeat")
    clouds = it.speak(INTERFACES.PointCloud2, "/points", 600)
    base = time.time_ns()
    for number in range(600):
        clouds.publish(wire.cloud(base + number * 1000, 10))
    it.until(lambda: it.parts()["pipeline"]["received"] == 600, "all clouds")
    heard = len(beats)
    assert it.call(INTERFACES.SetBool, "/cmdfusion/enable", data=True).success
    it.until(lambda: len(beats) > heard + 2, "heartbeats while the queue is long")
    waiting = it.parts()["pipeline"]
    assert waiting["waiting"] == 600 and waiting["queue_fill"] > 0 and balanced(it)
    opened.set()
    it.until(lambda: it.parts()["pipeline"]["labelled"] == 600, "all 600 clouds")
    assert it.parts()["lidar"]["lost"] == it.parts()["pipeline"]["queue_fill"] == 0


def test_where_there_are_no_sequence_numbers_the_middleware_is_asked(bench, monkeypatch):
    monkeypatch.setattr(inputs, "takes_message_info", lambda: False)
    it = bench()
    (handler,) = it.node._inputs.subscriptions()[0][-1].event_handlers
    handler.callback(SimpleNamespace(total_count=9, total_count_change=3))
    assert it.parts()["lidar"]["lost"] == 3


def test_with_overload_queue_a_best_effort_publisher_is_heard_and_a_reliable_one_gets_its_due(
    bench, wire
):
    from rclpy.qos import qos_profile_sensor_data

    it = bench({"output.always_publish": True, "sync.overload": "queue"})
    quality = lambda: it.node._inputs._cloud_quality  # noqa: E731
    for number, (offered, expected) in enumerate(
        ((qos_profile_sensor_data, "points_queue_best_effort"), (10, "points_queue")), start=1
    ):
        clouds = it.friend.create_publisher(INTERFACES.PointCloud2, "/points", offered)
        with traffic(lambda clouds=clouds: clouds.publish(wire.cloud(time.time_ns())), 20):
            it.until(
                lambda expected=expected, number=number: (
                    quality() == expected and it.parts()["pipeline"]["labelled"] > 3 * number
                ),
                expected,
            )
        it.friend.destroy_publisher(clouds)


def test_a_heartbeat_beats_with_the_state_and_stops_when_the_worker_is_broken(bench, monkeypatch):
    import dataclasses

    it = bench()
    beats = it.listen(INTERFACES.Header, "/cmdfusion/heartbeat")
    it.until(lambda: len(beats) > 2, "three heartbeats")
    assert beats[-1].frame_id == "active"
    report = dataclasses.replace(it.node._worker.report(), is_broken=True)
    monkeypatch.setattr(it.node._worker, "report", lambda: report)
    it.executor.spin_once(timeout_sec=0.2)
    count = len(beats)
    for _ in range(10):
        it.executor.spin_once(timeout_sec=0.05)
    assert len(beats) <= count + 1


def test_names_in_diagnostics_hold_the_namespace(bench):
    import rclpy

    from cmdfusion_ros.ros.node import CmdfusionNode

    it = bench()
    waits = rclpy.parameter.Parameter("autostart", value=False)
    other = CmdfusionNode(namespace="/robot_1", parameter_overrides=[waits])
    it.executor.add_node(other)
    heard = it.listen(INTERFACES.DiagnosticArray, "/diagnostics")
    it.until(
        lambda: (
            {"/robot_1/cmdfusion: pipeline", "cmdfusion: pipeline"}
            <= {status.name for message in heard for status in message.status}
        ),
        "both names",
    )
    other.close()
    other.destroy_node()


def test_frame_ids_reach_diagnostics_without_what_a_terminal_obeys(bench, wire):
    it = bench({"output.always_publish": True})
    heard = it.listen(INTERFACES.DiagnosticArray, "/diagnostics")
    message = wire.cloud(time.time_ns())
    message.header.frame_id = "\x1b[31mred\n"
    it.speak(INTERFACES.PointCloud2, "/points").publish(message)
    it.until(
        lambda: any("red" in v.value for m in heard for s in m.status for v in s.values),
        "the frame in /diagnostics",
    )
    told = [v.value for m in heard for s in m.status for v in s.values] + [
        s.message for m in heard for s in m.status
    ]
    assert all(text.isprintable() for text in told)


def test_odd_clouds_are_counted_and_cost_no_other(bench, wire):
    it = bench({"output.always_publish": True, "output.layout": "append"})
    labelled = it.speak(INTERFACES.PointCloud2, "/points")
    poison = wire.cloud(time.time_ns(), 0)
    poison.is_bigendian = True
    poison.height = poison.width = poison.row_step = 0
    poison.point_step = 2**32 - 1
    poison.fields = [INTERFACES.PointField(name="a", offset=0, datatype=2, count=2**32 - 1)]
    poison.data = array.array("B")
    labelled.publish(poison)
    it.until(lambda: it.parts()["pipeline"]["received"] == 1, "the poison")
    labelled.publish(wire.cloud(time.time_ns()))
    it.until(lambda: it.parts()["pipeline"]["labelled"] == 1, "the cloud after it")
    assert balanced(it)


def test_a_signal_that_comes_while_the_node_is_made_is_an_ordinary_end(monkeypatch):
    import rclpy

    def interrupted():
        rclpy.shutdown()
        raise RuntimeError("error creating node: the given context is not valid")

    monkeypatch.setattr(node, "CmdfusionNode", interrupted)
    assert node.main([]) == 0
    monkeypatch.setattr(node, "CmdfusionNode", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):  # nobody asked it to end
        node.main([])


def test_a_process_whose_worker_hangs_ends_without_waiting_for_it(monkeypatch):
    codes, hung = [], threading.Event()
    monkeypatch.setattr(os, "_exit", codes.append)
    end_process(0)
    assert codes == []
    thread = threading.Thread(target=hung.wait, name=WORKER_THREAD)
    thread.start()
    end_process(2)
    hung.set()
    thread.join(PATIENCE)
    assert codes == [2]
