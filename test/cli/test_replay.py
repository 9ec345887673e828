"""The verb replay plays a bag and says what it published."""

import importlib.util

import pytest
from builders.commands import cmdfusion

from cmdfusion_ros.cli import replay


def test_without_ros_replay_says_how_to_get_it(small_bag, monkeypatch, capsys):
    monkeypatch.setattr(replay, "ros_is_there", lambda: False)
    assert cmdfusion("replay", small_bag) == 2
    assert "source a ROS 2" in capsys.readouterr().err


@pytest.mark.skipif(
    importlib.util.find_spec("rclpy") is None,
    reason="ROS 2 (rclpy) is not installed: replay is not tested",
)
def test_a_bag_is_played_to_its_end(small_bag, monkeypatch, capsys, ros_domain):
    monkeypatch.setenv("ROS_DOMAIN_ID", str(ros_domain))
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    assert cmdfusion("replay", small_bag, "--rate", "4", "--silence", "all@0") == 0
    said = capsys.readouterr().out
    assert "8/8 clouds" in said and "/lidar/points: 8 at 10.0 Hz" in said


def test_a_wrong_camera_is_refused_before_anything_starts(small_bag, monkeypatch, capsys):
    monkeypatch.setattr(replay, "ros_is_there", lambda: True)
    assert cmdfusion("replay", small_bag, "--silence", "rear@1") == 2
    assert "one of front, left or all" in capsys.readouterr().err
