#!/usr/bin/env python3
"""What the made-up street costs, how often its classes occur, and how like real scans it is.

python benchmarks/world.py speed          # seconds of CPU a scan and a picture on one core,
                                          # each rig, and where they go
python benchmarks/world.py frequencies    # shares of the classes beside SemanticKITTI's
python benchmarks/world.py compare --data $CMDFUSION_DATA/semantickitti --sequences 00 05
"""

import argparse
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from cmdfusion_ros.class_map import load_class_map
from cmdfusion_ros.data.readers.semantic_kitti import SemanticKitti
from cmdfusion_ros.data.synthetic import camera, lidar, sequence
from cmdfusion_ros.data.synthetic.light import Shadows
from cmdfusion_ros.data.synthetic.rigs import RIG_NAMES
from cmdfusion_ros.data.synthetic.sequence import DATASET, SequenceSettings
from cmdfusion_ros.data.synthetic.world import World
from cmdfusion_ros.frame import IGNORE_LABEL, Frame

# Points of the 19 classes in the training sequences of SemanticKITTI, 00-07, 09 and 10, as
# CMDFusion's loss weights have them.
REAL_POINTS = (
    55437630,
    320797,
    541736,
    2578735,
    3274484,
    552662,
    184064,
    78858,
    240942562,
    17294618,
    170599734,
    6369672,
    230413074,
    101130274,
    476491114,
    9833174,
    129609852,
    4506626,
    1168181,
)
STREET = load_class_map("street")
_RINGS = (0, 10, 20, 40)  # metres, where rings of distance begin
_BOTH = ("cast", "surfaces_at", "paint_surfaces")
SCAN_STAGES = (*((lidar, name) for name in _BOTH), (World, "solids"))
PICTURE_STAGES = (
    *((camera, name) for name in (*_BOTH, "shade", "sky_color", "develop")),
    (World, "solids"),
    (Shadows, "sunlit"),
)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    what = parser.add_subparsers(dest="what", required=True)
    speed = what.add_parser("speed")
    speed.add_argument("--rigs", nargs="+", choices=RIG_NAMES, default=list(RIG_NAMES))
    speed.add_argument(
        "--scans", type=int, default=3, help="scans timed of each rig, in different streets"
    )
    frequencies = what.add_parser("frequencies")
    frequencies.add_argument("--streets", type=int, default=60)
    compare = what.add_parser("compare")
    compare.add_argument("--data", required=True, help="folder of real scans in this layout")
    compare.add_argument("--dataset", default=DATASET, help="whose raw ids its labels hold")
    compare.add_argument("--sequences", nargs="+", required=True)
    compare.add_argument("--every", type=int, default=4, help="take one real scan in so many")
    compare.add_argument("--rig", choices=RIG_NAMES, default="kitti")
    compare.add_argument("--streets", type=int, default=10)
    args = parser.parse_args(arguments)
    if args.what == "compare":
        real = SemanticKitti(args.data, args.sequences, STREET, args.dataset, poses=False)
        print_comparison((real[row] for row in range(0, len(real), args.every)), args)
    elif args.what == "frequencies":
        print_frequencies(args.streets)
    else:
        for rig in args.rigs:
            print_speed(rig, args.scans)
    return 0


class Statistics:
    """What labelled scans are like, class by class: where points lie, how high, how bright."""

    def __init__(self) -> None:
        self.scans, self.points = 0, np.zeros((len(_RINGS), STREET.num_classes))
        self._rows: list[tuple[np.ndarray, ...]] = []
        # (label, height over the ground below the sensor, intensity rank) a scan

    def add(self, frame: Frame) -> None:
        """Count a Frame with labels."""
        assert frame.labels is not None
        self.scans += 1
        known = frame.labels != IGNORE_LABEL
        points, labels = frame.points[known], frame.labels[known]
        away = np.hypot(points[:, 0], points[:, 1])
        ring = np.searchsorted(_RINGS, away, side="right") - 1
        np.add.at(self.points, (ring, labels), 1)
        order = np.argsort(np.argsort(frame.intensity[known], kind="stable"))
        near = (labels == 0) & (away < 15)
        floor = np.median(points[near, 2]) if near.any() else points[:, 2].min()
        self._rows.append((labels, points[:, 2] - floor, order / max(len(order), 1)))

    def row(self, label: int) -> tuple[np.ndarray, list[np.ndarray] | None]:
        """Shares by ring in percent, then medians and spreads (10 and 90 %) of height and rank."""
        shares = 100 * self.points[:, label] / np.maximum(self.points.sum(axis=1), 1)
        found = [np.concatenate([r[k][r[0] == label] for r in self._rows]) for k in (1, 2)]
        if not len(found[0]):
            return shares, None
        return shares, [np.percentile(values, (10, 50, 90)) for values in found]


def print_comparison(real_frames: Iterable[Frame], args: argparse.Namespace) -> None:
    """Class by class, real scans above made-up ones of the same sensor."""
    real, made = Statistics(), Statistics()
    for frame in real_frames:
        real.add(frame)
    for number in range(args.streets):
        drive = sequence.Sequence(0, f"{number:02d}", 2, SequenceSettings(rig=args.rig, spacing=50))
        for index in range(2):
            made.add(drive.frame(index, STREET, cameras=()))
    for name, each in (("real", real), ("made up", made)):
        by_ring = ", ".join(f"{count:.0f}" for count in each.points.sum(axis=1) / each.scans)
        print(f"{name}: {each.scans} scans; points a scan from {_RINGS} m on: {by_ring}")
    print(f"{'':24}share from {_RINGS} m on, %   height 10/50/90 %, m   intensity rank")
    for label, name in enumerate(STREET.names):
        for what, each in (("real", real), ("made up", made)):
            shares, spread = each.row(label)
            cells = " ".join(f"{share:6.2f}" for share in shares)
            if spread is not None:
                cells += "   " + "   ".join(" ".join(f"{v:5.2f}" for v in row) for row in spread)
            print(f"{name:<15}{what:<9}{cells}")


def print_frequencies(streets: int) -> None:
    """Two scans of each of some streets of the kitti rig, as the seed makes them, rare things as
    rare as by default.
    """
    class_map = load_class_map("semantic_kitti")
    counts = np.zeros(256, np.int64)
    for number in range(streets):
        drive = sequence.Sequence(0, f"{number:02d}", 2, SequenceSettings(spacing=50))
        for index in range(2):
            counts += np.bincount(
                class_map.labels_from_raw(drive.scan(index).raw, DATASET), minlength=256
            )
    made = 100 * counts[: class_map.num_classes] / counts[: class_map.num_classes].sum()
    real = 100 * np.array(REAL_POINTS) / sum(REAL_POINTS)
    print(
        f"{2 * streets} scans of {streets} made-up streets, {counts.sum() / (2 * streets):.0f} "
        "points a scan"
    )
    print(f"{'class':<16}{'made up':>10}{'real':>10}{'ratio':>8}")
    for name, ours, theirs in zip(class_map.names, made, real, strict=True):
        print(f"{name:<16}{ours:>8.3f} %{theirs:>8.3f} %{ours / theirs:>8.2f}")


def print_speed(rig: str, scans: int) -> None:
    """Seconds of CPU on this one core: of a street, of the scans, of the pictures, and of their
    stages.
    """
    street, scan, picture, points = Stages(()), Stages(SCAN_STAGES), Stages(PICTURE_STAGES), 0
    for number in range(scans):
        with street:
            drive = sequence.Sequence(
                0, f"{number:02d}", 40, SequenceSettings(rig=rig, weather="day")
            )
            # the shadows of what stands are cast once, with the first picture
            drive.photograph(0, 0)
        with scan:
            points += len(drive.scan(20).points)
        for view in range(len(drive.rig.cameras)):
            with picture:
                drive.photograph(20, view)
    cameras, (width, height) = len(drive.rig.cameras), drive.rig.cameras[0].size
    print(
        f"{rig}: {len(drive.rig.lidar.elevation)} beams, {points / scans:.0f} points, {cameras} "
        f"pictures of {width}x{height}"
    )
    of_scan, of_picture = scan.total / scans, picture.total / scans / cameras
    print(
        f"  a scan {of_scan:.2f} s ({1 / of_scan:.2f} a second), a picture {of_picture:.2f} s, "
        f"both with all cameras {of_scan + cameras * of_picture:.2f} s"
    )
    print(f"  once a street {street.total / scans:.2f} s")
    print(f"  of a scan: {scan.table(scans)}\n  of a picture: {picture.table(scans * cameras)}")


class Stages:
    """Adds up the CPU seconds of its `with` blocks, and of the functions (owner, name) called in
    them.
    """

    def __init__(self, functions: Sequence[tuple[Any, str]]):
        self.total, self._functions = 0.0, functions
        self.spent: defaultdict[str, float] = defaultdict(float)
        self._before: list[tuple[Any, str, Callable]] = []

    def __enter__(self) -> None:
        self._before = [(owner, name, getattr(owner, name)) for owner, name in self._functions]
        for owner, name, function in self._before:
            setattr(owner, name, self._timed(name, function))
        self.total -= time.process_time()

    def __exit__(self, *error: object) -> None:
        self.total += time.process_time()
        for owner, name, function in self._before:
            setattr(owner, name, function)

    def _timed(self, name: str, function: Callable) -> Callable:
        def timed(*args: Any, **options: Any) -> Any:
            started = time.process_time()
            try:
                return function(*args, **options)
            finally:
                self.spent[name] += time.process_time() - started

        return timed

    def table(self, count: int) -> str:
        """The stages of one of `count` blocks, in words."""
        return ", ".join(
            f"{name} {seconds / count:.3f}"
            for name, seconds in sorted(self.spent.items(), key=lambda item: -item[1])
        )


if __name__ == "__main__":
    raise SystemExit(main())
