"""`cmdfusion world --out DIR`: make sequences of a made-up street: LiDAR, images, labels, poses."""

import argparse
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from cmdfusion_ros.class_map import load_class_map
from cmdfusion_ros.cli.runs.figures import add_json_option, write_figures
from cmdfusion_ros.cli.runs.options import add_processes_option
from cmdfusion_ros.cli.runs.terminal import ScanProgress
from cmdfusion_ros.config import load_settings, settings_from_dict, settings_to_dict
from cmdfusion_ros.data.bags.frame_bag import write_frame_bag
from cmdfusion_ros.data.readers.semantic_kitti import SemanticKitti
from cmdfusion_ros.data.synthetic.rendering import available_cores, render_frames, write_folders
from cmdfusion_ros.data.synthetic.sequence import (
    DATASET,
    SEQUENCE_RIGS,
    Sequence,
    SequenceSettings,
)
from cmdfusion_ros.pictures import BACKGROUND, CameraPicture, draw_labels, save_scan_picture

_JPEG_QUALITY = 92
_FOLDED = "semantic_kitti"  # class map of preview and table


def add_parser(subparsers: argparse._SubParsersAction) -> argparse.ArgumentParser:
    parser = subparsers.add_parser(
        "world",
        help="make labelled sequences of a made-up street",
        description="Make sequences of a made-up street as DIR/sequences/00, 01, ... in the "
        "SemanticKITTI layout, or as rosbags, and DIR/preview.png. "
        "Equal seeds and settings give equal bytes, whatever the number of processes.",
        examples=(
            "cmdfusion world --out street --sequences 2 --scans 4",
            "cmdfusion world --out bags --rig nuscenes --bags --scans 4 --json made.json",
        ),
    )
    parser.add_argument("--out", required=True, metavar="DIR", help="folder to write")
    parser.add_argument(
        "--seed",
        type=int,
        default=0,
        metavar="N",
        help="number that everything follows from (default: 0)",
    )
    parser.add_argument(
        "--sequences",
        type=int,
        default=1,
        metavar="N",
        help="number of sequences, each another street (default: 1)",
    )
    parser.add_argument(
        "--scans", type=int, default=20, metavar="N", help="scans of each sequence (default: 20)"
    )
    parser.add_argument(
        "--rig",
        choices=SEQUENCE_RIGS,
        help="sensors; random = another for each sequence (default: kitti)",
    )
    parser.add_argument(
        "--rare",
        type=float,
        metavar="X",
        help="times as many people, two-wheelers, lorries and signs (default: 1)",
    )
    parser.add_argument(
        "--settings",
        metavar="FILE.yaml",
        help="YAML file with further settings: weather, calibration errors, kind of street, ...",
    )
    parser.add_argument(
        "--bags", action="store_true", help="write rosbags DIR/<name> instead of folders"
    )
    parser.add_argument(
        "--no-images", action="store_true", help="leave the cameras out: several times faster"
    )
    add_processes_option(parser)
    add_json_option(parser, "the shares of the classes")
    return parser


def run(args: argparse.Namespace) -> int:
    settings = _settings(args)
    names = [f"{number:02d}" for number in range(args.sequences)]
    if args.seed < 0 or args.sequences < 1 or args.scans < 1:
        raise ValueError(
            "expected a seed of at least 0 and at least 1 sequence of 1 scan, got "
            f"{args.seed}, {args.sequences}, {args.scans}"
        )
    out, images = Path(args.out), not args.no_images
    workers = available_cores() if args.processes is None else args.processes
    if workers < 1:
        raise ValueError(f"--processes {workers}: expected 1 or more")
    out.mkdir(parents=True, exist_ok=True)
    progress = ScanProgress(args.sequences * args.scans)
    if args.bags:
        class_map = load_class_map(_FOLDED)
        for name in names:
            frames = render_frames(
                args.seed,
                name,
                args.scans,
                settings,
                _FOLDED,
                None if images else _no_cameras,
                workers,
            )
            write_frame_bag(out / name, progress.counted(frames), class_map, _JPEG_QUALITY)
    else:
        for count in write_folders(out, args.seed, names, args.scans, settings, images, workers):
            progress.add(count)
    progress.finish()
    sequence = Sequence(args.seed, names[0], args.scans, settings)
    draw_preview(out / "preview.png", sequence, args.scans // 2)
    print(f"  {out / 'preview.png'}: a scan of sequence {names[0]}")
    figures = {"out": str(out), "sequences": names, "scans": args.scans}
    if not args.bags:
        more = " ..." if len(names) > 10 else ""
        print(f"  {out / 'sequences'}: {', '.join(names[:10])}{more}")
        shares = class_shares(out, names)
        print("\n".join(f"  {name:<14}{share:8.3f} %" for name, share in shares.items()))
        figures["shares_percent"] = shares
    write_figures(args.json, figures)
    return 0


def _no_cameras(index):
    return ()


def _settings(args):
    values = (
        settings_to_dict(load_settings(SequenceSettings, args.settings), only_changed=True)
        if args.settings
        else {}
    )
    if args.rig is not None:
        values["rig"] = args.rig
    if args.rare is not None:
        values["world"] = {**values.get("world", {}), "rare": args.rare}
    return settings_from_dict(SequenceSettings, values)


def draw_preview(path: Path, sequence: Any, index: int) -> None:
    """Write a PNG of one scan: bird's-eye view, range image, the first camera's picture, its
    label image, and the points in it.
    """
    class_map = load_class_map(_FOLDED)
    scan, photograph = sequence.scan(index), sequence.photograph(index, 0)
    labels = class_map.labels_from_raw(scan.raw, DATASET)
    view = photograph.view
    truth = class_map.colors_from_labels(
        class_map.labels_from_raw(photograph.raw.reshape(-1), DATASET)
    ).reshape(*photograph.raw.shape, 3)
    points, drawn = draw_labels(view, scan.points, labels, class_map)
    panels = (
        CameraPicture(view.name, view.image, sequence.light.weather),
        CameraPicture("its labels", truth),
        CameraPicture("points in it", points, f"{drawn} points"),
        CameraPicture("range image", range_image(scan, sequence.rig.lidar, view.image_size)),
    )
    title = (
        f"made-up street   seed {sequence.seed}   sequence {sequence.name}   scan {index}   "
        f"rig {sequence.rig.name}"
    )
    save_scan_picture(
        path,
        scan.points,
        labels,
        class_map,
        panels,
        title,
        f"{len(scan.points)} points, {sequence.world.speed:.1f} m/s",
    )


def range_image(scan: Any, lidar: Any, size: tuple[int, int]) -> np.ndarray:
    """(height, width, 3) uint8 for `size`: rows are beams, columns azimuth (backwards at both
    ends), bright is near.
    """
    width, height = size
    azimuth = np.arctan2(scan.points[:, 1], scan.points[:, 0])
    column = ((np.pi - azimuth) / (2 * np.pi) * width).astype(int).clip(0, width - 1)
    order = np.argsort(-np.linalg.norm(scan.points, axis=1))
    nearness = np.clip(
        1 - np.linalg.norm(scan.points, axis=1)[order] / lidar.reach, 0, 1
    )  # noise reaches further than the sensor
    image = np.tile(np.array(BACKGROUND, np.uint8), (len(lidar.elevation), width, 1))
    color = np.stack([255 * nearness**1.5, 255 * nearness**3, 90 + 100 * nearness], axis=1)
    image[scan.ring[order], column[order]] = color.clip(0, 255)
    rows = np.arange(height) * len(lidar.elevation) // height
    return image[rows]


def class_shares(root: Path, names: Iterable[str]) -> dict[str, float]:
    """{class: percent of the labelled points} of the written sequences."""
    class_map = load_class_map(_FOLDED)
    counts = np.zeros(256, np.int64)
    for frame in SemanticKitti(root, names, class_map):
        counts += np.bincount(frame.labels, minlength=256)
    shares = 100 * counts[: class_map.num_classes] / max(counts[: class_map.num_classes].sum(), 1)
    return dict(zip(class_map.names, map(float, shares), strict=True))
