"""The node as a process, talked to over real Fast DDS with the shipped profile. Skips where
rclpy is not installed.
"""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import threading
from queue import Empty, Queue

import pytest
from builders.paths import REPOSITORY

pytest.importorskip(
    "rclpy",
    reason="rclpy is not installed: the node's own tests need ROS 2 (apt, or pip wheels)",
)

PEER = REPOSITORY / "test" / "builders" / "peer.py"
PROFILE = REPOSITORY / "config" / "fastdds_large_clouds.xml"
PATIENCE = 40.0  # seconds: how long a test waits for what must happen at once
FUSED, PARTIAL, LIDAR_ONLY = 2, 1, 0
needs_interfaces = pytest.mark.skipif(
    importlib.util.find_spec("cmdfusion_ros.msg") is None,
    reason="cmdfusion_ros.msg is not built: run colcon build",
)


class Process:
    """A Python process whose lines of standard output can be waited for. Its log goes to
    standard error, which pytest shows when a test fails.
    """

    def __init__(self, words, environment):
        self._process = subprocess.Popen(
            [sys.executable, *map(str, words)], env=environment, stdout=subprocess.PIPE, text=True
        )
        self._lines = Queue()
        threading.Thread(
            target=lambda: [self._lines.put(line) for line in self._process.stdout], daemon=True
        ).start()

    def line(self, before=()):
        """The next line, as JSON. `before`: the lines so far, for the error."""
        try:
            return json.loads(self._lines.get(timeout=PATIENCE))
        except Empty:
            raise AssertionError(
                f"no line within {PATIENCE:g} s; exit code so far: {self._process.poll()}; lines "
                f"before: {before}"
            ) from None

    def drain(self):
        """Forget the lines that are here."""
        while not self._lines.empty():
            self._lines.get()

    def send(self, number):
        self._process.send_signal(number)

    def end(self):
        """The exit code."""
        return self._process.wait(PATIENCE)

    def kill(self):
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()


@pytest.fixture
def start(ros_domain):
    """start(*words) -> Process, in a ROS domain of this test's own; all are killed at its end."""
    environment = {
        **os.environ,
        "ROS_DOMAIN_ID": str(ros_domain),
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
        "FASTDDS_DEFAULT_PROFILES_FILE": str(PROFILE),
        "PYTHONPATH": os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")]),
        "OMP_NUM_THREADS": "1",
    }
    running = []

    def run(*words):
        running.append(Process(words, environment))
        return running[-1]

    yield run
    for process in running:
        process.kill()


@pytest.fixture
def start_node(start):
    """start_node(*parameters "name:=value") -> Process."""

    def run(*parameters, files=()):
        chosen = [
            word for parameter in ("model.backend:=fake", *parameters) for word in ("-p", parameter)
        ]
        return start(
            "-m",
            "cmdfusion_ros.ros.node",
            "--ros-args",
            *(word for file in files for word in ("--params-file", file)),
            *chosen,
        )

    return run


def test_large_clouds_arrive_without_loss(start, start_node):
    start_node("diagnostics.rate:=10.0", "sync.overload:=queue", "output.always_publish:=true")
    for size_mb, rate in ((2, 10), (2, 20), (4, 10), (4, 20)):
        told = start(PEER, "traffic", size_mb, rate, 20).line()
        assert told["received"] == told["sent"] == 20, f"{size_mb} MB at {rate} Hz: {told}"
        counts = {
            key: int(told["pipeline"][key])
            for key in ("received", "labelled", "dropped", "waiting")
        }
        assert (
            counts["received"] == counts["labelled"] + counts["dropped"] + counts["waiting"]
            and counts["dropped"] == 0
        )


@needs_interfaces
def test_a_listener_that_comes_late_gets_the_class_map(start, start_node):
    start_node("diagnostics.rate:=10.0")
    start(PEER, "traffic", 0.1, 10, 1).line()  # the node is up and has been for a while
    listener = start(PEER, "listen", "/cmdfusion/class_map", "cmdfusion_ros/ClassMap", "latched")
    assert listener.line() == {"ready": True}
    told = listener.line()
    assert told["taxonomy"] == "street" and told["names"][0] == "road"


def test_a_node_that_was_killed_goes_on_when_it_is_started_again(start, start_node):
    first = start_node()
    driver = start(PEER, "drive")
    assert driver.line() == {"points": 10_000}
    first.send(signal.SIGKILL)
    assert first.end() == -signal.SIGKILL
    driver.drain()
    start_node()
    assert driver.line() == {"points": 10_000}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("busy", [False, True])
def test_the_node_ends_with_exit_code_0_on(start, start_node, number, busy):
    node = start_node()
    if busy:
        assert start(PEER, "drive").line() == {"points": 10_000}
    else:
        start(PEER, "traffic", 0.1, 10, 1).line()
    node.send(number)
    assert node.end() == 0


def test_parameters_that_cannot_be_used_end_the_node_with_exit_code_2(start_node):
    assert start_node("output.layout:=fancy").end() == 2


@needs_interfaces
def test_cameras_silenced_mid_way_cost_no_cloud_and_the_status_says_so(
    start, start_node, small_bag, tmp_path
):
    from cmdfusion_ros.data.bags.bag_layout import inspect_bag
    from cmdfusion_ros.data.bags.bag_parameters import (
        node_parameters,
        write_calibration_files,
        write_parameter_file,
    )

    layout = inspect_bag(small_bag)
    parameters, remaps = node_parameters(layout, write_calibration_files(tmp_path, layout))
    assert not remaps
    write_parameter_file(
        tmp_path / "node.yaml",
        {**parameters, "use_sim_time": True, "sync.max_wait": 0.5, "sync.overload": "queue"},
    )
    listener = start(PEER, "listen", "/cmdfusion/status", "cmdfusion_ros/SegmentationStatus")
    start_node(files=[tmp_path / "node.yaml"])
    assert listener.line() == {"ready": True}
    cameras = layout.usable_cameras
    topics = [each for camera in cameras for each in (camera.image_topic, camera.info_topic)]
    topics.append(layout.cloud_topic)
    start(
        "-m",
        "cmdfusion_ros.ros.player",
        small_bag,
        "--rate",
        "0.2",
        *(word for topic in topics for word in ("--wait-for", topic)),
        "--silence",
        "front@0.25",
        "--silence",
        "left@0.55",
    )
    statuses = []
    for _ in range(8):
        statuses.append(listener.line(statuses))
    modes = [status["mode"] for status in statuses]
    assert modes == [FUSED] * 3 + [PARTIAL] * 3 + [LIDAR_ONLY] * 2
