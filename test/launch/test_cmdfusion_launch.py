"""The launch-file check: what cmdfusion.launch.py starts, and with what, for the arguments a
user may give.
"""

import os
import runpy
import signal
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
import yaml
from builders.paths import REPOSITORY

LAUNCH = "cmdfusion.launch.py"
DEFAULTS = str(REPOSITORY / "config" / "cmdfusion.yaml")
PROFILE = str(REPOSITORY / "config" / "fastdds_large_clouds.xml")
PUBLIC_ARGUMENTS = (
    "params_file namespace name points cameras checkpoint device max_wait fixed_frame "
    "use_sim_time rviz rviz_config bag loop bag_rate "
    "log_level autostart executor"
).split()


def test_every_public_argument_is_declared_and_described(run_launch_file):
    declared = run_launch_file(LAUNCH).arguments
    assert set(PUBLIC_ARGUMENTS) <= set(declared)
    for name, argument in declared.items():
        assert len(argument.description) > 10, name
        if argument.choices:
            assert argument.default_value in argument.choices, name


def test_without_arguments_only_the_node_starts_with_the_defaults_of_the_package(run_launch_file):
    launched = run_launch_file(LAUNCH)
    assert launched.commands == {
        "cmdfusion_node": (
            "cmdfusion_node --ros-args --log-level cmdfusion:=info --ros-args -r "
            f"__node:=cmdfusion -r __ns:=/ --params-file {DEFAULTS}"
        )
    }


def test_the_command_line_beats_the_users_file_which_beats_the_defaults(run_launch_file):
    launched = run_launch_file(
        LAUNCH,
        params_file="/robot.yaml",
        points="/lidar/points",
        cameras="front, left",
        max_wait="0.08",
        device="cuda:1",
    )
    assert launched.parameters["cmdfusion_node"] == [
        DEFAULTS,
        "/robot.yaml",
        {
            "points.topic": "/lidar/points",
            "model.device": "cuda:1",
            "cameras": ["front", "left"],
            "sync.max_wait": 0.08,
        },
    ]


def test_an_argument_left_empty_hides_nothing_in_the_file(run_launch_file):
    assert run_launch_file(LAUNCH, params_file="/robot.yaml").parameters["cmdfusion_node"] == [
        DEFAULTS,
        "/robot.yaml",
    ]


@pytest.mark.parametrize(
    ("argument", "value", "parameter", "expected"),
    [
        # text stays text, though YAML would call it a number
        ("checkpoint", "123", "model.checkpoint", "123"),
        ("fixed_frame", "odom", "sync.fixed_frame", "odom"),
        ("autostart", "false", "autostart", False),
        ("executor", "single", "executor", "single"),
        ("use_sim_time", "true", "use_sim_time", True),
        ("use_sim_time", "false", "use_sim_time", False),
    ],
)
def test_an_argument_becomes_its_parameter(run_launch_file, argument, value, parameter, expected):
    assert run_launch_file(LAUNCH, **{argument: value}).parameters["cmdfusion_node"][-1] == {
        parameter: expected
    }


def test_a_bag_is_played_with_a_fine_clock_and_turns_simulated_time_on(run_launch_file):
    launched = run_launch_file(LAUNCH, bag="/data/drive", bag_rate="0.5", loop="true")
    assert (
        launched.commands["ros2 bag play"]
        == "ros2 bag play /data/drive --clock 200 --rate 0.5 --delay 10.0 --loop"
    )
    assert launched.parameters["cmdfusion_node"][-1] == {"use_sim_time": True}


def test_simulated_time_can_be_refused_for_a_bag(run_launch_file):
    assert run_launch_file(LAUNCH, bag="/data/drive", use_sim_time="false").parameters[
        "cmdfusion_node"
    ][-1] == {"use_sim_time": False}


def test_a_namespace_reaches_the_node_its_logger_and_rviz(run_launch_file):
    launched = run_launch_file(
        LAUNCH, namespace="robot1/front", name="labels", log_level="debug", rviz="true"
    )
    assert "--log-level robot1.front.labels:=debug" in launched.commands["cmdfusion_node"]
    assert "-r __node:=labels -r __ns:=/robot1/front" in launched.commands["cmdfusion_node"]
    assert (
        "-r /cmdfusion/points_labeled:=/robot1/front/labels/points_labeled"
        in launched.commands["rviz2"]
    )


def test_rviz_shows_our_configuration_in_the_given_frame(run_launch_file):
    launched = run_launch_file(LAUNCH, rviz="true", rviz_frame="odom")
    assert launched.commands["rviz2"].startswith(
        f"rviz2 -d {REPOSITORY / 'config' / 'cmdfusion.rviz'} -f odom"
    )
    assert launched.parameters["rviz2"] == [{"use_sim_time": False}]


def test_rviz_follows_the_node_with_every_topic_of_our_configuration(run_launch_file):
    command = run_launch_file(LAUNCH, rviz="true", name="labels").commands["rviz2"]
    displays = yaml.safe_load((REPOSITORY / "config" / "cmdfusion.rviz").read_text())[
        "Visualization Manager"
    ]["Displays"]
    ours = {
        display["Topic"]["Value"]
        for display in displays
        if display.get("Topic", {}).get("Value", "").startswith("/cmdfusion/")
    }
    assert ours
    for topic in ours:
        assert f"-r {topic}:={topic.replace('/cmdfusion/', '/labels/')}" in command


@pytest.mark.parametrize(
    ("distro", "variable"),
    [
        ("humble", "FASTRTPS_DEFAULT_PROFILES_FILE"),
        ("jazzy", "FASTRTPS_DEFAULT_PROFILES_FILE"),
        ("kilted", "FASTDDS_DEFAULT_PROFILES_FILE"),
    ],
)
def test_fast_dds_gets_the_profile_for_large_clouds_under_the_name_it_reads(
    run_launch_file, monkeypatch, distro, variable
):
    monkeypatch.setenv("ROS_DISTRO", distro)
    assert run_launch_file(LAUNCH).environment == {variable: PROFILE}
    assert Path(PROFILE).is_file()


def test_a_fast_dds_profile_of_the_users_own_is_left_alone(run_launch_file, monkeypatch):
    monkeypatch.setenv("FASTDDS_DEFAULT_PROFILES_FILE", "/mine.xml")
    assert run_launch_file(LAUNCH).environment == {}


@pytest.mark.parametrize(
    ("argument", "value"),
    [("rviz", "yes"), ("executor", "multi"), ("log_level", "loud"), ("use_sim_time", "1")],
)
def test_a_value_outside_the_choices_is_refused(run_launch_file, argument, value):
    with pytest.raises(ValueError, match=f"{argument}: '{value}' is not one of"):
        run_launch_file(LAUNCH, **{argument: value})


def test_the_xml_example_includes_our_file_with_arguments_it_declares(run_launch_file):
    include = (
        ElementTree.parse(REPOSITORY / "launch" / "example.launch.xml").getroot().find("include")
    )
    assert include.get("file") == f"$(find-pkg-share cmdfusion_ros)/launch/{LAUNCH}"
    given = {argument.get("name"): argument.get("value") for argument in include.findall("arg")}
    assert given
    run_launch_file(LAUNCH, **given)


def test_the_example_transforms_put_the_camera_to_look_ahead(run_launch_file):
    launched = run_launch_file("example_static_tf.launch.py")
    assert len(launched.commands) == len(
        runpy.run_path(str(REPOSITORY / "launch" / "example_static_tf.launch.py"))["TRANSFORMS"]
    )
    command = next(
        text for text in launched.commands.values() if "--child-frame-id front_optical" in text
    ).split()
    roll, yaw = (float(command[command.index(option) + 1]) for option in ("--roll", "--yaw"))
    ahead = _rotated_into_child((1.0, 0.0, 0.0), roll, yaw)
    left = _rotated_into_child((0.0, 1.0, 0.0), roll, yaw)
    assert ahead == pytest.approx((0.0, 0.0, 1.0), abs=1e-5)  # optical z looks forward
    assert left == pytest.approx((-1.0, 0.0, 0.0), abs=1e-5)  # optical x points right


def _rotated_into_child(vector, roll, yaw):
    """A direction in the parent's coordinates, in those of a child that is rotated by Rz(yaw)
    Rx(roll).
    """
    from math import cos, sin

    x, y, z = vector
    x, y = cos(yaw) * x + sin(yaw) * y, -sin(yaw) * x + cos(yaw) * y
    return x, cos(roll) * y + sin(roll) * z, -sin(roll) * y + cos(roll) * z


def test_the_command_line_starts_a_node_that_ends_cleanly(
    run_launch_file, tmp_path, monkeypatch, ros_domain
):
    pytest.importorskip("rclpy", reason="ROS 2 is not installed")
    from rclpy.context import Context
    from rclpy.executors import SingleThreadedExecutor
    from rclpy.node import Node

    fake = tmp_path / "fake.yaml"
    fake.write_text(yaml.safe_dump({"/**": {"ros__parameters": {"model": {"backend": "fake"}}}}))
    launched = run_launch_file(
        LAUNCH,
        params_file=str(fake),
        points="/lidar/points",
        cameras="front,left",
        name="labels",
        namespace="robot",
    )
    _, *arguments = launched.commands["cmdfusion_node"].split()
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    monkeypatch.setenv("ROS_DOMAIN_ID", str(ros_domain))
    monkeypatch.setenv(
        "PYTHONPATH",
        os.pathsep.join([str(REPOSITORY), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]),
    )
    environment = {**os.environ, **launched.environment}
    process = subprocess.Popen(
        [sys.executable, REPOSITORY / "cmake" / "cmdfusion_node", *arguments], env=environment
    )
    context = Context()
    context.init()
    watcher = Node("watcher", context=context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(watcher)

    def used():
        return {
            "/lidar/points": watcher.count_subscribers("/lidar/points"),
            "/robot/left/image_raw": watcher.count_subscribers("/robot/left/image_raw"),
            "/robot/labels/points_labeled": watcher.count_publishers(
                "/robot/labels/points_labeled"
            ),
        }

    try:
        for _ in range(600):  # until the node is active and all of it is known, 60 s at most
            executor.spin_once(timeout_sec=0.1)
            if all(used().values()) or process.poll() is not None:
                break
        assert process.poll() is None
        assert used() == dict.fromkeys(used(), 1)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=20) == 0
    finally:
        process.kill()
        process.wait()
        watcher.destroy_node()
        executor.shutdown()
        context.try_shutdown()
