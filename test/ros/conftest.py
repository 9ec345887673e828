"""A bench with the running node, for the tests that have rclpy."""

import array
import time
from pathlib import Path

import numpy as np
import pytest
from builders.messages import CALIBRATION_AHEAD, make_jpeg

PATIENCE = 20.0  # seconds: how long a test waits for what must happen at once


class Wire:
    """Real messages. Needs ROS."""

    def __init__(self):
        from cmdfusion_ros.ros.interfaces import load_interfaces

        self.interfaces = load_interfaces()

    def stamp(self, nanoseconds):
        return self.interfaces.Time(sec=nanoseconds // 10**9, nanosec=nanoseconds % 10**9)

    def cloud(self, stamp, num_points=100, points=None):
        """A cloud of the frame `lidar` with random points, or with `points` (N, 3)."""
        num_points = num_points if points is None else len(points)
        values = np.random.default_rng(0).uniform(-20, 20, (num_points, 4)).astype(np.float32)
        if points is not None:
            values[:, :3] = points
        message = self.interfaces.PointCloud2(
            height=1, width=num_points, point_step=16, row_step=16 * num_points
        )
        message.header.stamp, message.header.frame_id = self.stamp(stamp), "lidar"
        names = ("x", "y", "z", "intensity")
        message.fields = [
            self.interfaces.PointField(name=name, offset=4 * index, datatype=7, count=1)
            for index, name in enumerate(names)
        ]
        message.data = array.array("B", values.tobytes())
        return message

    def jpeg(self, stamp):
        """A grey image of 64 x 48 pixels."""
        message = self.interfaces.CompressedImage(format="jpeg")
        message.header.stamp, message.header.frame_id = self.stamp(stamp), "front_optical"
        message.data = array.array("B", make_jpeg().data)
        return message


@pytest.fixture
def wire():
    return Wire()


@pytest.fixture
def one_camera(tmp_path):
    """Parameters of a node with the camera `front`, which looks ahead and needs no transforms. A
    scan's images are stamped as the scan is.
    """
    path = Path(tmp_path) / "front.yaml"
    path.write_text(CALIBRATION_AHEAD)
    return {
        "cameras": ["front"],
        "front.transport": "compressed",
        "front.calibration_file": str(path),
        "front.frame": "front_optical",
        "points.stamp_reference": "middle",
        "output.always_publish": True,
    }


class Bench:
    """A node, a friend that talks to it, and the executor that runs both."""

    def __init__(self, parameters, start=True, executor="auto"):
        import rclpy
        from rclpy.parameter import Parameter

        from cmdfusion_ros.ros.node import CmdfusionNode, make_executor

        overrides = [
            Parameter(name, value=value)
            for name, value in {"model.backend": "fake", **parameters}.items()
        ]
        self.node = CmdfusionNode(parameter_overrides=overrides)
        self.friend = rclpy.create_node("friend")
        self._clients = {}
        self.executor = make_executor(executor)
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

    def listen(self, message, topic, quality=50):
        """A list that fills with what comes on `topic`."""
        heard = []
        self.friend.create_subscription(message, topic, heard.append, quality)
        return heard

    def speak(self, message, topic, quality=50):
        """A publisher that somebody already listens to."""
        publisher = self.friend.create_publisher(message, topic, quality)
        self.until(lambda: publisher.get_subscription_count() > 0, f"a subscription to {topic}")
        return publisher

    def call(self, kind, service, **request):
        if service not in self._clients:  # each one more is looked at in every turn
            self._clients[service] = self.friend.create_client(kind, service)
        client = self._clients[service]
        self.until(client.service_is_ready, f"service {service}")
        future = client.call_async(kind.Request(**request))
        self.until(future.done, f"an answer of {service}")
        return future.result()

    def parts(self):
        """{name: {key: value}} of the diagnostics as of now, with "level" and "message"."""
        found = {
            part.name: {**part.values, "level": part.level, "message": part.message}
            for part in self.node.diagnostics.parts(self.node.facts())
        }
        return found


@pytest.fixture
def bench(monkeypatch, ros_domain):
    """bench({parameter: value}, start=True, executor="auto") -> Bench, in a ROS domain of this
    test's own.
    """
    import rclpy

    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    rclpy.init(domain_id=ros_domain)
    made = []

    def make(parameters=None, **options):
        made.append(Bench(parameters or {}, **options))
        return made[-1]

    yield make
    for one in made:
        one.close()
    rclpy.shutdown()
