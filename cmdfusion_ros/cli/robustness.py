"""`cmdfusion robustness CHECKPOINT --data DIR --sequences 08`: score it in bad weather and with
broken sensors.

The corruptions of Robo3D, MultiCorrupt and RoboBEV by their names and levels, as mCE (against
--baseline) and mRR, beside the curve over live cameras; docs/robustness.md says what they are.
"""

import argparse
from pathlib import Path

import numpy as np

from cmdfusion_ros.checkpoint.file import load_checkpoint, replace_card
from cmdfusion_ros.cli.runs import options
from cmdfusion_ros.cli.runs.figures import add_json_option, write_figures
from cmdfusion_ros.cli.runs.terminal import progress_bar
from cmdfusion_ros.data.corruptions.suites import SUITES
from cmdfusion_ros.evaluation.robustness import measure, names_of, with_before
from cmdfusion_ros.evaluation.robustness_picture import draw_robustness, table
from cmdfusion_ros.inference import Segmenter
from cmdfusion_ros.training.provenance import scans_met, scans_seen
from cmdfusion_ros.training.samples import view_of


def add_parser(subparsers: argparse._SubParsersAction) -> argparse.ArgumentParser:
    """The parser of this verb."""
    parser = subparsers.add_parser(
        "robustness",
        help="score a checkpoint in bad weather",
        description=__doc__,
        examples=(
            "cmdfusion robustness cmdfusion_ros/weights/flagship_nano.safetensors --data street "
            "--sequences 00 --scans 2",
            "cmdfusion robustness cmdfusion_ros/weights/flagship_nano.safetensors --data street "
            "--sequences 00 --scans 2 --json robustness.json --picture robustness.png",
        ),
    )
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="a .safetensors file")
    parser.add_argument("--data", required=True, metavar="DIR", help="folder of the data set")
    options.add_data_options(parser, "score", required=True)
    parser.add_argument(
        "--baseline", metavar="CHECKPOINT", help="what mCE is relative to (default: no mCE)"
    )
    parser.add_argument(
        "--suites",
        nargs="+",
        choices=tuple(SUITES),
        default=("robo3d",),
        metavar="SUITE",
        help=f"which to run, some of {', '.join(SUITES)} (default: robo3d)",
    )
    parser.add_argument(
        "--scans", type=int, metavar="N", help="score N scans, evenly spaced (default: all)"
    )
    parser.add_argument(
        "--subsets",
        type=int,
        default=64,
        metavar="N",
        help="subsets of the cameras for each number of live ones (default: 64, all of six)",
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of draws (default: 0)")
    add_json_option(parser)
    parser.add_argument("--picture", metavar="FILE.png", help="draw them here")
    parser.add_argument(
        "--keep", action="store_true", help="write a summary into the card as `robustness`"
    )
    options.add_scoring_options(parser)
    return parser


def run(args: argparse.Namespace) -> int:
    """Score, print, write; returns 0."""
    for option, number in (("--scans", args.scans), ("--subsets", args.subsets)):
        if number is not None and number < 1:
            raise ValueError(f"{option}: expected 1 or more, got {number}")
    options.use_threads(args)
    checkpoint = load_checkpoint(args.checkpoint)
    scans = options.data_settings(args).open(args.data, checkpoint.class_map)
    rows = np.arange(len(scans))
    if args.scans is not None and args.scans < len(scans):
        rows = np.linspace(0, len(scans) - 1, args.scans).round().astype(int)
    names = [scans.name(row) for row in rows]
    trained_on = scans_met(names, scans_seen(checkpoint.card), args.called or "")
    if trained_on and not args.allow_trained:
        raise ValueError(
            f"{args.checkpoint} was trained on {len(trained_on)} of these {len(rows)} scans "
            f"({trained_on[0]}, ...); choose others, or pass --allow-trained"
        )
    for path in (args.checkpoint, args.baseline):
        _refuse_sweeps(path)
    segmenter = Segmenter(checkpoint, device=args.device, images="on")
    baseline = Segmenter(args.baseline, device=args.device, images="on") if args.baseline else None
    names = names_of(args.suites, segmenter.uses_images and args.images)
    pairs = progress_bar(with_before(scans, rows.tolist(), names), len(rows))
    nuscenes = args.layout == "nuscenes"
    result = {
        "checkpoint": Path(args.checkpoint).name,
        "baseline": Path(args.baseline).name if args.baseline else None,
        "class_map": checkpoint.class_map.name,
        "scans": [scans.name(row) for row in rows],
        "trained_on": trained_on,
        "images": args.images,
        "seed": args.seed,
        **measure(segmenter, baseline, pairs, names, args.seed, args.subsets, nuscenes),
    }
    print("\n".join(table(result)))
    if trained_on:
        print(f"NOTE: the checkpoint was trained on {len(trained_on)} of these scans")
    write_figures(args.json, result)
    if args.picture:
        draw_robustness(result).savefig(args.picture, dpi=110)
    if args.keep:
        card = load_checkpoint(args.checkpoint).card
        replace_card(args.checkpoint, {**card, "robustness": result})
    return 0


def _refuse_sweeps(path: str | None) -> None:
    """Corruptions change one scan; what else a network of several sees would stay clean."""
    if path is None:
        return
    view = view_of(load_checkpoint(path).card)
    if view.kind != "single":
        raise ValueError(f"{path}: sees {view.kind}; expected a network that sees single scans")
