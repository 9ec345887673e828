"""`cmdfusion demo [BAG]`: replay a bag through the running node and show what it says of it."""

import argparse
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cmdfusion_ros.class_map import ClassMap, load_class_map
from cmdfusion_ros.cli.runs.figures import add_json_option, write_figures
from cmdfusion_ros.cli.runs.live import LABELLED_TOPIC, RunOptions, ros_is_there, run_live
from cmdfusion_ros.cli.runs.offline import run_offline
from cmdfusion_ros.cli.runs.options import (
    add_checkpoint_option,
    add_compute_options,
    add_points_option,
    add_silence_option,
    check_threads,
)
from cmdfusion_ros.cli.runs.processes import ProcessError
from cmdfusion_ros.cli.runs.quiet import say_step
from cmdfusion_ros.cli.runs.record import RunRecord
from cmdfusion_ros.cli.runs.terminal import ScanProgress
from cmdfusion_ros.data.bags.bag import read_labelled_clouds
from cmdfusion_ros.data.bags.bag_layout import BagLayout, inspect_bag
from cmdfusion_ros.data.bags.frame_bag import read_bag_labels, write_frame_bag
from cmdfusion_ros.data.synthetic.demo_drive import DEMO_SCANS, demo_frames
from cmdfusion_ros.data.synthetic.rendering import available_cores
from cmdfusion_ros.labelling.model import is_teacher
from cmdfusion_ros.labelling.snapshot import draw_snapshot

_STREET_SCANS, _STREET_LABELS, _JPEG_QUALITY = DEMO_SCANS, "street", 90


def add_parser(subparsers: argparse._SubParsersAction) -> argparse.ArgumentParser:
    parser = subparsers.add_parser(
        "demo",
        help="replay a bag through the running node and show the result",
        description="Replay a bag in its own process through ROS 2 into the running node, record "
        "what it says, and draw it. "
        "Without a bag, a drive through a made-up street is rendered, once. Where ROS 2 is "
        "missing, the same bag is labelled in one process instead.",
        examples=(
            "cmdfusion demo",
            "cmdfusion demo demo_output/street --offline --out again",
        ),
    )
    parser.add_argument(
        "bag",
        nargs="?",
        metavar="BAG",
        help="rosbag2 folder, .mcap or ROS 1 .bag file (default: a made-up street)",
    )
    parser.add_argument(
        "--out",
        default="demo_output",
        metavar="DIR",
        help="folder for the results (default: demo_output)",
    )
    parser.add_argument(
        "--rate",
        default="auto",
        type=_rate,
        metavar="X",
        help="times real time; auto (default): as fast as this machine labels, at most 1",
    )
    parser.add_argument(
        "--duration",
        type=float,
        default=60.0,
        metavar="S",
        help="take only the first S seconds of the bag; 0 = all (default: 60)",
    )
    parser.add_argument(
        "--offline", action="store_true", help="do not use ROS, even if it is there"
    )
    parser.add_argument(
        "--street-only",
        action="store_true",
        help="only render the made-up street that is played where no bag is given",
    )
    add_run_arguments(parser)
    add_json_option(parser)
    return parser


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of every verb that labels a bag."""
    add_points_option(parser)
    add_silence_option(parser)
    add_checkpoint_option(parser)
    add_compute_options(parser)
    parser.add_argument(
        "--backend",
        default="auto",
        metavar="NAME",
        help="sparse convolution backend; fake labels nothing truly and needs no network",
    )


def run_options(args: argparse.Namespace) -> RunOptions:
    """RunOptions from the arguments of `add_run_arguments`; ValueError where they are wrong."""
    check_threads(args)
    checkpoint = str(Path(args.checkpoint).resolve()) if args.checkpoint else ""
    return RunOptions(
        args.points,
        getattr(args, "rate", "auto"),
        tuple(args.silence),
        checkpoint,
        args.device,
        args.backend,
        threads=args.threads or 0,
    )


def _rate(text):
    if text == "auto":
        return text
    value = float(text)
    if not 0 < value <= 100:
        raise ValueError
    return value


def run(args: argparse.Namespace) -> int:
    if args.bag and args.street_only:
        raise ValueError(f"--street-only makes a street and plays no bag; leave out {args.bag}")
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    bag = Path(args.bag) if args.bag else _made_up_bag(out)
    if args.street_only:
        return 0
    options = run_options(args)
    layout = inspect_bag(bag, options.points, args.duration)
    print(layout.table(), flush=True)
    class_map = model_class_map(options)
    remove_bag(out / "labelled")
    if args.offline or not ros_is_there():
        print(
            "labelling offline, as asked"
            if args.offline
            else "ROS 2 (rclpy) is not installed: labelling the bag offline, without the node",
            flush=True,
        )
        record = run_offline(layout, options, out / "labelled")
    else:
        try:
            record = run_live(layout, options, out)
        except ProcessError as error:
            raise ProcessError(f"{error}\n`--offline` labels the bag without ROS") from error
    summary = record.summary(
        score(layout.path, out / "labelled", class_map) if record.returned else None
    )
    for path in (str(out / "summary.json"), args.json):
        write_figures(path, summary)
    draw(layout, options, record, summary, class_map, out)
    return report(record, summary, out)


def _made_up_bag(out):
    """The bag of a made-up street under `out`; made once."""
    bag = out / "street"
    if not (bag / "metadata.yaml").exists():
        remove_bag(bag)
        say_step(
            f"no bag given: making up a street of {_STREET_SCANS} scans with six cameras; this "
            "takes a minute, once"
        )
        progress = ScanProgress(_STREET_SCANS)
        frames = progress.counted(demo_frames(_STREET_LABELS, available_cores(), _STREET_SCANS))
        write_frame_bag(bag, frames, load_class_map(_STREET_LABELS), _JPEG_QUALITY)
        progress.finish()
    return bag


def remove_bag(path: Path) -> None:
    """Remove a bag that an earlier run has written; anything else at that place is an error."""
    if not path.exists():
        return
    strangers = [entry.name for entry in path.iterdir() if entry.suffix not in (".mcap", ".yaml")]
    if strangers:
        raise ValueError(
            f"{path}: expected nothing there or a bag of an earlier run, found "
            f"{', '.join(strangers[:5])}; move it away or choose another --out"
        )
    shutil.rmtree(path)


def model_class_map(options: RunOptions) -> ClassMap:
    """The ClassMap of the labels that will be published."""
    if options.backend == "fake" or is_teacher(options.checkpoint):
        return load_class_map("street")
    from cmdfusion_ros.checkpoint.file import load_checkpoint  # imports torch
    from cmdfusion_ros.inference import default_checkpoint_path

    return load_checkpoint(options.checkpoint or default_checkpoint_path()).class_map


def score(bag: Path, labelled: Path, class_map: ClassMap) -> float | None:
    """mIoU of the recorded labels against the labels known of the bag's clouds; None where none
    are known.
    """
    truth = read_bag_labels(bag)
    if truth is None:
        return None
    if truth.dataset not in class_map.datasets:
        print(
            f"note: no mIoU: the bag's labels are those of {truth.dataset}, which do not fold "
            f"onto the network's classes, {class_map.name}"
        )
        return None
    from cmdfusion_ros.evaluation.metrics import ConfusionMatrix

    matrix = ConfusionMatrix(class_map.num_classes)
    scored = 0
    for stamp, columns in read_labelled_clouds(labelled, LABELLED_TOPIC):
        if stamp in truth.raw:
            predicted = class_map.labels_from_raw(
                columns["label"], class_map.name, f"{labelled} {LABELLED_TOPIC}"
            )
            matrix.add(
                class_map.labels_from_raw(truth.raw[stamp], truth.dataset, str(bag)), predicted
            )
            scored += 1
    if not scored:
        print("note: none of the labelled clouds has a known label: their stamps differ")
        return None
    return matrix.miou


def draw(
    layout: BagLayout,
    options: RunOptions,
    record: RunRecord,
    summary: Mapping[str, Any],
    class_map: ClassMap,
    out: Path,
) -> None:
    """The picture of the labelled cloud in the middle of the run, as <out>/picture.png; nothing
    where no cloud was labelled.
    """
    stamps = sorted(record.returned)
    if not stamps:
        print("no cloud was labelled: there is nothing to draw")
        return
    middle = len(stamps) // 2
    stamp = stamps[middle]
    mode = record.modes.get(stamp, "")  # without ~/status it is not known of one cloud
    title = f"{layout.path.name}   scan {middle + 1} of {len(stamps)}   "
    draw_snapshot(
        out / "picture.png",
        layout,
        out / "labelled",
        LABELLED_TOPIC,
        stamp,
        class_map,
        layout.silences(options.silence),
        (title + mode.replace("_", " ")).strip(),
        headline(summary),
    )


def headline(summary: Mapping[str, Any]) -> str:
    """The summary in one line."""
    dropped = ", ".join(f"{count} {name}" for name, count in summary["dropped"].items()) or "none"
    words = [
        f"{summary['received']} clouds received, {summary['labelled']} labelled, {dropped} dropped"
    ]
    if any(summary["modes"].values()):
        words.append(
            ", ".join(f"{count} {mode}" for mode, count in summary["modes"].items() if count)
        )
    if summary["rate_hz"] is not None:
        words.append(f"{summary['rate_hz']:.1f} Hz")
    if summary["latency_ms"]["p50"] is not None:
        words.append(
            f"latency {summary['latency_ms']['p50']:.0f} ms (95 %: "
            f"{summary['latency_ms']['p95']:.0f} ms)"
        )
    if summary["miou"] is not None:
        words.append(f"mIoU {100 * summary['miou']:.1f} %")
    return "   ·   ".join(words)


def report(record: RunRecord, summary: Mapping[str, Any], out: Path) -> int:
    """Print the result and where it lies; the exit code: 0 where every cloud is accounted for."""
    print(headline(summary))
    for line in record.camera_lines():
        print(f"  {line}")
    for name, what in (
        ("picture.png", "bird's-eye view and cameras"),
        ("labelled", "bag with the labelled clouds"),
        ("summary.json", "the figures above"),
    ):
        if (out / name).exists():
            print(f"  {out / name}: {what}")
    problems = record.problems()
    for problem in problems:
        print(f"NOT AS IT SHOULD BE: {problem}")
    if not problems:
        print(
            f"\nNow look at {out / 'picture.png'}. Then, after `source .venv/setup.bash`:\n"
            "  cmdfusion demo YOUR_BAG                 the same with a recording of yours\n"
            "  cmdfusion label YOUR_BAG --out LABELLED the labels alone, without ROS\n"
            "  cmdfusion doctor                        what is installed and chosen, and why"
        )
    return 1 if problems else 0
