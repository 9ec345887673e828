"""`cmdfusion submit CHECKPOINT --layout semantic_kitti --data DIR --sequences 11 12 --out
FILE.zip`: label a test set as its benchmark wants it, and check it.

Without a checkpoint, what is at --out is only checked.
"""

import argparse
from pathlib import Path

from cmdfusion_ros.checkpoint.file import load_checkpoint
from cmdfusion_ros.class_map import load_class_map
from cmdfusion_ros.cli.runs.figures import add_json_option, write_figures
from cmdfusion_ros.cli.runs.options import add_compute_options, use_threads
from cmdfusion_ros.cli.runs.terminal import progress_bar
from cmdfusion_ros.data.readers.nuscenes import NuScenes
from cmdfusion_ros.data.readers.semantic_kitti import SemanticKitti
from cmdfusion_ros.data.readers.submissions import (
    NuScenesFolder,
    SemanticKittiArchive,
    check_nuscenes,
    check_semantic_kitti,
)
from cmdfusion_ros.evaluation.evaluate import TEST_TIME_CHANGES, segment_with
from cmdfusion_ros.inference import Segmenter
from cmdfusion_ros.training.samples import view_of

_READERS = {"semantic_kitti": SemanticKitti, "nuscenes": NuScenes}


def add_parser(subparsers: argparse._SubParsersAction) -> argparse.ArgumentParser:
    parser = subparsers.add_parser(
        "submit",
        help="label a test set for its benchmark",
        description=__doc__,
        examples=(
            "cmdfusion submit network.safetensors --layout semantic_kitti --data semantic_kitti "
            "--sequences 11 12 --out submission.zip",
            "cmdfusion submit --layout semantic_kitti --data semantic_kitti --sequences 11 12 "
            "--out submission.zip --json submission.json",
        ),
    )
    parser.add_argument(
        "checkpoint",
        metavar="CHECKPOINT",
        nargs="?",
        help="a .safetensors file of cmdfusion train; without one, --out is only checked",
    )
    parser.add_argument("--layout", choices=tuple(_READERS), required=True, help="the benchmark")
    parser.add_argument("--data", required=True, metavar="DIR", help="folder of the data set")
    parser.add_argument(
        "--sequences",
        required=True,
        nargs="+",
        metavar="NAME",
        help="11 to 21 of SemanticKITTI; val or test of nuScenes",
    )
    parser.add_argument(
        "--out",
        required=True,
        metavar="PATH",
        help="the .zip of SemanticKITTI, the folder of nuScenes",
    )
    parser.add_argument(
        "--images",
        action="store_true",
        help="give the network the camera images too; leaves nuScenes' LiDAR track",
    )
    parser.add_argument(
        "--external",
        action="store_true",
        help="say that the network was trained on other data too (nuScenes asks)",
    )
    parser.add_argument(
        "--tta",
        choices=tuple(TEST_TIME_CHANGES),
        default="none",
        help="average over changed scans (default: none)",
    )
    add_json_option(parser, "the numbers of scans and points")
    add_compute_options(parser)
    return parser


def run(args: argparse.Namespace) -> int:
    """Label, write, check; returns 0."""
    use_threads(args)
    class_map = load_class_map(args.layout)
    options = {"labels": False, "poses": False, "images": False}
    if args.checkpoint:
        checkpoint = load_checkpoint(args.checkpoint)
        view = view_of(checkpoint.card)
        if any(offset > 0 for offset in view.offsets):
            raise ValueError(
                f"{args.checkpoint}: sees later scans, which a benchmark does not allow at test "
                "time; it is a teacher, submit its student"
            )
        reader = _READERS[args.layout](
            args.data,
            args.sequences,
            class_map,
            labels=False,
            poses=view.kind != "single",
            images=args.images,
        )
        segment = segment_with(Segmenter(checkpoint, device=args.device, images="on"), args.tta)
        with _writer(args, checkpoint.class_map) as writer:
            for index in progress_bar(range(len(reader)), len(reader)):
                frame = reader[index]
                shown = view.apply(frame, reader.neighbours(index, view.offsets), class_map)
                writer.add(frame.name, segment(shown).labels[: frame.num_points])
    scans = _READERS[args.layout](args.data, args.sequences, class_map, **options)
    counts = {
        tuple(name.split("/")[1:]): frame.num_points
        for name, frame in zip(scans.names, scans, strict=True)
    }
    if args.layout == "semantic_kitti":
        check_semantic_kitti(args.out, counts, class_map)
    else:
        check_nuscenes(
            args.out, _split(args), {token: number for (_, token), number in counts.items()}
        )
    figures = {
        "out": args.out,
        "layout": args.layout,
        "scans": len(counts),
        "points": sum(counts.values()),
        "tta": args.tta,
    }
    write_figures(args.json, figures)
    print(
        f"{args.out}: {len(counts)} scans, {sum(counts.values())} points, as {args.layout} wants "
        "them"
    )
    return 0


def _writer(args, class_map):
    if args.layout == "semantic_kitti":
        Path(args.out).parent.mkdir(parents=True, exist_ok=True)
        return SemanticKittiArchive(args.out, class_map)
    return NuScenesFolder(args.out, _split(args), class_map, args.images, args.external)


def _split(args):
    if len(args.sequences) != 1:
        raise ValueError(
            "--sequences: a submission to nuScenes is of one split, val or test, got "
            f"{' '.join(args.sequences)}"
        )
    return args.sequences[0]
