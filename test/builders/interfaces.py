"""The messages of this installation, for tests that need a running ROS 2: importing this skips the
module where rclpy is not installed.
"""

import pytest

pytest.importorskip(
    "rclpy",
    reason="rclpy is not installed: the node's own tests need ROS 2 (apt, or pip wheels)",
)

from cmdfusion_ros.ros.interfaces import load_interfaces  # noqa: E402

INTERFACES = load_interfaces()
needs_interfaces = pytest.mark.skipif(
    not INTERFACES.has("SegmentationStatus"),
    reason="cmdfusion_ros.msg is not built: run colcon build",
)
