"""The other side of the two-process tests: a driver and a listener. Run as a process of its own,
because Fast DDS reads its profile once a process.

`peer.py traffic SIZE_MB RATE_HZ COUNT`: publishes COUNT clouds once a subscriber is there; prints
{"sent", "lidar", "pipeline"} from the diagnostics that account for all of them. `peer.py listen
TOPIC PACKAGE/TYPE [latched]`: prints "ready", unless latched once there is a publisher, then one
JSON line for each message. `peer.py drive`: publishes small clouds for ever and prints one JSON
line for each labelled cloud.
"""

import array
import importlib
import json
import sys
import time

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import PointCloud2, PointField

PATIENCE = 30.0
SENSOR = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)


def make_cloud(num_points):
    message = PointCloud2(height=1, width=num_points, point_step=16, row_step=16 * num_points)
    message.header.frame_id = "lidar"
    message.fields = [
        PointField(name=name, offset=4 * index, datatype=7, count=1)
        for index, name in enumerate(("x", "y", "z", "intensity"))
    ]
    # all coordinates 1.0
    message.data = array.array("B", bytes([0, 0, 128, 63]) * (4 * num_points))
    return message


def say(**values):
    print(json.dumps(values), flush=True)


def until(node, condition):
    end = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > end:
            raise SystemExit(f"peer: waited {PATIENCE:g} s in vain")
        rclpy.spin_once(node, timeout_sec=0.02)


def traffic(node, size_mb, rate, count):
    parts = {}

    def listen(message):
        for part in message.status:
            parts[part.name.removeprefix("cmdfusion: ")] = {
                value.key: value.value for value in part.values
            }

    node.create_subscription(DiagnosticArray, "/diagnostics", listen, 10)
    publisher = node.create_publisher(PointCloud2, "/points", SENSOR)
    until(node, lambda: publisher.get_subscription_count() and "lidar" in parts)
    before = int(parts["lidar"]["received"])
    message = make_cloud(int(size_mb * 1e6 / 16))
    began = time.monotonic()
    for index in range(count):
        while time.monotonic() < began + index / rate:
            rclpy.spin_once(node, timeout_sec=max(0.0, began + index / rate - time.monotonic()))
        message.header.stamp = node.get_clock().now().to_msg()
        publisher.publish(message)
    settled = time.monotonic() + 3.0
    until(
        node,
        lambda: int(parts["lidar"]["received"]) == before + count or time.monotonic() > settled,
    )
    say(sent=count, received=int(parts["lidar"]["received"]) - before, pipeline=parts["pipeline"])


def listen(node, topic, kind, latched):
    package, name = kind.split("/")
    durability = DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE
    quality = QoSProfile(depth=50, reliability=ReliabilityPolicy.RELIABLE, durability=durability)

    def tell(message):
        if kind.endswith("SegmentationStatus"):
            say(
                mode=message.mode,
                stamp=message.header.stamp.sec * 10**9 + message.header.stamp.nanosec,
                cameras=[c.status for c in message.cameras],
            )
        else:
            say(names=[item.name for item in message.classes], taxonomy=message.taxonomy)

    node.create_subscription(
        getattr(importlib.import_module(f"{package}.msg"), name), topic, tell, quality
    )
    if not latched:  # what is said before both sides have found each other is lost
        until(node, lambda: node.count_publishers(topic))
    say(ready=True)
    rclpy.spin(node)


def drive(node):
    node.create_subscription(
        PointCloud2, "/cmdfusion/points_labeled", lambda message: say(points=message.width), 10
    )
    publisher = node.create_publisher(PointCloud2, "/points", SENSOR)
    message = make_cloud(10_000)

    def send():
        message.header.stamp = node.get_clock().now().to_msg()
        publisher.publish(message)

    node.create_timer(0.1, send)
    rclpy.spin(node)


def main(verb, *words):
    rclpy.init()
    node = rclpy.create_node("peer")
    try:
        if verb == "traffic":
            traffic(node, float(words[0]), float(words[1]), int(words[2]))
        elif verb == "listen":
            listen(node, words[0], words[1], "latched" in words)
        elif verb == "drive":
            drive(node)
    except (KeyboardInterrupt, rclpy.executors.ExternalShutdownException):
        pass
    finally:
        node.destroy_node()
        rclpy.try_shutdown()


if __name__ == "__main__":
    main(*sys.argv[1:])
