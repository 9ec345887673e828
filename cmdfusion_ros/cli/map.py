"""`cmdfusion map BAG --out map.ply`: one labelled cloud of a whole drive.

The scans are labelled, laid together by the drive's poses (transforms, poses.txt, else KISS-ICP)
and thinned to one point a voxel, whose class is what most of the answers there say. --out decides
the kind of file: .ply or .las.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from cmdfusion_ros.cli.runs.drives import add_drive_arguments, open_drives
from cmdfusion_ros.cli.runs.figures import add_json_option, write_figures
from cmdfusion_ros.cli.runs.options import (
    add_checkpoint_option,
    add_compute_options,
    use_threads,
)
from cmdfusion_ros.cli.runs.terminal import ScanProgress
from cmdfusion_ros.data.drives.drive import Drive
from cmdfusion_ros.data.point_files import SUFFIXES, LabelledPoints, write_cloud
from cmdfusion_ros.frame import IGNORE_LABEL
from cmdfusion_ros.geometry.transforms import apply, invert
from cmdfusion_ros.geometry.voxel_map import VoxelMap
from cmdfusion_ros.inference import Segmenter
from cmdfusion_ros.labelling.model import open_segmenter
from cmdfusion_ros.labelling.sections import ModelSettings

_PRIOR = 0.1  # votes for each class before anyone voted


def add_parser(subparsers: argparse._SubParsersAction) -> argparse.ArgumentParser:
    parser = subparsers.add_parser(
        "map",
        help="make a labelled map of a drive",
        description=__doc__,
        examples=(
            "cmdfusion map demo_output/street --out map.ply",
            "cmdfusion map demo_output/street --out road.las --without-dynamic --voxel-size 0.2",
        ),
    )
    parser.add_argument("drive", metavar="DRIVE", help="bag, or folder of scans with poses")
    parser.add_argument("--out", required=True, metavar="FILE",
                        help="file to make, .ply or .las; must not exist")  # fmt: skip
    parser.add_argument("--voxel-size", type=float, default=0.1, metavar="M",
                        help="one point a voxel of this edge (default: 0.1 m)")  # fmt: skip
    parser.add_argument("--reach", type=float, default=60.0, metavar="M",
                        help="leave out points further from the LiDAR (default: 60 m)")  # fmt: skip
    parser.add_argument(
        "--without-dynamic",
        action="store_true",
        help="leave out what can move: cars, people, ...; what was there without them stays",
    )
    add_checkpoint_option(parser)
    parser.add_argument("--teacher", default="", metavar="FILE", help="a 2D network instead: only "
                        "what cameras see is labelled")  # fmt: skip
    parser.add_argument("--images", action="store_true", help="give the network the images too")
    add_compute_options(parser)
    add_json_option(parser)
    add_drive_arguments(parser)
    return parser


def run(args: argparse.Namespace) -> int:
    """Make the map; 0, or 1 where nothing was labelled."""
    use_threads(args)
    out = Path(args.out)
    if out.suffix not in SUFFIXES:
        raise ValueError(f"--out {out}: expected a name that ends in {' or '.join(SUFFIXES)}")
    if out.exists():
        raise FileExistsError(f"--out {out}: exists; move it away, or choose another name")
    drives = open_drives([args.drive], args.points, args.odometry)
    if len(drives) > 1:
        names = ", ".join(drive.name for drive in drives[:8])
        raise ValueError(f"{args.drive}: holds {len(drives)} drives ({names}); give one of them")
    model = ModelSettings(checkpoint=args.teacher or args.checkpoint, device=args.device, warmup=0)
    segmenter, _ = open_segmenter(model)
    images = bool(args.teacher) or args.images
    cloud = map_of(drives[0], segmenter, args.voxel_size, args.reach, images, args.without_dynamic)
    write_cloud(out, cloud)
    figures: dict[str, Any] = {
        "map": str(out),
        "scans": len(drives[0]),
        "odometry": drives[0].odometry,
        "points": len(cloud.points),
        "classes": {
            name: int((cloud.labels == label).sum())
            for label, name in enumerate(cloud.class_map.names)
        },
    }
    write_figures(args.json, figures)
    known = sum(figures["classes"].values())
    shares = sorted(figures["classes"].items(), key=lambda item: -item[1])
    words = ", ".join(f"{name} {100 * n / max(known, 1):.1f} %" for name, n in shares if n)
    print(f"{out}: {len(cloud.points)} points, {known} with a label: {words or 'none'}")
    return 0 if known else 1


def map_of(
    drive: Drive,
    segmenter: Segmenter,
    voxel: float,
    reach: float,
    images: bool,
    without_dynamic: bool,
) -> LabelledPoints:
    """The labelled, thinned cloud of a drive, in the frame of its first scan.

    A point of the map is the mean of the points in its voxel. Without what can move, points so
    labelled are not laid down at all, so that the road under a car that drove off is road.
    """
    class_map = segmenter.class_map
    votes, progress = VoxelMap(voxel, class_map.num_classes), ScanProgress(len(drive))
    first_from_world = None
    for index in range(len(drive)):
        frame = drive.read(index, images)
        answer = segmenter.segment(frame)
        if first_from_world is None:
            first_from_world = invert(frame.world_from_lidar)
        kept = np.linalg.norm(frame.points, axis=1) <= reach
        if without_dynamic:
            kept &= ~np.isin(answer.labels, class_map.thing_labels)
        placed = apply(first_from_world @ frame.world_from_lidar, frame.points.astype(np.float64))
        values = (answer.labels, answer.confidence)
        votes.add(
            placed[kept], frame.intensity[kept], *(each[kept] for each in values), frame.stamp
        )
        progress.add(1)
    progress.finish()
    sums = votes.sums()
    labels, share = sums.posterior(_PRIOR)
    unknown = sums.votes.sum(1) == 0
    labels = np.where(unknown, IGNORE_LABEL, labels).astype(np.uint8)
    confidence = np.where(unknown, 0, share).astype(np.float32)
    return LabelledPoints(sums.position, sums.intensity, labels, confidence, class_map)
