"""`cmdfusion replay BAG`: play a bag into ROS 2, as `ros2 bag play --clock 200` does, for
machines that have only rclpy.
"""

import argparse
import os
import tempfile

from cmdfusion_ros.cli.runs.figures import add_json_option, write_figures
from cmdfusion_ros.cli.runs.live import ros_is_there
from cmdfusion_ros.cli.runs.options import add_silence_option
from cmdfusion_ros.cli.runs.processes import (
    ProcessError,
    ProcessGroup,
    fastdds_variable,
    find_fastdds_profile,
)
from cmdfusion_ros.cli.runs.terminal import LiveLine
from cmdfusion_ros.data.bags.bag_layout import inspect_bag
from cmdfusion_ros.data.bags.playing_options import add_playing_options


def add_parser(subparsers: argparse._SubParsersAction) -> argparse.ArgumentParser:
    parser = subparsers.add_parser(
        "replay",
        help="play a bag into ROS 2",
        description=(
            "Publish a bag's messages on their topics, with /clock at 200 Hz: run the node with "
            "use_sim_time. Uses the ROS_DOMAIN_ID of the shell."
        ),
        examples=(
            "cmdfusion replay demo_output/street",
            "cmdfusion replay demo_output/street --rate 0.5 --wait-for /lidar/points",
        ),
    )
    add_playing_options(parser)
    add_silence_option(parser)
    add_json_option(parser, "how many messages of which topics were published")
    return parser


def run(args: argparse.Namespace) -> int:
    if not ros_is_there():
        raise ModuleNotFoundError(
            "ROS 2 (rclpy) is not installed: source a ROS 2, or run `make demo` once and source "
            ".venv/setup.bash"
        )
    layout = inspect_bag(args.bag)
    layout.silences(args.silence)
    print(layout.table(), flush=True)
    environment = dict(os.environ)
    if find_fastdds_profile():
        environment.setdefault(fastdds_variable(), str(find_fastdds_profile()))
    words = [
        word
        for option, values in (("--wait-for", args.wait_for), ("--silence", args.silence))
        for value in values
        for word in (option, value)
    ]
    line, clouds = LiveLine(), 0
    with tempfile.TemporaryDirectory() as logs, ProcessGroup(logs, environment) as group:
        group.start(
            "player", "cmdfusion_ros.ros.player", args.bag, "--rate", args.rate, *words, listen=True
        )
        while True:
            for _, event in group.take(0.1):
                if event["event"] == "failed":
                    raise ProcessError(f"replay: {event['why']}")
                if event["event"] == "skipped":
                    print(
                        "left out: " + ", ".join(f"{t} ({m})" for t, m in event["topics"].items())
                    )
                if event["event"] == "done":
                    line.finish("")
                    published = event["published"]
                    print(
                        f"{clouds}/{layout.num_clouds} clouds, {sum(published.values())} "
                        "messages published"
                    )
                    figures = {"clouds": clouds, "clouds_in_bag": layout.num_clouds}
                    write_figures(args.json, {**figures, "published": published})
                    return 0
                clouds += event["event"] == "cloud"
                line.show(
                    f"{clouds}/{layout.num_clouds} clouds" if clouds else "waiting for subscribers"
                )
            if not group.running("player") and group.events.empty():
                raise ProcessError(
                    f"replay: the player ended early; its last words:\n{group.log_tail('player')}"
                )
