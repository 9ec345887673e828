"""~/scan of the running node, over real rclpy. Skips where rclpy is not installed."""

import time

import numpy as np
import pytest
from builders.yard import yard

pytest.importorskip("rclpy", reason="rclpy is not installed: the node's own tests need ROS 2")

from rclpy.parameter import Parameter  # noqa: E402

from cmdfusion_ros.ros.interfaces import load_interfaces  # noqa: E402

INTERFACES = load_interfaces()


def seen(message):
    """{whole degrees: range} of the rays that see something."""
    angles = message.angle_min + np.arange(len(message.ranges)) * message.angle_increment
    return {
        round(float(np.degrees(angle))): value
        for angle, value in zip(angles, message.ranges, strict=True)
        if np.isfinite(value)
    }


def test_a_subscriber_gets_the_post_in_the_yard_and_only_while_it_subscribes(bench, wire):
    it = bench({"scan.angle_increment": 1.0})
    clouds = it.speak(INTERFACES.PointCloud2, "/points")
    clouds.publish(wire.cloud(time.time_ns(), points=yard()))
    it.until(lambda: it.parts()["pipeline"].get("dropped.no_subscriber") == 1, "the cloud")
    heard = it.listen(INTERFACES.LaserScan, "/cmdfusion/scan")
    it.until(lambda: it.node.count_subscribers("/cmdfusion/scan"), "the subscription")
    sent = wire.cloud(time.time_ns(), points=yard())
    clouds.publish(sent)
    it.until(lambda: heard, "a scan")
    assert heard[0].header == sent.header and len(heard[0].ranges) == 360
    assert seen(heard[0]) == {0: pytest.approx(6.0, abs=0.01)}
    assert np.isinf(heard[0].ranges).sum() == 359
    # the fake calls everything road, of which it is not sure: gone only where that is enough
    for name, value in (("filter.classes", ["road"]), ("filter.min_probability", 0.0)):
        assert it.node.set_parameters([Parameter(name, value=value)])[0].successful
    clouds.publish(wire.cloud(time.time_ns(), points=yard()))
    it.until(lambda: len(heard) == 2, "a second scan")
    assert seen(heard[1]) == {}
    for name, value in (("filter.classes", [""]), ("scan.classes", ["road"])):
        assert it.node.set_parameters([Parameter(name, value=value)])[0].successful
    clouds.publish(wire.cloud(time.time_ns(), points=yard()))
    it.until(lambda: len(heard) == 3, "a third scan")
    assert seen(heard[2]) == {0: pytest.approx(6.0, abs=0.01)}
    assert not it.node.set_parameters([Parameter("scan.classes", value=["rod"])])[0].successful


def test_a_tilted_lidar_gives_no_scan_but_says_what_to_set(bench, wire):
    tilt = np.radians(20)
    c, s = np.cos(tilt), np.sin(tilt)
    tilted = yard() @ np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]], np.float32).T
    it = bench()
    heard = it.listen(INTERFACES.LaserScan, "/cmdfusion/scan")
    clouds = it.speak(INTERFACES.PointCloud2, "/points")
    it.until(lambda: it.node.count_subscribers("/cmdfusion/scan"), "the subscription")
    clouds.publish(wire.cloud(time.time_ns(), points=tilted))
    it.until(lambda: "set scan.frame" in it.parts()["pipeline"]["message"], "the warning")
    assert not heard and it.parts()["pipeline"]["labelled"] == 1
