"""Clouds that Fast DDS loses between two processes, with and without
config/fastdds_large_clouds.xml.

    python benchmarks/transport_loss.py [--sizes 0.4 2 4] [--rate 10] [--clouds 40]

The publisher offers reliable delivery and the subscriber asks for best effort, as the node does of
a LiDAR driver (sensor data QoS, depth 5). Needs rclpy. Prints received of sent, and the time from
publishing to the callback.
"""

import argparse
import array
import os
import subprocess
import sys
import time
from pathlib import Path

from cmdfusion_ros.cli.runs.domains import own_domain

PROFILE = Path(__file__).resolve().parents[1] / "config" / "fastdds_large_clouds.xml"
TOPIC = "/transport_loss"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--sizes",
        type=float,
        nargs="+",
        default=[0.4, 1.0, 2.0, 4.0],
        help="size of a cloud in MB (10^6 bytes)",
    )
    parser.add_argument("--rate", type=float, default=10.0, help="clouds a second")
    parser.add_argument("--clouds", type=int, default=40, help="clouds of each run")
    # the other process: publish clouds of this size
    parser.add_argument("--publish", type=float, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.publish:
        publish(given.publish, given.rate, given.clouds)
        return
    print(
        f"{'MB':>5} {'profile':>8} {'received':>10} {'p50 ms':>7} {'max ms':>7}    "
        f"({given.rate:g} clouds a second)"
    )
    for size in given.sizes:
        for profile in (False, True):
            with own_domain() as domain:
                delays = sorted(run(size, profile, given, domain))
            figures = (
                f"{delays[len(delays) // 2]:7.1f} {delays[-1]:7.1f}"
                if delays
                else f"{'-':>7} {'-':>7}"
            )
            print(
                f"{size:5.1f} {'large' if profile else 'none':>8} "
                f"{len(delays):>6}/{given.clouds:<3} {figures}",
                flush=True,
            )


def run(size: float, profile: bool, given: argparse.Namespace, domain: int) -> list[float]:
    """Milliseconds from publishing to the callback, one for each cloud that arrived. Both sides
    are processes of their own: a profile is read once.
    """
    environment = {
        **os.environ,
        "ROS_DOMAIN_ID": str(domain),
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
    }
    for name in ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE"):
        environment.pop(name, None)
    if profile:
        name = (
            "FASTRTPS_DEFAULT_PROFILES_FILE"
            if os.environ.get("ROS_DISTRO") in ("humble", "iron", "jazzy")
            else "FASTDDS_DEFAULT_PROFILES_FILE"
        )
        environment[name] = str(PROFILE)
    listener = subprocess.Popen(
        [sys.executable, "-c", LISTENER, TOPIC], env=environment, stdout=subprocess.PIPE, text=True
    )
    command = [
        sys.executable,
        __file__,
        "--publish",
        str(size),
        "--rate",
        str(given.rate),
        "--clouds",
        str(given.clouds),
    ]
    subprocess.run(command, env=environment, check=True)
    listener.terminate()
    return [float(line) for line in listener.communicate()[0].split()]


LISTENER = """
import sys, time, rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import PointCloud2
rclpy.init()
node = rclpy.create_node("listener")
def heard(message):
    sent = message.header.stamp.sec * 10**9 + message.header.stamp.nanosec
    print((time.time_ns() - sent) / 1e6, flush=True)
node.create_subscription(PointCloud2, sys.argv[1], heard, qos_profile_sensor_data)
try:
    rclpy.spin(node)
except (KeyboardInterrupt, ExternalShutdownException):
    pass
"""


def publish(size: float, rate: float, clouds: int) -> None:
    """Publish `clouds` clouds of `size` MB once somebody listens, and wait a moment for the last
    one.
    """
    import rclpy
    from sensor_msgs.msg import PointCloud2

    rclpy.init()
    node = rclpy.create_node("publisher")
    publisher = node.create_publisher(PointCloud2, TOPIC, 5)
    while not publisher.get_subscription_count():
        time.sleep(0.05)
    time.sleep(0.5)
    message = PointCloud2(data=array.array("B", bytes(int(size * 1e6))))
    start = time.monotonic()
    for index in range(clouds):
        time.sleep(max(0.0, start + index / rate - time.monotonic()))
        now = time.time_ns()
        message.header.stamp.sec, message.header.stamp.nanosec = divmod(now, 10**9)
        publisher.publish(message)
    time.sleep(1.0)
    node.destroy_node()
    rclpy.try_shutdown()


if __name__ == "__main__":
    main()
