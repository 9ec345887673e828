"""The command `cmdfusion_node`. Where ROS 2 is not there it says how to get it."""

import sys
from collections.abc import Sequence
from importlib import import_module

_OF_ROS = ("rclpy", "rpyutils", "rosidl_runtime_py", "lifecycle_msgs", "sensor_msgs", "tf2_ros")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the node until SIGINT or SIGTERM; returns its exit code, 2 without ROS 2."""
    try:
        run = import_module("cmdfusion_ros.ros.node").main
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _OF_ROS:
            raise
        print(
            f"cmdfusion_node: needs ROS 2, whose {error.name} is not there. On a robot: source "
            "/opt/ros/DISTRO/setup.bash in this shell. Without ROS 2 from apt, on Linux x86_64: "
            "pip install 'cmdfusion_ros[ros]'. `cmdfusion label BAG --out OUT` labels a bag "
            "without ROS.",
            file=sys.stderr,
        )
        return 2
    return int(run(arguments))
