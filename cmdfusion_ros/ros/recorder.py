"""Records topics of a real ROS 2 graph into a bag (mcap): `python -m cmdfusion_ros.ros.recorder OUT
--topic NAME ...`. Its own process.

What `ros2 bag record` does, for machines that have only rclpy. Subscriptions are raw: what arrives
is what is written. For each message it also says on standard output when it arrived, so that the
command line can show rate, mode and latency while it runs.
"""

import argparse
import importlib.util
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import rclpy
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.serialization import deserialize_message

from cmdfusion_ros.data.bags.bag import BagWriter
from cmdfusion_ros.messages.stamps import raw_stamp_ns
from cmdfusion_ros.ros.player import bag_node, emit, message_class

OWN_PACKAGE = "cmdfusion_ros"


def describe_status(message: Any) -> dict[str, Any]:
    """SegmentationStatus -> plain values for an event."""
    modes = {
        message.MODE_LIDAR_ONLY: "LIDAR_ONLY",
        message.MODE_PARTIAL: "PARTIAL",
        message.MODE_FUSED: "FUSED",
    }
    stages = {
        stage: getattr(message, f"{stage}_ms")
        for stage in ("wait", "decode", "preprocess", "inference", "postprocess", "total")
    }
    return {
        "mode": modes[message.mode],
        "cameras": {camera.name: int(camera.status) for camera in message.cameras},
        "stages": stages,
    }


def describe_diagnostics(message: Any) -> dict[str, Any]:
    """DiagnosticArray -> plain values for an event: {name: {level, message, key: value, ...}}."""
    return {
        "parts": {
            status.name: {
                "level": int.from_bytes(status.level, "little"),
                "message": status.message,
                **{v.key: v.value for v in status.values},
            }
            for status in message.status
        }
    }


_DESCRIBE = {
    f"{OWN_PACKAGE}/msg/SegmentationStatus": describe_status,
    "diagnostic_msgs/msg/DiagnosticArray": describe_diagnostics,
}
_STAMPED = {"sensor_msgs/msg/PointCloud2", *_DESCRIBE}  # types whose first field is a Header


def own_definitions() -> dict[str, str]:
    """{type: text} of our own messages as installed; empty where the interfaces were not built."""
    if importlib.util.find_spec(f"{OWN_PACKAGE}.msg") is None:
        return {}
    share = Path(
        importlib.import_module("ament_index_python").get_package_share_directory(OWN_PACKAGE)
    )
    return {
        f"{OWN_PACKAGE}/msg/{path.stem}": path.read_text()
        for path in sorted((share / "msg").glob("*.msg"))
    }


class Recorder:
    """Subscribes to each topic once somebody publishes it, and writes what comes with the
    recorded (simulated) time.
    """

    def __init__(self, node: Node, writer: BagWriter, topics: Sequence[str]) -> None:
        self._node, self._writer = node, writer
        self._waiting = set(topics)
        # messages that came before the clock: a time of 0 would make the bag 50 years long
        self._early: list[tuple[str, str, bytes, bool]] = []
        self._subscriptions: list[Any] = []
        self.counts = {topic: 0 for topic in topics}
        node.create_timer(
            0.05,
            self._look_for_publishers,
            clock=rclpy.clock.Clock(clock_type=rclpy.clock.ClockType.STEADY_TIME),
        )

    def _look_for_publishers(self) -> None:
        for topic in sorted(self._waiting):
            publishers = self._node.get_publishers_info_by_topic(topic)
            if publishers:
                self._waiting.discard(topic)
                self._subscribe(topic, publishers[0])

    def _subscribe(self, topic: str, publisher: Any) -> None:
        msgtype = publisher.topic_type
        kind = message_class(msgtype)
        if kind is None:
            emit("skipped", topics={topic: msgtype})
            return
        offered = publisher.qos_profile
        latched = offered.durability == DurabilityPolicy.TRANSIENT_LOCAL
        reliable = offered.reliability == ReliabilityPolicy.RELIABLE
        quality = QoSProfile(
            history=HistoryPolicy.KEEP_LAST,
            depth=50,
            reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
            durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
        )

        def receive(data: Any) -> None:
            self._receive(topic, msgtype, kind, latched, bytes(data), time.monotonic_ns())

        self._subscriptions.append(
            self._node.create_subscription(kind, topic, receive, quality, raw=True)
        )
        emit("subscribed", topic=topic, msgtype=msgtype)

    def _receive(
        self, topic: str, msgtype: str, kind: type, latched: bool, data: bytes, wall: int
    ) -> None:
        stamp = raw_stamp_ns(data) if msgtype in _STAMPED else None
        described = _DESCRIBE.get(msgtype)
        emit(
            "message",
            topic=topic,
            stamp=stamp,
            wall=wall,
            **(described(deserialize_message(data, kind)) if described else {}),
        )
        self.counts[topic] += 1
        self._early.append((topic, msgtype, data, latched))
        now = self._node.get_clock().now().nanoseconds
        if now:
            self.write_early(now)

    def write_early(self, now: int) -> None:
        for topic, msgtype, data, latched in self._early:
            self._writer.write(topic, msgtype, now, data, latched=latched)
        self._early.clear()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description="record topics of ROS 2 into an mcap bag, with simulated time"
    )
    parser.add_argument("out", help="folder to make")
    parser.add_argument(
        "--topic",
        action="append",
        required=True,
        metavar="NAME",
        help="topic to record, full name (repeat for more)",
    )
    args = parser.parse_args(arguments)
    simulated = [Parameter("use_sim_time", value=True)]
    with bag_node("bag_recorder", parameter_overrides=simulated) as node:
        with BagWriter(args.out, own_definitions()) as writer:
            recorder = Recorder(node, writer, args.topic)
            emit("started")
            try:
                rclpy.spin(node)
            except KeyboardInterrupt:
                pass
            recorder.write_early(max(node.get_clock().now().nanoseconds, 1))
            counts = recorder.counts
        emit("done", recorded=counts)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
