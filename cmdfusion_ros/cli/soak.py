"""`cmdfusion soak`: hours of mixed faults in minutes, and what held."""

import argparse
from pathlib import Path

from cmdfusion_ros.cli.runs.figures import add_json_option, write_figures
from cmdfusion_ros.cli.runs.terminal import progress_bar
from cmdfusion_ros.soak.faulty_drive import FAULTS
from cmdfusion_ros.soak.run import Episode, read_log, soak
from cmdfusion_ros.soak.soak_report import words, write_report


def add_parser(subparsers: argparse._SubParsersAction) -> argparse.ArgumentParser:
    parser = subparsers.add_parser(
        "soak",
        help="let everything go wrong, for hours",
        description="Drive the node without ROS through episodes of random faults on a simulated "
        "clock, with a stand-in for the network. Checked: every cloud comes out once and in order "
        "or is counted by its reason, all recovers, memory, threads and descriptors stay. A soak "
        "that was ended goes on when it is called again.",
        examples=(
            "cmdfusion soak --clouds 2000",
            "cmdfusion soak --fault camera_dies --fault clock_leaps --out soaked --json soak.json",
        ),
        epilog="faults: " + "; ".join(f"{name}: {text}" for name, text in FAULTS.items()),
    )
    parser.add_argument(
        "--clouds",
        type=int,
        default=200_000,
        metavar="N",
        help="clouds to send (default: 200000)",
    )
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="the same seed, the same faults"
    )
    parser.add_argument(
        "--fault",
        action="append",
        default=[],
        choices=list(FAULTS),
        metavar="NAME",
        help="only this fault (repeat for more; default: all, see below)",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("soak_output"),
        metavar="DIR",
        help="folder for the log, soak.json, soak.png and soak.html (default: soak_output)",
    )
    add_json_option(parser)
    return parser


def run(args: argparse.Namespace) -> int:
    """Returns 1 where anything did not hold."""
    before = sum(episode.clouds for episode in read_log(args.out, args.seed))
    left = args.clouds - min(before, args.clouds)
    with progress_bar(total=args.clouds, unit="cloud", begin=args.clouds - left) as bar:

        def tell(episode: Episode) -> None:
            nonlocal left
            bar.update(min(episode.clouds, left))
            left -= min(episode.clouds, left)
            for wrong in episode.wrong:
                bar.write(f"episode {episode.number} ({', '.join(episode.faults)}): {wrong}")

        episodes = soak(args.out, args.clouds, args.seed, args.fault or tuple(FAULTS), tell)
    found = write_report(args.out, episodes, args.seed)
    print(words(found))
    print(args.out / "soak.html")
    write_figures(args.json, found)
    return int(bool(found["wrong"] or found["unaccounted"]))
