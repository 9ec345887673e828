"""Start the node and, where asked for, RViz and a bag player.

    ros2 launch cmdfusion_ros cmdfusion.launch.py points:=/lidar/points cameras:=front,left
    ros2 launch cmdfusion_ros cmdfusion.launch.py params_file:=my_robot.yaml rviz:=true
    ros2 launch cmdfusion_ros cmdfusion.launch.py --show-args

What is given on the command line beats `params_file`, which beats config/cmdfusion.yaml. An
argument left empty is not handed on, so that it hides nothing in the file.
"""

import os
from typing import Any

from launch import LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    ExecuteProcess,
    OpaqueFunction,
    SetEnvironmentVariable,
)
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterFile, ParameterValue
from launch_ros.substitutions import FindPackageShare

BOOLEAN = ["true", "false"]
ARGUMENTS = [  # name, default, choices, description
    (
        "params_file",
        "",
        None,
        "parameter file read after config/cmdfusion.yaml, e.g. a preset of config/; it needs to "
        "hold only what differs",
    ),
    ("namespace", "", None, "namespace of the node"),
    ("name", "cmdfusion", None, "name of the node; its topics are /<namespace>/<name>/..."),
    ("points", "", None, "topic of the clouds (PointCloud2); empty = as in the file (points)"),
    (
        "cameras",
        "",
        None,
        "names of the cameras, e.g. front,left; topics are <camera>/image_raw and "
        "<camera>/camera_info; empty = as in the file (none)",
    ),
    (
        "checkpoint",
        "",
        None,
        "safetensors file of the network; empty = as in the file (the weights of the package)",
    ),
    ("device", "", None, "auto, cpu, cuda or cuda:N; empty = as in the file (auto)"),
    (
        "max_wait",
        "",
        None,
        "seconds that a cloud waits for images at most, 0 to 1; empty = as in the file (0.06)",
    ),
    (
        "fixed_frame",
        "",
        None,
        "frame that stands still, e.g. odom: compensates the motion between cloud and image; "
        "empty = as in the file (off)",
    ),
    (
        "use_sim_time",
        "",
        ["", *BOOLEAN],
        "time from /clock; empty = true when a bag is given, else as in the file (false)",
    ),
    ("rviz", "false", BOOLEAN, "start RViz too"),
    (
        "rviz_config",
        PathJoinSubstitution([FindPackageShare("cmdfusion_ros"), "config", "cmdfusion.rviz"]),
        None,
        "configuration of RViz",
    ),
    ("rviz_frame", "base_link", None, "fixed frame of RViz"),
    ("bag", "", None, "rosbag2 to play, with /clock at 200 Hz; empty = none"),
    ("loop", "false", BOOLEAN, "play the bag again and again"),
    ("bag_rate", "1.0", None, "speed of the bag; 1.0 = as recorded"),
    (
        "log_level",
        "info",
        ["debug", "info", "warn", "error", "fatal"],
        "least severe messages of the node that are shown",
    ),
    (
        "autostart",
        "",
        ["", *BOOLEAN],
        "configure and activate the node at start; empty = as in the file (true)",
    ),
    (
        "executor",
        "",
        ["", "auto", "single", "events"],
        "rclpy executor of the node; empty = as in the file (auto)",
    ),
]
OVERLAYS = [
    "front",
    "front_camera",
    "front_left_camera",
    "front_right_camera",
    "left_camera",
    "right_camera",
    "back_camera",
]
# of config/cmdfusion.rviz, under /cmdfusion
RVIZ_TOPICS = [
    "points_labeled",
    "points_filtered",
    "markers",
    *(f"overlay/{camera}" for camera in OVERLAYS),
]
BAG_DELAY = "10.0"  # seconds; the node loads its network first, and a bag does not wait for it


def generate_launch_description() -> LaunchDescription:
    """The arguments, then what they ask for."""
    declared = [
        DeclareLaunchArgument(
            name,
            default_value=default,
            description=description,
            **({"choices": choices} if choices else {}),
        )
        for name, default, choices, description in ARGUMENTS
    ]
    return LaunchDescription([*declared, OpaqueFunction(function=start)])


def start(context: Any) -> list[Any]:
    """The processes that the given arguments ask for."""
    given = {name: LaunchConfiguration(name).perform(context) for name, *_ in ARGUMENTS}
    sim_time = given["use_sim_time"] or ("true" if given["bag"] else "")
    logger = ".".join(part for part in (*given["namespace"].split("/"), given["name"]) if part)
    node = Node(
        package="cmdfusion_ros",
        executable="cmdfusion_node",
        name=given["name"],
        namespace=given["namespace"],
        parameters=node_parameters(given, sim_time),
        ros_arguments=["--log-level", f"{logger}:={given['log_level']}"],
        output="both",
        emulate_tty=True,
    )
    actions = [*large_clouds(), node]
    if given["rviz"] == "true":
        actions.append(rviz(given, sim_time))
    if given["bag"]:
        actions.append(bag_player(given))
    return actions


def node_parameters(given: dict[str, str], sim_time: str) -> list[Any]:
    """The parameter sources of the node, the strongest last."""
    files: list[Any] = [
        PathJoinSubstitution([FindPackageShare("cmdfusion_ros"), "config", "cmdfusion.yaml"])
    ]
    if given["params_file"]:
        files.append(given["params_file"])
    values: dict[str, Any] = {}
    for argument, parameter in (
        ("points", "points.topic"),
        ("checkpoint", "model.checkpoint"),
        ("device", "model.device"),
        ("executor", "executor"),
        ("fixed_frame", "sync.fixed_frame"),
    ):
        if given[argument]:
            values[parameter] = ParameterValue(given[argument], value_type=str)
    if given["cameras"]:
        values["cameras"] = ParameterValue(
            [name.strip() for name in given["cameras"].split(",")], value_type=list[str]
        )
    if given["max_wait"]:
        values["sync.max_wait"] = float(given["max_wait"])
    if given["autostart"]:
        values["autostart"] = given["autostart"] == "true"
    if sim_time:
        values["use_sim_time"] = sim_time == "true"
    return [
        *(ParameterFile(file, allow_substs=True) for file in files),
        *([values] if values else []),
    ]


def large_clouds() -> list[Any]:
    """Fast DDS loses clouds over 0.5 MB between processes unless both have larger shared memory
    (docs/dds.md). A profile of the user's own is left alone.
    """
    names = {"FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE"}
    if names & os.environ.keys():
        return []
    # Fast DDS 2 knows the old name only, Fast DDS 3 warns about it
    older = os.environ.get("ROS_DISTRO") in ("humble", "iron", "jazzy")
    profile = PathJoinSubstitution(
        [FindPackageShare("cmdfusion_ros"), "config", "fastdds_large_clouds.xml"]
    )
    return [
        SetEnvironmentVariable(
            "FASTRTPS_DEFAULT_PROFILES_FILE" if older else "FASTDDS_DEFAULT_PROFILES_FILE", profile
        )
    ]


def rviz(given: dict[str, str], sim_time: str) -> Node:
    """RViz on our configuration; its topics follow the name and namespace of the node."""
    node = "/".join(["", *(part for part in given["namespace"].split("/") if part), given["name"]])
    return Node(
        package="rviz2",
        executable="rviz2",
        name="rviz",
        namespace=given["namespace"],
        arguments=["-d", given["rviz_config"], "-f", given["rviz_frame"]],
        parameters=[{"use_sim_time": sim_time == "true"}],
        remappings=[(f"/cmdfusion/{topic}", f"{node}/{topic}") for topic in RVIZ_TOPICS],
        output="log",
    )


def bag_player(given: dict[str, str]) -> ExecuteProcess:
    """`ros2 bag play`; /clock at 200 Hz because its default of 40 Hz is coarse beside a wait of 60
    ms.
    """
    command = [
        "ros2",
        "bag",
        "play",
        given["bag"],
        "--clock",
        "200",
        "--rate",
        given["bag_rate"],
        "--delay",
        BAG_DELAY,
    ]
    return ExecuteProcess(
        cmd=[*command, *(["--loop"] if given["loop"] == "true" else [])], output="screen"
    )
