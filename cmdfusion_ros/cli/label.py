"""`cmdfusion label BAG --out X`: label a bag without ROS, with the node's own synchroniser and
pipeline.
"""

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from cmdfusion_ros import __version__
from cmdfusion_ros.class_map import load_class_map
from cmdfusion_ros.cli.demo import (
    add_run_arguments,
    headline,
    remove_bag,
    run_options,
    score,
)
from cmdfusion_ros.cli.demo import model_class_map as class_map_of
from cmdfusion_ros.cli.runs.bag_workers import LocalWorkers
from cmdfusion_ros.cli.runs.drives import ODOMETRIES
from cmdfusion_ros.cli.runs.figures import add_json_option, write_figures
from cmdfusion_ros.cli.runs.folder_to_label import FORMATS, label_folder
from cmdfusion_ros.cli.runs.label_results import (
    add_result_options,
    asked_results,
    check_results,
    write_results,
)
from cmdfusion_ros.cli.runs.many_bags import (
    BagJob,
    bag_fingerprint,
    bag_names,
    file_sha256,
    run_jobs,
)
from cmdfusion_ros.cli.runs.offline import run_offline
from cmdfusion_ros.cli.runs.options import add_processes_option
from cmdfusion_ros.cli.runs.ray_workers import RayWorkers
from cmdfusion_ros.data.bags.bag import Bag, read_labelled_clouds
from cmdfusion_ros.data.bags.bag_layout import inspect_bag
from cmdfusion_ros.data.bags.bag_survey import TRANSFORMS
from cmdfusion_ros.data.bags.frame_bag import read_bag_labels
from cmdfusion_ros.data.drives.odometry import STANDING
from cmdfusion_ros.data.readers.cloud_files import cloud_files, write_cloud_bag
from cmdfusion_ros.data.synthetic.rendering import available_cores
from cmdfusion_ros.evaluation.metrics import ConfusionMatrix
from cmdfusion_ros.frame import IGNORE_LABEL
from cmdfusion_ros.inference import default_checkpoint_path
from cmdfusion_ros.labelling.model import is_teacher
from cmdfusion_ros.labelling.offline import LABELLED_TOPIC

# options that each of several bags is labelled with, and its bytes depend on
_OF_EACH = ("points", "silence", "device", "backend", "with_original")


def add_parser(subparsers: argparse._SubParsersAction) -> argparse.ArgumentParser:
    parser = subparsers.add_parser(
        "label",
        help="label a bag offline, without ROS, or fill a labelling tool",
        description="Label every cloud of a bag and write a new bag (mcap) with the labelled "
        "clouds and the transforms, or with all that is in the bag. "
        "Pairing and labelling are the node's own, on the bag's clock; no cloud is dropped for "
        "lack of time.",
        examples=(
            "cmdfusion label demo_output/street --out labelled",
            "cmdfusion label demo_output/street --out seen --page seen.html --json seen.json",
        ),
    )
    parser.add_argument(
        "bag",
        nargs="+",
        metavar="BAG",
        help="rosbag2 folder, .mcap or ROS 1 .bag file; or a .pcd, .ply, .las or .bin, or a folder "
        "of them; with --format also a data set's folder, or a project that Supervisely exported",
    )
    parser.add_argument(
        "--out",
        required=True,
        metavar="PATH",
        help="bag to make; labels of an earlier run there are replaced, nothing else is",
    )
    parser.add_argument(
        "--with-original",
        action="store_true",
        help="copy all messages of the bag into --out, byte for byte beside the labelled clouds "
        "(default: its transforms alone)",
    )
    parser.add_argument(
        "--teacher",
        metavar="FILE",
        help="instead of a network's, the labels that a 2D network (.onnx, .tflite; see "
        "docs/adapt.md) gives the points that cameras see: what `cmdfusion adapt` would learn",
    )
    parser.add_argument(
        "--format",
        choices=("bag", *FORMATS),
        default="bag",
        help="what --out becomes: a bag (default), or a folder for a labelling tool: in "
        "SemanticKITTI's layout or for Supervisely (docs/labelling.md)",
    )
    parser.add_argument(
        "--choose",
        type=int,
        metavar="N",
        help="with such a folder: only the N scans most worth a person's time, of which "
        "the network is unsure and which differ",
    )
    parser.add_argument(
        "--classes",
        metavar="FILE",
        help="with such a folder: write labels of these classes, onto which the network's "
        "fold (default: the network's own)",
    )
    parser.add_argument(
        "--odometry",
        choices=(*ODOMETRIES, STANDING),
        default="auto",
        help="with such a folder: where poses come from: recorded, kiss-icp, auto: "
        "recorded ones where there are any (default), or none",
    )
    add_processes_option(parser, "with several bags, of which --out becomes a folder: ")
    parser.add_argument(
        "--cluster",
        metavar="ADDRESS",
        help="with several bags: label them on the nodes of a Ray cluster, HOST:PORT of its head "
        "or auto; --processes then is how many at a time (default: all its cores)",
    )
    parser.add_argument(
        "--resume",
        action="store_true",
        help="with several bags: go on after a kill; a bag that was done with the same weights "
        "and settings is left out",
    )
    add_result_options(parser)
    add_run_arguments(parser)
    add_json_option(parser)
    return parser


def _with_teacher(options, args):
    """The RunOptions with the 2D network in the place of the checkpoint."""
    path = Path(args.teacher).resolve()
    if args.checkpoint:
        raise ValueError("--teacher and --checkpoint: the labels come from one of them; give one")
    if not is_teacher(str(path)) or not path.is_file():
        raise ValueError(f"--teacher {path}: expected a .onnx or .tflite file; see docs/adapt.md")
    return replace(options, checkpoint=str(path))


def coverage(labelled: Path, bag: Path) -> str:
    """In words: how many points of a labelled bag have a label, of which classes, and, where the
    labels of `bag` are known, how many of them are right.
    """
    class_map, truth = load_class_map("street"), read_bag_labels(bag)
    matrix = ConfusionMatrix(class_map.num_classes)
    counts, total = np.zeros(256, np.int64), 0
    for stamp, columns in read_labelled_clouds(labelled, LABELLED_TOPIC):
        labels = class_map.labels_from_raw(columns["label"], class_map.name, str(labelled))
        counts += np.bincount(labels, minlength=256)
        total += len(labels)
        if truth is not None and truth.dataset in class_map.datasets and stamp in truth.raw:
            known = labels != IGNORE_LABEL
            true = class_map.labels_from_raw(truth.raw[stamp], truth.dataset, str(bag))
            matrix.add(true[known], labels[known])
    shares = counts[: class_map.num_classes]
    if not shares.any():
        return "no point has a label: do the cameras see what the LiDAR does? is the teacher right?"
    named = sorted(zip(shares / shares.sum(), class_map.names, strict=True), reverse=True)
    words = ", ".join(f"{name} {100 * share:.1f} %" for share, name in named if share)
    lines = f"{100 * shares.sum() / total:.1f} % of the points have a label; of these {words}"
    if matrix.counts.any():
        lines += f"\n{100 * matrix.accuracy:.1f} % of those whose true class is known are right"
    return lines


def _label_many(args):
    """Several bags, a worker each."""
    alone = {**asked_results(args), "--format": args.format != "bag"}
    asked = [option for option, value in alone.items() if value]
    if asked:
        raise ValueError(
            f"{', '.join(asked)}: of one bag at a time; give one, without --processes and --cluster"
        )
    options = run_options(args)
    if args.teacher:
        options = _with_teacher(options, args)
    weights = options.checkpoint
    if not weights and args.backend != "fake":
        weights = default_checkpoint_path()
    settings = {
        "version": __version__,
        "weights": file_sha256(weights) if weights else "",
        **{name: getattr(args, name) for name in _OF_EACH},
    }
    words = ["--device", args.device, "--backend", args.backend]
    words += ["--threads", str(args.threads)] if args.threads else []
    words += ["--points", args.points] if args.points else []
    words += ["--with-original"] if args.with_original else []
    words += [word for silence in args.silence for word in ("--silence", silence)]
    if options.checkpoint:
        words += ["--teacher" if args.teacher else "--checkpoint", options.checkpoint]
    jobs = []
    for name, bag in zip(bag_names(args.bag), args.bag, strict=True):
        if not Path(bag).exists():
            raise FileNotFoundError(f"{bag}: no such bag")
        files = bag_fingerprint(bag)
        command = ("label", *words, str(Path(bag).resolve()), "--out")
        size = sum(size for _, size, _ in files)
        jobs.append(BagJob(name, {**settings, "bag": files}, command, size))
    if args.cluster:
        workers = RayWorkers(args.cluster, args.processes, args.device, args.threads or 1)
    else:
        workers = LocalWorkers(available_cores() if args.processes is None else args.processes)
    try:
        code, figures = run_jobs(jobs, Path(args.out), workers, args.resume)
    finally:
        workers.close()
    write_figures(args.json, figures)
    return code


def run(args: argparse.Namespace) -> int:
    if len(args.bag) > 1 or args.processes is not None or args.resume or args.cluster:
        return _label_many(args)
    args.bag = args.bag[0]
    if args.format != "bag":
        if args.with_original:
            raise ValueError("--with-original goes with --format bag")
        return label_folder(args)
    if args.choose is not None or args.classes or args.odometry != "auto":
        folders = " or ".join(FORMATS)
        raise ValueError(f"--choose, --classes and --odometry go with --format {folders}")
    _check_room(Path(args.out), Path(args.bag))
    check_results(args)
    options = run_options(args)
    if args.teacher:
        options = _with_teacher(options, args)
    files = cloud_files(args.bag)
    if not files:
        return _label(args, options, args.bag)
    with tempfile.TemporaryDirectory() as folder:
        scans = Path(folder) / "scans"
        write_cloud_bag(scans, files)
        return _label(args, options, scans, Path(args.bag))


def _check_room(out, bag):
    """Nothing is overwritten but the labels of an earlier run, which come back by running again.

    Raises:
        FileExistsError: anything else is there.
    """
    if not out.exists():
        return
    try:
        with Bag(out) as there:
            others = [
                topic
                for topic, info in there.topics.items()
                if topic != LABELLED_TOPIC and info.msgtype != TRANSFORMS
            ]
            ours = LABELLED_TOPIC in there.topics and not others
            ours = ours and out.resolve() != bag.resolve()
    except ValueError:
        ours = False
    if not ours:
        raise FileExistsError(
            f"--out {out}: exists, and is no bag of labels; move it away, or choose another name"
        )
    print(f"note: {out}: the labels of an earlier run are replaced")


def _label(args, options, bag, source=None):
    layout = inspect_bag(bag, options.points, source=source)
    print(layout.table(), flush=True)
    remove_bag(Path(args.out))
    record = run_offline(layout, options, args.out, args.with_original)
    if record.left_out:
        print(f"note: not copied, an earlier run's: {', '.join(record.left_out)}")
    if record.placement:
        print(f"the network saw the clouds from: {record.placement}")
    known = record.returned and not args.teacher
    miou = score(layout.path, args.out, class_map_of(options)) if known else None
    summary = record.summary(miou)
    print(headline(summary))
    for line in record.camera_lines():
        print(f"  {line}")
    write_figures(args.json, summary)
    if args.teacher:
        print(coverage(args.out, layout.path))
    write_results(args, layout, record, class_map_of(options))
    problems = record.problems()
    for problem in problems:
        print(f"NOT AS IT SHOULD BE: {problem}")
    return 1 if problems else 0
