"""`cmdfusion calibrate CHECKPOINT --data DIR --sequences 08`: make a checkpoint's confidence mean
how often it is right.

Fits one temperature a ring of distance on labelled scans that the checkpoint was not trained on.
They are written where --out says, or into the checkpoint itself with --keep; without either they
are only shown. No label changes. Fitting again replaces them.
"""

import argparse
from pathlib import Path

from cmdfusion_ros.checkpoint.file import load_checkpoint, replace_card
from cmdfusion_ros.cli.runs.figures import add_json_option, write_figures
from cmdfusion_ros.cli.runs.options import (
    add_compute_options,
    add_data_options,
    data_settings,
    use_threads,
)
from cmdfusion_ros.cli.runs.terminal import progress_bar
from cmdfusion_ros.config import load_settings, settings_to_dict
from cmdfusion_ros.evaluation.calibrate import (
    CalibrationSets,
    fit_temperatures,
    gather_answers,
    summarise,
)
from cmdfusion_ros.evaluation.reliability import draw_reliability
from cmdfusion_ros.inference import Segmenter
from cmdfusion_ros.training.provenance import scans_met, scans_seen
from cmdfusion_ros.training.samples import shown, view_of

FEW_SCANS = 20  # below, a fit says more of these scans than of the network


def add_parser(subparsers: argparse._SubParsersAction) -> argparse.ArgumentParser:
    parser = subparsers.add_parser(
        "calibrate",
        help="make confidence mean how often it is right",
        description=__doc__,
        examples=(
            "cmdfusion calibrate cmdfusion_ros/weights/flagship_nano.safetensors --data street "
            "--sequences 00 --out calibrated.safetensors",
            "cmdfusion calibrate cmdfusion_ros/weights/flagship_nano.safetensors --data street "
            "--sequences 00 --json calibration.json --picture calibration.png",
        ),
    )
    parser.add_argument(
        "checkpoint", metavar="CHECKPOINT", help="a .safetensors file of cmdfusion train"
    )
    parser.add_argument(
        "--out",
        metavar="FILE",
        help="write the calibrated checkpoint here",
    )
    parser.add_argument(
        "--keep", action="store_true", help="write the temperatures into CHECKPOINT itself"
    )
    parser.add_argument(
        "--data",
        default=".",
        metavar="DIR",
        help="folder of the data set; with --sets, that its roots are relative to (default: here)",
    )
    parser.add_argument(
        "--sets",
        metavar="FILE.yaml",
        help="fit on several sets, listed as in config/calibrate/; instead of the options below",
    )
    add_data_options(parser, "fit on", required=False)
    add_json_option(parser, "temperatures and calibration errors")
    parser.add_argument(
        "--picture", metavar="FILE.png", help="draw confidence against accuracy, before and after"
    )
    add_compute_options(parser)
    return parser


def run(args: argparse.Namespace) -> int:
    """Fit, write, print; returns 0."""
    if args.keep and args.out:
        raise ValueError("--keep writes into CHECKPOINT, --out into another file; give one of them")
    use_threads(args)
    checkpoint = load_checkpoint(args.checkpoint)
    sets = _sets(args)
    view = view_of(checkpoint.card)
    opened = [
        data.open(args.data, checkpoint.class_map, poses=view.kind != "single") for data in sets
    ]
    names = [name for scans in opened for name in scans.names]
    seen = scans_seen(checkpoint.card)
    trained_on = sorted(
        name
        for data, scans in zip(sets, opened, strict=True)
        for name in scans_met(scans.names, seen, data.called)
    )
    if trained_on:
        raise ValueError(
            f"{args.checkpoint} was trained on {len(trained_on)} of these {len(names)} scans "
            f"({trained_on[0]}, ...), on which it is surer than anywhere else; "
            "choose others with --sequences, --first-scan, --last-scan (or --called NAME where "
            "they are others of the same numbers)"
        )
    segmenter = Segmenter(checkpoint, device=args.device, images="on")
    answers = []
    for data, scans in zip(sets, opened, strict=True):
        frames = progress_bar(shown(scans, view, checkpoint.class_map), len(scans))
        answers.append(gather_answers(segmenter, frames, len(names), data.repeat))
    temperatures = fit_temperatures(answers)
    fitted = {
        "checkpoint": Path(args.out or args.checkpoint).name,
        "scans": names,
        **summarise(answers, temperatures),
    }
    kept = {"scans": names, "sets": [settings_to_dict(data, only_changed=True) for data in sets]}
    card = {
        **checkpoint.card,
        "calibration": {
            **kept,
            **{key: fitted[key] for key in ("points", "by_distance", "ece", "ece_uncalibrated")},
        },
    }
    written = args.out or (args.checkpoint if args.keep else None)
    if written:
        replace_card(args.checkpoint, card, temperatures, written)
    write_figures(args.json, fitted)
    if args.picture:
        draw_reliability(fitted).savefig(args.picture, dpi=110)
    _print_table(fitted, written)
    return 0


def _sets(args):
    """The DataSettings that the command line asks for."""
    if (args.sets is None) == (args.sequences is None):
        raise ValueError(
            "give either --sequences of one set, or --sets with a YAML file of several"
        )
    if args.sets:
        return load_settings(CalibrationSets, args.sets).sets
    return (data_settings(args),)


def _print_table(fitted, path):
    print(f"{'ring':<12}{'points':>10}{'temperature':>13}{'ECE before':>12}{'after':>8}")
    for ring, entry in fitted["by_distance"].items():
        print(
            f"{ring + ' m':<12}{entry['points']:>10}{entry['temperature']:>13.2f}"
            f"{_percent(entry['ece_uncalibrated']):>12}{_percent(entry['ece']):>8}"
        )
    print(
        f"{'all':<12}{fitted['points']:>10}{'':>13}{_percent(fitted['ece_uncalibrated']):>12}"
        f"{_percent(fitted['ece']):>8}"
    )
    print(
        f"fitted on {len(fitted['scans'])} scans, whose errors these are; cmdfusion evaluate has "
        "those of other scans"
    )
    if len(fitted["scans"]) < FEW_SCANS:
        print(
            f"WARNING: {len(fitted['scans'])} scans are few, and those of one drive are alike: "
            f"elsewhere the confidence may be off; fit on {FEW_SCANS} or more of several drives"
        )
    print(f"written into {path}" if path else "not written; --keep or --out FILE does")


def _percent(value):
    return "-" if value is None else f"{100 * value:.1f}"
