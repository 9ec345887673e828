"""What everything that plays a bag is asked for on its command line."""

import argparse


def add_playing_options(parser: argparse.ArgumentParser) -> None:
    """The bag, how fast it is played, and whom to wait for."""
    parser.add_argument("bag", metavar="BAG", help="rosbag2 folder, .mcap or ROS 1 .bag file")
    parser.add_argument(
        "--rate", type=float, default=1.0, metavar="X", help="times real time (default: 1)"
    )
    parser.add_argument(
        "--wait-for",
        action="append",
        default=[],
        metavar="TOPIC",
        help="start only when this topic has a subscriber (repeat for more)",
    )
