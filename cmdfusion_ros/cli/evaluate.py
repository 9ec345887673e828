"""`cmdfusion evaluate CHECKPOINT --data DIR --sequences 08`: score a checkpoint on labelled scans
by the rule of the benchmarks.

Several checkpoints (of one network trained with several seeds) give the mean and how far they lie
apart.
"""

import argparse
from pathlib import Path

from cmdfusion_ros.checkpoint.file import load_checkpoint, replace_card
from cmdfusion_ros.cli.runs.figures import add_json_option, write_figures
from cmdfusion_ros.cli.runs.options import (
    add_data_options,
    add_scoring_options,
    data_settings,
    use_threads,
)
from cmdfusion_ros.cli.runs.terminal import progress_bar
from cmdfusion_ros.evaluation.confusion_text import confusion_table, why_zero
from cmdfusion_ros.evaluation.evaluate import TEST_TIME_CHANGES, evaluate, spread
from cmdfusion_ros.evaluation.score_page import write_page
from cmdfusion_ros.inference import Segmenter
from cmdfusion_ros.training.provenance import scans_calibrated_on, scans_met, scans_seen
from cmdfusion_ros.training.samples import shown, view_of


def add_parser(subparsers: argparse._SubParsersAction) -> argparse.ArgumentParser:
    parser = subparsers.add_parser(
        "evaluate",
        help="score a checkpoint",
        description=__doc__,
        examples=(
            "cmdfusion evaluate cmdfusion_ros/weights/flagship_nano.safetensors --data street "
            "--sequences 00",
            "cmdfusion evaluate cmdfusion_ros/weights/flagship_nano.safetensors --data street "
            "--sequences 00 --images --json scores.json --page scores.html",
        ),
    )
    parser.add_argument(
        "checkpoints", metavar="CHECKPOINT", nargs="+", help=".safetensors files of cmdfusion train"
    )
    parser.add_argument(
        "--data",
        required=True,
        metavar="DIR",
        help="folder of the data set: holds sequences/00/velodyne, 00/velodyne, or v1.0-trainval",
    )
    add_data_options(parser, "score", required=True)
    parser.add_argument(
        "--tta",
        choices=tuple(TEST_TIME_CHANGES),
        default="none",
        help="average over changed scans, and say so (default: none)",
    )
    parser.add_argument(
        "--subsets",
        type=int,
        default=6,
        metavar="N",
        help="subsets of the cameras scored for each number of live ones (default: 6)",
    )
    add_json_option(parser, "the scores")
    parser.add_argument("--page", metavar="FILE.html", help="write them as a page with plots")
    parser.add_argument(
        "--keep", action="store_true", help="write them into the checkpoint's card as `evaluation`"
    )
    add_scoring_options(parser)
    return parser


def run(args: argparse.Namespace) -> int:
    """Score and print a table; returns 0."""
    use_threads(args)
    results = [_evaluate(path, args) for path in args.checkpoints]
    if len({result["class_map"] for result in results}) > 1:
        raise ValueError(
            "checkpoints of different classes "
            f"({', '.join(sorted({result['class_map'] for result in results}))}) have no mean; "
            "score them singly"
        )
    result = spread(results)
    _print_table(result)
    write_figures(args.json, result)
    if args.page:
        write_page(args.page, result)
    if args.keep:
        for path, own in zip(args.checkpoints, results, strict=True):
            replace_card(path, {**load_checkpoint(path).card, "evaluation": own})
    return 0


def _evaluate(path, args):
    checkpoint = load_checkpoint(path)
    data = data_settings(args)
    view = view_of(checkpoint.card)
    scans = data.open(args.data, checkpoint.class_map, poses=view.kind != "single")
    trained_on = scans_met(scans.names, scans_seen(checkpoint.card), data.called)
    if trained_on and not args.allow_trained:
        raise ValueError(
            f"{path} was trained on {len(trained_on)} of these {len(scans)} scans "
            f"({trained_on[0]}, ...); choose others with --sequences, --first-scan, --last-scan "
            "(or --called NAME where they are others of the same numbers), or pass --allow-trained"
        )
    frames = progress_bar(shown(scans, view, checkpoint.class_map), len(scans))
    scores = evaluate(
        Segmenter(checkpoint, device=args.device, images="on"), frames, args.tta, args.subsets
    )
    return {
        "checkpoint": Path(path).name,
        "class_map": checkpoint.class_map.name,
        "scans": list(scans.names),
        "trained_on": trained_on,
        "calibrated_on": scans_met(scans.names, scans_calibrated_on(checkpoint.card), data.called),
        "allow_trained": args.allow_trained,
        "images": args.images,
        "view": view.kind,
        "training_points": checkpoint.card.get("training_points"),
        **scores,
    }


def _print_table(result):
    print(f"{'class':<16}{'points':>12}{'IoU':>8}{'chance':>8}")
    for name, iou in result["iou"].items():
        print(
            f"{name:<16}{result['points'][name]:>12}{_percent(iou):>8}"
            f"{_percent(result['chance'][name]):>8}"
        )
    num_points = sum(result["points"].values())
    chance = [
        value
        for name, value in result["chance"].items()
        if value is not None and result["iou"][name] is not None
    ]
    mean_chance = sum(chance) / len(chance) if chance else None
    before = (
        ""
        if result["ece"] == result["ece_uncalibrated"]
        else f" (uncalibrated {_percent(result['ece_uncalibrated'])})"
    )
    rest = f"accuracy {_percent(result['accuracy'])}, ECE {_percent(result['ece'])}{before}"
    print(
        f"{'mean':<16}{num_points:>12}{_percent(result['miou']):>8}{_percent(mean_chance):>8}   "
        f"{rest}"
    )
    for ring, entry in result["by_distance"].items():
        print(
            f"{ring + ' m':<16}{entry['points']:>12}{_percent(entry['miou']):>8}{'':>8}   ECE "
            f"{_percent(entry['ece'])}"
        )
    for number, entry in result["by_live_cameras"].items():
        print(f"{number + ' cameras':<16}{entry['points']:>12}{_percent(entry['miou']):>8}")
    for what in ("in_view", "out_of_view"):
        if result[what]["points"]:
            print(
                f"{what.replace('_', ' '):<16}{result[what]['points']:>12}"
                f"{_percent(result[what]['miou']):>8}"
            )
    if "spread" in result:
        deviation = result["spread"]["standard_deviation"]["miou"]
        print(
            f"mean of {result['spread']['checkpoints']} checkpoints; standard deviation of mIoU "
            f"{_percent(deviation)}"
        )
    names = list(result["iou"])
    for line in (
        *confusion_table(names, result["confusion"]),
        *why_zero(names, result["confusion"], result["training_points"]),
    ):
        print(line)
    print(f"test-time changes: {result['tta']}")
    print(
        "chance: the IoU of labels drawn at random, each class as often as these scans have it; "
        "mean over the classes that the other mean is over"
    )
    if result["trained_on"]:
        print(
            f"NOTE: the checkpoint was trained on {len(result['trained_on'])} of these "
            f"{len(result['scans'])} scans"
        )
    if result["calibrated_on"]:
        print(
            f"NOTE: temperatures were fitted on {len(result['calibrated_on'])} of these "
            f"{len(result['scans'])} scans: the ECE flatters, the IoU does not"
        )


def _percent(value):
    return "-" if value is None else f"{100 * value:.1f}"
