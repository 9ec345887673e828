"""`cmdfusion label BAG --out X`: label a bag without ROS, with the node's own synchroniser and
pipeline.
"""

from pathlib import Path

from cmdfusion_ros.cli.demo import add_run_arguments, headline, run_options, score
from cmdfusion_ros.cli.demo import model_class_map as class_map_of
from cmdfusion_ros.cli.runs.offline import run_offline
from cmdfusion_ros.data.bags.bag_layout import inspect_bag


def add_parser(subparsers):
    parser = subparsers.add_parser(
        "label",
        help="label a bag offline, without ROS",
        description="Label every cloud of a bag and write a new bag (mcap) with the labelled "
        "clouds and the transforms. "
        "Pairing and labelling are the node's own, on the bag's clock; no cloud is dropped for "
        "lack of time.",
    )
    parser.add_argument("bag", help="rosbag2 folder, .mcap or ROS 1 .bag file")
    parser.add_argument("--out", required=True, help="bag to make; must not exist")
    add_run_arguments(parser)
    return parser


def run(args):
    if Path(args.out).exists():
        raise FileExistsError(f"--out {args.out}: exists; move it away, or choose another name")
    options = run_options(args)
    layout = inspect_bag(args.bag, options.points)
    print(layout.table(), flush=True)
    record = run_offline(layout, options, args.out)
    print(
        headline(
            record.summary(
                score(layout.path, args.out, class_map_of(options)) if record.returned else None
            )
        )
    )
    problems = record.problems()
    for problem in problems:
        print(f"NOT AS IT SHOULD BE: {problem}")
    return 1 if problems else 0
