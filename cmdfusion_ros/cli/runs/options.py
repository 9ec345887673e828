"""Options that several verbs have: which labelled scans to read, and on what to compute."""

import argparse

from cmdfusion_ros.data.readers.data_settings import LAYOUTS, DataSettings


def add_data_options(parser: argparse.ArgumentParser, what: str, required: bool) -> None:
    """Add --layout, --dataset, --called, --sequences, --partly, --first-scan, --last-scan and
    --images to a parser; `what` ends "sequences to ...".
    """
    parser.add_argument(
        "--layout",
        choices=LAYOUTS,
        default="semantic_kitti",
        help="how its files lie (default: semantic_kitti)",
    )
    parser.add_argument(
        "--dataset",
        metavar="NAME",
        help="whose raw ids the label files hold (default: that of the layout)",
    )
    parser.add_argument(
        "--called",
        metavar="NAME",
        help=(
            "what the set is called in the names of its scans; for made-up streets (default: as "
            "its dataset)"
        ),
    )
    parser.add_argument(
        "--sequences",
        required=required,
        nargs="+",
        metavar="NAME",
        help=f"sequences to {what}; of nuScenes scenes, or val, mini_val",
    )
    parser.add_argument(
        "--partly",
        action="store_true",
        help="not every scan is labelled yet: leave out those without labels",
    )
    parser.add_argument(
        "--first-scan", type=int, default=0, metavar="N", help="lowest scan number (default: 0)"
    )
    parser.add_argument(
        "--last-scan",
        type=int,
        default=999999,
        metavar="N",
        help="highest scan number (default: all)",
    )
    parser.add_argument(
        "--images",
        action="store_true",
        help="give the network the camera images too; also tells points in view from others",
    )


def add_points_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--points", metavar="TOPIC", help="the bag's PointCloud2 topic (default: the densest)"
    )


def add_checkpoint_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--checkpoint", default="", metavar="FILE", help="network (default: the one shipped)"
    )


def add_device_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--device", default="auto", metavar="NAME", help="auto, cpu, cuda, cuda:N (default: auto)"
    )


def add_threads_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--threads", type=int, metavar="N", help="CPU threads (default: torch's own choice)"
    )


def add_compute_options(parser: argparse.ArgumentParser) -> None:
    """Add --device and --threads."""
    add_device_option(parser)
    add_threads_option(parser)


def check_threads(args: argparse.Namespace) -> None:
    """ValueError where --threads asks for none."""
    if args.threads is not None and args.threads < 1:
        raise ValueError(f"--threads {args.threads}: expected 1 or more")


def use_threads(args: argparse.Namespace) -> None:
    """Give torch as many threads as --threads says; ValueError where that is none."""
    check_threads(args)
    if args.threads is not None:
        import torch  # seconds, which --help does not wait for

        torch.set_num_threads(args.threads)


def add_scoring_options(parser: argparse.ArgumentParser) -> None:
    """Add --allow-trained, --device and --threads."""
    parser.add_argument(
        "--allow-trained",
        action="store_true",
        help="score scans that the checkpoint was trained on too; the result then says so",
    )
    add_compute_options(parser)


def add_processes_option(parser: argparse.ArgumentParser, when: str = "") -> None:
    parser.add_argument(
        "--processes",
        type=int,
        metavar="N",
        help=f"{when}processes at a time (default: one a core)",
    )


def add_work_options(parser: argparse.ArgumentParser) -> None:
    """Add --workers and --threads, of trainings."""
    parser.add_argument(
        "--workers",
        type=int,
        default=0,
        metavar="N",
        help="threads that read and change scans ahead (default: 0, when they are needed)",
    )
    add_threads_option(parser)


def add_silence_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--silence",
        action="append",
        default=[],
        metavar="CAMERA@S",
        help="drop a camera's messages from S seconds on; all@S for all cameras",
    )


def data_settings(args: argparse.Namespace) -> DataSettings:
    """The DataSettings that those options ask for."""
    chosen = {
        "sequences": tuple(args.sequences),
        "first_scan": args.first_scan,
        "last_scan": args.last_scan,
        "images": args.images,
        "partly": args.partly,
    }
    return DataSettings(
        layout=args.layout, dataset=args.dataset or args.layout, called=args.called or "", **chosen
    )
